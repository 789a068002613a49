"""Ranks that start again together, with fewer samples to a pass, from their newest checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from schemas.assignment import Assignment
from schemas.events import RecoveryMade, RunRestored
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import complete_checkpoints
from trainer_core.failure import Failure

T = TypeVar("T")


@dataclass(frozen=True)
class PassLimits:
    """Samples to a pass that an earlier start of the run found to fit; None while nothing is known."""

    micro_batch: int | None = None
    evaluation_batch: int | None = None


class Restart(Failure):
    """Memory ran out on one of several ranks; ``entry`` says what all are to start again with."""

    def __init__(self, entry: RecoveryMade) -> None:
        super().__init__("out_of_memory", entry.reason)
        self.entry = entry

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.entry.model_dump_json(),)


def _restore(document: str) -> Restart:
    return Restart(RecoveryMade.model_validate_json(document))


def restarting(assignment: Assignment, channel: Channel, launch: Callable[[Assignment, PassLimits], T]) -> T:
    """What ``launch`` returns, once its ranks have enough memory: after each Restart they go on from the run's newest
    checkpoint; where there is none, from where they began."""
    limits = PassLimits()
    while True:
        try:
            return launch(assignment, limits)
        except Restart as restart:
            entry = restart.entry
        limits = replace(
            limits,
            micro_batch=entry.after.get("microBatch", limits.micro_batch),
            evaluation_batch=entry.after.get("evaluationBatch", limits.evaluation_batch),
        )
        channel.emit(entry)
        if not entry.equivalent:
            channel.warn("batch_norm_smaller_batches", entry.reason, remedy="Use group or layer normalisation.")
        assignment = _going_on(assignment, channel)


def _going_on(assignment: Assignment, channel: Channel) -> Assignment:
    """The assignment of ranks that start again. Where nothing was saved the curve so far is taken back: they do it again."""
    if complete_checkpoints(Path(assignment.run_folder)):
        request = assignment.request
        saved = request.checkpoint_config.model_copy(update={"resume_from": assignment.run_folder})
        return assignment.model_copy(update={"request": request.model_copy(update={"checkpoint_config": saved})})
    if assignment.request.checkpoint_config.resume_from is None:
        channel.emit(RunRestored(path="", epoch=0, step=0, history=[]))
    return assignment
