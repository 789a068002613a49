"""A place to train in: a folder with a model file and data, and the native engine called in this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.assignment import Assignment
from schemas.events import CheckpointSaved, EventData
from trainer_core.channel import Channel
from trainer_core.registry import Ending
from trainer_core.stop import Stop

MODEL = """
from torch import nn


def build_model(hidden=16, num_features=6, num_classes=3, dropout=0.0):
    return nn.Sequential(
        nn.Linear(num_features, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
    )
"""


@dataclass
class Run:
    """What a training said and left."""

    said: list[EventData]
    run_folder: Path
    ending: Ending | None = None

    def of(self, kind: type) -> list[Any]:
        """Events of one class."""
        return [data for data in self.said if isinstance(data, kind)]

    def weights(self, checkpoint: str | None = None) -> dict[str, np.ndarray]:
        """Weights of a checkpoint; of the last one saved when it is not named."""
        path = self.run_folder / checkpoint if checkpoint else Path(self.of(CheckpointSaved)[-1].path)
        return load_file(path / "model.safetensors")


@dataclass
class Bench:
    """A folder to train in."""

    folder: Path

    def write_model(self, source: str) -> None:
        """The model file of the runs to come."""
        (self.folder / "model.py").write_text(source)

    def write_data(self, train: int = 70, validation: int = 30, features: int = 6, classes: int = 3) -> None:
        """A small classification problem that can be learnt."""
        generator = np.random.default_rng(7)
        weights = generator.normal(size=(features, classes))
        for name, count in (("train", train), ("val", validation)):
            x = generator.normal(size=(count, features)).astype(np.float32)
            y = (x @ weights).argmax(axis=1).astype(np.int64)
            y[:classes] = np.arange(classes)[: len(y)]
            np.savez(self.folder / f"{name}.npz", x=x, y=y)

    def assignment(
        self, name: str = "run", devices: tuple[str, ...] = ("cpu",), **changes: dict[str, Any]
    ) -> Assignment:
        """An assignment whose run folder is called ``name``; ``changes`` are merged into the parts of the request."""
        request: dict[str, Any] = {
            "modelPath": str(self.folder / "model.py"),
            "dataConfig": {
                "trainPath": str(self.folder / "train.npz"),
                "valPath": str(self.folder / "val.npz"),
                "batchSize": 16,
            },
            "trainingConfig": {"epochs": 3, "learningRate": 0.01, "seed": 3},
            "resources": {"threads": 1},
        }
        for part, values in changes.items():
            request[part] = {**request.get(part, {}), **values}
        attempt = self.folder / "jobs" / name
        attempt.mkdir(parents=True, exist_ok=True)
        return Assignment.model_validate(
            {
                "jobId": name,
                "attempt": 1,
                "request": request,
                "engine": "native",
                "workspace": str(self.folder),
                "modelSnapshot": str(self.folder / "model.py"),
                "modelSha256": "0" * 64,
                "jobFolder": str(attempt),
                "attemptFolder": str(attempt),
                "runFolder": str(self.folder / "runs" / name),
                "devices": list(devices),
            }
        )

    def train(
        self,
        name: str = "run",
        devices: tuple[str, ...] = ("cpu",),
        *,
        channel: Channel | None = None,
        stop: Stop | None = None,
        **changes: dict[str, Any],
    ) -> Run:
        """Train in this process; a Failure is the caller's."""
        from trainer_core.engines.native import train

        assignment = self.assignment(name, devices, **changes)
        channel = channel or Channel()
        run = Run(channel.said, Path(assignment.run_folder))
        run.ending = train(assignment, channel, stop or Stop())
        return run


class StoppingChannel(Channel):
    """Asks for a stop when the ``number``-th event of a kind is said."""

    def __init__(self, stop: Stop, event_type: str, number: int) -> None:
        super().__init__()
        self._stop = stop
        self._event_type = event_type
        self._left = number

    def emit(self, data: EventData) -> None:
        """Keep the event, and stop when it is the one."""
        super().emit(data)
        if data.event_type == self._event_type:
            self._left -= 1
            self._stop.requested = self._stop.requested or self._left == 0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder with a two-layer model and 70 + 30 samples."""
    made = Bench(tmp_path)
    made.write_model(MODEL)
    made.write_data()
    return made


@pytest.fixture
def stopping_channel() -> type[StoppingChannel]:
    """A channel that asks for a stop at an event."""
    return StoppingChannel
