"""What a run says that it resolved to is a request: posted again it is taken, and resolves to the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.gate.gate import Gate
from app.settings import Settings
from schemas.assignment import Assignment
from schemas.events import EventData, RunResolved
from schemas.losses import LOSSES
from schemas.optimizers import OPTIMIZERS
from schemas.schedules import SCHEDULES
from trainer_core.channel import Channel
from trainer_core.stop import Stop

NETWORK = """
from torch import nn


def build_model(num_features=4, num_classes=3):
    return nn.Linear(num_features, OUTPUTS, bias=False)
"""
PLAIN = NETWORK.replace("OUTPUTS", "num_classes")
MODELS = {
    "plain": PLAIN,
    "value": NETWORK.replace("OUTPUTS", "1"),
    "own_loss": PLAIN + "\n\ndef loss(output, targets):\n    return nn.functional.cross_entropy(output, targets)\n",
    "forest": "from sklearn.ensemble import RandomForestClassifier\n\n\n"
    "def build_model():\n    return RandomForestClassifier(5)\n",
    "sgd": "from sklearn.linear_model import SGDClassifier\n\n\ndef build_model():\n    return SGDClassifier()\n",
    "ridge": "from sklearn.linear_model import Ridge\n\n\ndef build_model():\n    return Ridge()\n",
}


class Resolved(Exception):
    """The run has said what it resolved to: nothing after that is of interest here."""


class Listener(Channel):
    """Ends the run as soon as it has said what it resolved to."""

    def emit(self, data: EventData) -> None:
        """Keep the event."""
        super().emit(data)
        if isinstance(data, RunResolved):
            raise Resolved


@dataclass(frozen=True)
class Bench:
    """A workspace with models and data, and its gate."""

    folder: Path
    gate: Gate

    def resolve(self, request: dict[str, Any]) -> RunResolved:
        """What ``request``, through the gate, resolves to in the engine that it means."""
        admitted = self.gate.admit(request)
        attempt = self.folder / "attempt"
        attempt.mkdir(exist_ok=True)
        assignment = Assignment.model_validate(
            {
                "jobId": "job",
                "attempt": 1,
                "request": admitted.request.given(),
                "engine": admitted.engine,
                "workspace": str(self.folder),
                "modelSnapshot": admitted.request.model_path,
                "modelSha256": "0" * 64,
                "jobFolder": str(attempt),
                "attemptFolder": str(attempt),
                "runFolder": str(self.folder / "run"),
                "devices": ["cpu"],
            }
        )
        if admitted.engine == "native":
            from trainer_core.engines.native import train
        else:
            from trainer_core.engines.sklearn import train
        channel = Listener()
        with pytest.raises(Resolved):
            train(assignment, channel, Stop())
        said = channel.said[-1]
        assert isinstance(said, RunResolved)
        return said


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("workspace")
    for name, source in MODELS.items():
        (folder / f"{name}.py").write_text(source)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(24, 4)).astype(np.float32)
    targets = {"three": np.arange(24) % 3, "two": np.arange(24) % 2, "values": inputs.sum(axis=1)}
    for name, y in targets.items():
        np.savez(folder / f"{name}.npz", x=inputs, y=y)
    return Bench(folder, Gate(Settings(home=folder / "home", workspace=folder)))


def request_of(model: str, data: str, training: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "modelPath": f"{model}.py",
        "dataConfig": {"trainPath": f"{data}.npz", **sections.pop("dataConfig", {})},
        "trainingConfig": {"epochs": 2, **training},
        "resources": {"threads": 1},
        **sections,
    }


def _cases() -> dict[str, dict[str, Any]]:
    plain = {
        **{entry.name: {"optimizer": entry.name} for entry in OPTIMIZERS},
        **{
            entry.name: {
                "scheduler": entry.name,
                "schedulerArgs": {item.name: item.proposed(2) for item in entry.arguments if item.proposed},
            }
            for entry in SCHEDULES
        },
        "warm-up ratio": {"warmupRatio": 0.25},
        "warm-up ratio of none": {"warmupRatio": 0.0},
        "one cycle without warm-up": {"scheduler": "OneCycleLR", "warmupSteps": 0},
        "mixed precision": {"mixedPrecision": True},
        "mixed precision off beside bf16": {"mixedPrecision": False, "precision": "bf16"},
        "precision auto": {"precision": "auto"},
        "precision auto and mixed": {"precision": "auto", "mixedPrecision": True},
        "no clipping": {"gradientClipping": 0, "clipBy": "value"},
        "smoothed": {"labelSmoothing": 0.1},
        "focal": {"loss": "focal", "lossArgs": {"alpha": [1, 2, 3], "gamma": None}},
        "weighted": {"lossArgs": {"weight": [1, 1, 2]}},
        "strategy ddp of one": {"strategy": "ddp"},
        "size finder": {"batchSizeFinder": {"action": "use"}, "gradientAccumulation": 2},
        "rate finder": {"learningRateFinder": {"steps": 20}},
        "rate suggested": {"learningRateFinder": {"steps": 20, "action": "suggest"}, "profiler": True},
        "early stopping": {"earlyStopping": {"patience": 2}},
    }
    tasks = {"classification": ("plain", "three"), "binary": ("value", "two"), "regression": ("value", "values")}
    return {
        **{name: request_of("plain", "three", training) for name, training in plain.items()},
        **{
            f"{entry.name} for {task}": request_of(*tasks[task], {"loss": entry.name, "task": task})
            for entry in LOSSES
            for task in entry.tasks
        },
        **{f"{task} by default": request_of(*tasks[task], {"task": task}) for task in tasks},
        "task unsaid": request_of("value", "values", {}),
        "loss of the model file": request_of("own_loss", "three", {}),
        "named loss before that of the model file": request_of("own_loss", "three", {"loss": "focal"}),
        "validation data of its own": request_of(
            "plain", "three", {}, dataConfig={"valPath": "three.npz", "numWorkers": 0, "batchSize": 8}
        ),
        "micro-batches": request_of("plain", "three", {}, dataConfig={"microBatchSize": 5}),
        "folder": request_of("plain", "three", {}, checkpointConfig={"saveDir": "runs", "monitor": "trainLoss"}),
        "nulls": {**request_of("plain", "three", {"optimizerArgs": {"eps": None}}), "labels": None, "limits": None},
        "one fit": request_of("forest", "three", {"optimizer": "SGD", "loss": "focal", "mixedPrecision": True}),
        "partial fits": request_of("sgd", "three", {"warmupRatio": 0.1}),
        "one fit of values": request_of("ridge", "values", {}),
    }


CASES = _cases()


@pytest.mark.parametrize("request_", CASES.values(), ids=CASES)
def test_a_resolved_request_is_taken_again_and_resolves_to_the_same(bench: Bench, request_: dict[str, Any]) -> None:
    first = bench.resolve(request_)
    found = bench.gate.examine(first.resolved, "paths")
    assert found.errors == []
    second = bench.resolve(first.resolved)
    assert second.resolved == first.resolved
    # What no request can say is chosen again, and nothing else is left to choose.
    assert set(second.chosen) <= {"/trainingConfig/loss"}
    assert second.chosen.items() <= first.chosen.items()


def test_a_choice_without_a_word_is_named_among_the_chosen(bench: Bench) -> None:
    own, forest = (bench.resolve(CASES[name]) for name in ("loss of the model file", "one fit"))
    assert own.chosen["/trainingConfig/loss"] == "model file"
    assert forest.chosen["/trainingConfig/loss"] == "log_loss"
    assert "loss" not in own.resolved["trainingConfig"]
    assert "loss" not in forest.resolved["trainingConfig"]


def test_what_a_choice_supersedes_is_gone(bench: Bench) -> None:
    ratio = bench.resolve(CASES["warm-up ratio"]).resolved["trainingConfig"]
    mixed = bench.resolve(CASES["mixed precision"]).resolved["trainingConfig"]
    assert (ratio["warmupSteps"], "warmupRatio" in ratio) == (0, False)
    assert ("mixedPrecision" in mixed, mixed["precision"] in ("fp32", "bf16")) == (False, True)
