"""Files that a run leaves beside its checkpoints, or in them, for whoever uses the model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from schemas.files import write_atomically
from schemas.result import Artifact

PREPROCESSING_FILE = "preprocessing.json"
WEIGHTS_FILE = "model.safetensors"


def write_preprocessing(run_folder: Path, preprocessing: dict[str, Any]) -> list[Artifact]:
    """``preprocessing.json`` in the run's folder: what turns a new sample into what the model was trained on; none when
    there is nothing to be done."""
    if not preprocessing:
        return []
    content = json.dumps(preprocessing, indent=1, ensure_ascii=False, allow_nan=False).encode()
    return [write_artifact(run_folder, PREPROCESSING_FILE, content)]


def write_artifact(run_folder: Path, name: str, content: bytes) -> Artifact:
    """The file ``name`` in the run's folder, whole or absent. Raises OSError."""
    path = run_folder / name
    write_atomically(path, content)
    return Artifact(name=name, path=str(path), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def weights(checkpoint: str | None, name: str = WEIGHTS_FILE) -> list[Artifact]:
    """The weights in ``checkpoint``, the file called ``name``; none when there is no checkpoint."""
    if checkpoint is None:
        return []
    return [file_artifact(Path(checkpoint) / name)]


def file_artifact(path: Path) -> Artifact:
    """The file ``path``, as it lies there."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(name=path.name, path=str(path), bytes=path.stat().st_size, sha256=digest)
