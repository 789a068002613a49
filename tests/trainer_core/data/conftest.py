"""Data of a request, loaded as a worker does."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.assignment import Assignment
from schemas.result import TrainingError
from trainer_core.data import Data, load_data
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., Data]]:
    """``load(trainPath, valPath=..., training={...}, model="source")``; paths are taken relative to the test's folder."""
    path_before = list(sys.path)

    def load_data_of(train: str, *, training: dict[str, Any] | None = None, model: str = "", **config: Any) -> Data:
        path = tmp_path / "data_model.py"
        path.write_text(model)
        paths = {"trainPath": str(tmp_path / train)}
        if "valPath" in config:
            paths["valPath"] = str(tmp_path / config.pop("valPath"))
        request = {
            "modelPath": str(path),
            "dataConfig": {**config, **paths},
            "trainingConfig": training or {},
        }
        assignment = Assignment.model_validate(
            {
                "jobId": "job",
                "attempt": 1,
                "request": request,
                "engine": "sklearn",
                "workspace": str(tmp_path),
                "modelSnapshot": str(path),
                "modelSha256": "0" * 64,
                "jobFolder": str(tmp_path),
                "attemptFolder": str(tmp_path),
                "runFolder": str(tmp_path),
                "devices": ["cpu"],
            }
        )
        return load_data(assignment, ModelFile.load(assignment))

    yield load_data_of
    sys.path[:] = path_before
    for name in [name for name in sys.modules if name.startswith(("data_model", "model_file_"))]:
        del sys.modules[name]


@pytest.fixture
def refuse(load: Callable[..., Data]) -> Callable[..., TrainingError]:
    """As ``load``, for data that are refused; gives the error."""

    def refuse_data_of(train: str, **arguments: Any) -> TrainingError:
        with pytest.raises(Failure) as caught:
            load(train, **arguments)
        return caught.value.error

    return refuse_data_of


@pytest.fixture
def codes() -> Callable[[Data], list[str]]:
    """Codes of the alerts."""
    return lambda data: [alert.code for alert in data.warnings]
