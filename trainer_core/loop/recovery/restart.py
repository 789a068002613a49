"""Ranks that start again together, from their newest checkpoint, with what an earlier start has found out."""

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

# Names of parameters: a model may have thousands.
_SHOWN = 3


@dataclass(frozen=True)
class PassLimits:
    """Samples to a pass that an earlier start of the run found to fit; None while nothing is known. ``dynamic``: a pass was
    seen that gave not every parameter a gradient."""

    micro_batch: int | None = None
    evaluation_batch: int | None = None
    dynamic: bool = False


class Restart(Failure):
    """Memory ran out on one of several ranks; ``entry`` says what all are to start again with."""

    def __init__(self, entry: RecoveryMade) -> None:
        super().__init__("out_of_memory", entry.reason)
        self.entry = entry

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.entry.model_dump_json(),)


def _restore(document: str) -> Restart:
    return Restart(RecoveryMade.model_validate_json(document))


class UnusedParameters(Failure):
    """Parameters, the ``names`` of the first of which are given, got no gradient on one of several ranks, though in another pass
    they did."""

    def __init__(self, names: list[str], more: int = 0) -> None:
        self.names, self.more = names[:_SHOWN], more + len(names[_SHOWN:])
        shown = ", ".join(self.names) + (f" and {self.more} more" if self.more else "")
        super().__init__("internal", f"A pass gave no gradient to {shown}, though another pass did.")

    def __reduce__(self) -> tuple[object, ...]:
        return UnusedParameters, (self.names, self.more)


def restarting(assignment: Assignment, channel: Channel, launch: Callable[[Assignment, PassLimits], T]) -> T:
    """What ``launch`` returns, once its ranks have enough memory, and know that not every pass uses every parameter: after
    each Restart they go on from the run's newest checkpoint; where there is none, from where they began."""
    limits = PassLimits()
    while True:
        try:
            return launch(assignment, limits)
        except Restart as restart:
            limits = _lowered(limits, restart.entry, channel)
        except UnusedParameters as unused:
            limits = replace(limits, dynamic=True)
            channel.warn(
                "unused_parameters",
                f"{unused.error.message} All ranks start again, and look for such parameters in every step.",
                remedy='Set trainingConfig.findUnusedParameters to "on".',
            )
        assignment = _going_on(assignment, channel)


def _lowered(limits: PassLimits, entry: RecoveryMade, channel: Channel) -> PassLimits:
    """Limits with those of ``entry``, which is said."""
    channel.emit(entry)
    if not entry.equivalent:
        channel.warn("batch_norm_smaller_batches", entry.reason, remedy="Use group or layer normalisation.")
    return replace(
        limits,
        micro_batch=entry.after.get("microBatch", limits.micro_batch),
        evaluation_batch=entry.after.get("evaluationBatch", limits.evaluation_batch),
    )


def _going_on(assignment: Assignment, channel: Channel) -> Assignment:
    """The assignment of ranks that start again. Where nothing was saved the curve so far is taken back: they do it again."""
    if complete_checkpoints(Path(assignment.run_folder)):
        request = assignment.request
        saved = request.checkpoint_config.model_copy(update={"resume_from": assignment.run_folder})
        return assignment.model_copy(update={"request": request.model_copy(update={"checkpoint_config": saved})})
    if assignment.request.checkpoint_config.resume_from is None:
        channel.emit(RunRestored(path="", epoch=0, step=0, history=[]))
    return assignment
