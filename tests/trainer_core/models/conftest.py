"""A workspace with a model file."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.assignment import Assignment
from trainer_core.models.file import ModelFile

Load = Callable[..., ModelFile]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Write a model file, copy it as a submit does, and load the copy."""
    path_before, modules_before = list(sys.path), set(sys.modules)

    def load_source(source: str | bytes, name: str = "net.py") -> ModelFile:
        content = source.encode() if isinstance(source, str) else source
        original = tmp_path / "models" / name
        original.parent.mkdir(exist_ok=True)
        original.write_bytes(content)
        snapshot = tmp_path / "job" / "model.py"
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_bytes(content)
        return ModelFile.load(
            Assignment.model_validate(
                {
                    "jobId": "job",
                    "attempt": 1,
                    "request": {
                        "modelPath": str(original),
                        "dataConfig": {"trainPath": "data"},
                        "trainingConfig": {},
                    },
                    "engine": "sklearn",
                    "workspace": str(tmp_path),
                    "modelSnapshot": str(snapshot),
                    "modelSha256": "0" * 64,
                    "jobFolder": str(tmp_path / "job"),
                    "attemptFolder": str(tmp_path / "job"),
                    "runFolder": str(tmp_path / "job"),
                    "devices": ["cpu"],
                }
            )
        )

    yield load_source
    sys.path[:] = path_before
    for name in set(sys.modules) - modules_before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
