"""What a checkpoint consists of: the last file written, and the first one read."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.base import Document
from schemas.checkpointing import MANIFEST_FILE
from schemas.files import write_synced
from schemas.result import Place
from trainer_core.failure import Failure

FORMAT = 2
Kind = Literal["epoch", "step", "final", "cancel"]


class FileRecord(Document):
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


class Manifest(Document):
    """Everything but the values. ``number`` grows by one with every checkpoint of a run's folder, so that the newest
    is known even where clocks jump or epochs are done twice; ``sha256`` is over the rest of this document."""

    format: int = FORMAT
    number: int
    kind: Kind
    epoch: int
    step: int
    is_best: bool
    time: str
    about: dict[str, str] = Field(default_factory=dict)
    files: dict[str, FileRecord]
    sha256: str = ""


def _spell(document: dict[str, Any]) -> bytes:
    """The one spelling of a manifest: any other bytes are damage."""
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_spell(document | {"sha256": ""})).hexdigest()


def corrupt(path: Path, what: str) -> Failure:
    """The failure of a checkpoint that is not what was written; ``path`` is the file."""
    return Failure("checkpoint_corrupt", f"{path}: {what}.", place=Place(path=str(path)))


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write and fsync ``manifest`` with its own hash in it; returns the SHA-256 of the file."""
    document = manifest.to_json()
    content = _spell(document | {"sha256": _digest(document)})
    write_synced(folder / MANIFEST_FILE, content)
    return hashlib.sha256(content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``. Raises Failure ``checkpoint_incompatible`` when this is no checkpoint, or one of
    another format; ``checkpoint_corrupt`` when it is damaged."""
    path = folder / MANIFEST_FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if any(folder.glob("*.safetensors")):
            raise corrupt(path, "the manifest is missing") from error
        raise Failure("checkpoint_incompatible", f"{folder} is no checkpoint: it has no {MANIFEST_FILE}.") from error
    try:
        document = json.loads(content)
    except ValueError as error:
        raise corrupt(path, "the manifest cannot be read") from error
    if not isinstance(document, dict) or _spell(document) != content or document.get("sha256") != _digest(document):
        raise corrupt(path, "the manifest is not as it was written")
    if document.get("format") != FORMAT:
        found = document.get("format")
        raise Failure(
            "checkpoint_incompatible",
            f"{folder} has the format {found}; this version reads {FORMAT}.",
            next_move="Resume it with the version that wrote it, or train anew with its model.safetensors as modelConfig.weights.",
        )
    return Manifest.model_validate(document)


def verify(folder: Path) -> Manifest:
    """The manifest of ``folder``, every file's size and SHA-256 compared with it.

    Raises Failure as ``read_manifest`` does, and ``checkpoint_corrupt`` that names the first file in which a single
    bit is not as it was written.
    """
    manifest = read_manifest(folder)
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise corrupt(path, "the file is missing")
        if path.stat().st_size != record.bytes:
            raise corrupt(path, f"the file has {path.stat().st_size} bytes, and had {record.bytes}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != record.sha256:
            raise corrupt(path, "the file is not as it was written (SHA-256)")
    return manifest


def write_hashed(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write and fsync ``chunks``; returns size and SHA-256. Raises OSError when they cannot be made durable."""
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(bytes=size, sha256=digest.hexdigest())
