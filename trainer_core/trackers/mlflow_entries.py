"""What an event means in MLflow's terms: parameters, figures and tags, within its limits. Imports no MLflow."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from schemas.assignment import Assignment
from schemas.events import Step
from schemas.result import EpochRow
from trainer_core.trackers.destination import without_credentials

KEY_LIMIT = 250
PARAMETER_LIMIT = 6000
TAG_LIMIT = 8000

JOB_ID_TAG = "pytorch_trainer.job_id"
ATTEMPT_TAG = "pytorch_trainer.attempt"
# The last figure of an epoch to be delivered: an epoch that has it is complete in the store.
EPOCH_KEY = "epoch"

_OF_STEPS = ("system/", "step/")

_FORBIDDEN = re.compile(r"[^\w.\- :]")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Figure(NamedTuple):
    """One number of a series; ``time`` in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


def milliseconds(time: str) -> int:
    """An event's time in MLflow's unit."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def snake_case(name: str) -> str:
    """``valLoss`` -> ``val_loss``; ``valR2`` -> ``val_r2``."""
    return _CAPITAL.sub("_", name).lower()


def clean_key(key: str) -> str:
    """``key`` as MLflow takes it: other characters become ``_``, no leading dots, 250 characters at most."""
    return _FORBIDDEN.sub("_", key).lstrip(".")[:KEY_LIMIT] or "_"


def shorten(value: str, limit: int) -> str:
    """``value``, its end cut off where it is longer than ``limit``; credentials in addresses are taken out."""
    value = without_credentials(value)
    return value if len(value) <= limit else value[: limit - 1] + "…"


def is_of_a_step(key: str) -> bool:
    """Whether the series ``key`` counts optimizer steps; others count epochs."""
    return key.startswith(_OF_STEPS)


def epoch_figures(row: EpochRow, time: int) -> list[Figure]:
    """The figures of an epoch, at step = epoch; ``epoch`` itself comes last."""
    document: dict[str, Any] = row.to_json()
    own = {
        "train_loss": row.train_loss,
        "val_loss": row.val_loss,
        "train_accuracy": row.train_accuracy,
        "val_accuracy": row.val_accuracy,
        "learning_rate": row.learning_rate,
        "epoch_seconds": row.seconds,
        "samples_per_second": row.samples_per_second,
    }
    further = {clean_key(snake_case(name)): value for name, value in document.get("metrics", {}).items()}
    named = {**further, **own, EPOCH_KEY: row.epoch}
    return [Figure(key, float(value), time, row.epoch) for key, value in named.items() if value is not None]


def step_figures(step: Step, time: int) -> list[Figure]:
    """Figures between two epochs, at step = optimizer step: ``system/`` for the machine, ``step/`` for the model."""
    named = {
        "system/samples_per_second": step.samples_per_second,
        "system/memory_bytes": step.memory_bytes,
        "step/loss": step.loss,
        "step/grad_norm": step.grad_norm,
    }
    return [Figure(key, float(value), time, step.step) for key, value in named.items() if value is not None]


def parameters(resolved: Mapping[str, Any]) -> dict[str, str]:
    """The resolved request, flat: ``trainingConfig.learningRate`` -> ``0.001``."""
    return {clean_key(key): shorten(value, PARAMETER_LIMIT) for key, value in _flatten(resolved, "")}


def _flatten(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def run_tags(assignment: Assignment) -> dict[str, str]:
    """The request's own tags, then ours, which win."""
    config = assignment.request.tracking_config
    tags = {
        **{clean_key(key): value for key, value in config.tags.items() if not key.startswith("mlflow.")},
        JOB_ID_TAG: assignment.job_id,
        ATTEMPT_TAG: str(assignment.attempt),
        "pytorch_trainer.engine": assignment.engine,
        "pytorch_trainer.model_sha256": assignment.model_sha256,
        "mlflow.source.name": assignment.request.model_path,
        "mlflow.source.type": "LOCAL",
    }
    if assignment.git_commit is not None:
        tags["mlflow.source.git.commit"] = assignment.git_commit
    return {key: shorten(value, TAG_LIMIT) for key, value in tags.items()}


def version_tags(versions: Mapping[str, str]) -> dict[str, str]:
    """One tag per library: ``version.torch`` -> ``2.13.0``."""
    return {f"version.{clean_key(name)}": version for name, version in versions.items()}
