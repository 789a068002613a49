"""Runs of several ranks, one after the other in the same processes. Each rank has a flag of its own, as on several machines."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch

from schemas.assignment import Assignment
from schemas.events import RunTuned
from trainer_core.channel import Channel
from trainer_core.launch import launch
from trainer_core.loop.assemble import assemble
from trainer_core.loop.material import Surroundings, load, size_up
from trainer_core.loop.ranks import Group
from trainer_core.stop import Stop

# A rank that waits for one which has gone another way is lost soon.
_LOST_AFTER = timedelta(seconds=15)


class StopAtLook(Stop):
    """Asked to stop from the ``number``-th time on that it is looked at; 0: never."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._looks = 0

    @property
    def requested(self) -> bool:
        """Whether it is time."""
        self._looks += 1
        return 0 < self._number <= self._looks


@dataclass(frozen=True)
class Planned:
    """One run: its assignment, the look at which the flag of a rank is set, and the number of the earlier run whose finding it
    is given in place of a search."""

    assignment: Assignment
    stops: dict[int, int] = field(default_factory=dict)
    found_by: int | None = None


@dataclass(frozen=True)
class Came:
    """What came of a run on one rank: how it ended, and where; the bits of its model and optimizer, and of its generator; the
    settings that were found; epoch, losses and accuracy of each row of its curve."""

    state: str
    step: int
    epoch: int
    held: str
    random: str
    found: dict[str, Any]
    curve: list[tuple[float | None, ...]]


def run_on_ranks(world: int, plan: list[Planned]) -> list[list[Came]]:
    """What came of each run, rank by rank."""
    return launch(world, _in_turn, plan, stop=Stop(), on_cpus=True)


def _in_turn(plan: list[Planned], _stop: Stop) -> list[list[Came]]:
    """As one rank of them."""
    ranks = Group(list(plan[0].assignment.devices), lost_after=_LOST_AFTER)
    came: list[list[Came]] = []
    try:
        for planned in plan:
            found = {} if planned.found_by is None else came[planned.found_by][0].found
            stop = StopAtLook(planned.stops.get(ranks.index, 0))
            came.append(ranks.gather(_train(_given(planned.assignment, found), ranks, stop)))
    finally:
        ranks.close()
    return came


def _given(assignment: Assignment, found: dict[str, Any]) -> Assignment:
    """With the settings at their pointers, and without what looks for them."""
    document = assignment.to_json()
    for pointer, value in found.items():
        section, name = pointer.strip("/").split("/")
        document["request"][section][name] = value
    if found:
        for search in ("learningRateFinder", "batchSizeFinder"):
            document["request"]["trainingConfig"].pop(search, None)
    return Assignment.model_validate(document)


def _train(assignment: Assignment, ranks: Group, stop: Stop) -> Came:
    channel = Channel()
    around = Surroundings(assignment, ranks.device, ranks, channel, stop)
    material = load(around)
    trainer = assemble(around, material, size_up(around, material))
    try:
        state = trainer.run()
    finally:
        trainer.close()
    return Came(
        state,
        trainer.position.step,
        trainer.position.epoch,
        held=_digest([trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]]),
        random=_digest([torch.get_rng_state()]),
        found={said.setting: said.found for said in channel.said if isinstance(said, RunTuned)},
        curve=[(row.epoch, row.train_loss, row.train_accuracy, row.val_loss) for row in trainer.curve.rows],
    )


def _digest(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            digest.update(_digest(value.values()).encode())
    return digest.hexdigest()
