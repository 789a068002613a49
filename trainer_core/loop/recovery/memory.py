"""How many samples go through the model at once, and what is done when memory runs out over them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from pydantic.alias_generators import to_camel

from schemas.events import RecoveryMade
from schemas.recovery import Action
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.loop.forward import BATCH_SIZE, shortage
from trainer_core.loop.heap import give_back_freed_memory
from trainer_core.loop.position import Position
from trainer_core.loop.recovery.moment import Moment
from trainer_core.loop.recovery.restart import Restart

T = TypeVar("T")
Kind = Literal["micro_batch", "evaluation_batch"]

_NOT_EQUIVALENT = "batch normalisation sees fewer samples at a time, so the result is not that of the larger size"


class Memory:
    """``size`` samples to a pass at most; where they do not fit the run fails. The null form."""

    def __init__(self, size: int) -> None:
        self.size = size

    def attempt(self, work: Callable[[], T]) -> T:
        """What ``work``, a pass or the passes of a batch, returns."""
        return work()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


class MeasuredMemory(Memory, ABC):
    """One that looks for a size that fits. ``fitting`` gives the next smaller size, or None below the smallest.

    ``limit`` is the size that was found necessary, None while the first one fits: a run that is resumed with larger batches
    need not find it out again.
    """

    def __init__(
        self,
        kind: Kind,
        size: int,
        limit: int | None,
        fitting: Callable[[int], int | None],
        position: Position,
        equivalent: bool,
    ) -> None:
        super().__init__(size if limit is None else min(size, limit))
        self._kind = kind
        self._limit = limit
        self._fitting = fitting
        self._position = position
        self._equivalent = equivalent
        self._tried: list[int] = []

    def attempt(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, once it fits. Raises Failure ``out_of_memory`` when nothing does."""
        while True:
            try:
                return work()
            except (Failure, RuntimeError, MemoryError) as error:
                reason = shortage(error)
                if reason is None:
                    raise
            # Only here is the exception let go, and with it the frames that hold the tensors of the pass.
            self.shrink(reason)

    @abstractmethod
    def shrink(self, reason: str) -> None:
        """Go on with less at a time."""

    def entry(self, reason: str) -> RecoveryMade:
        """What is done, with the next smaller size. Raises Failure ``out_of_memory`` when there is none."""
        self._tried.append(self.size)
        smaller = self._fitting(self.size)
        if smaller is None:
            raise self._exhausted(reason)
        key = to_camel(self._kind)
        kept = "the optimizer batch is the same" if self._equivalent else _NOT_EQUIVALENT
        return RecoveryMade(
            cause="out_of_memory",
            action=cast(Action, f"{self._kind}_halved"),
            epoch=self._position.epoch + 1,
            step=self._position.step + 1,
            before={key: self.size},
            after={key: smaller},
            reason=f"Memory ran out over {self.size} samples at once; from here on it is {smaller}: {kept}.",
            equivalent=self._equivalent,
            evidence={"tried": list(self._tried)},
        )

    def _exhausted(self, reason: str) -> Failure:
        tried = ", ".join(map(str, self._tried))
        return Failure(
            "out_of_memory",
            f"Memory ran out with {self.size} sample{'s' * (self.size > 1)} at once, and fewer cannot be taken "
            f"(tried: {tried}).",
            next_move="Make the model or its inputs smaller; a smaller batchSize would not help.",
            place=Place(pointer=BATCH_SIZE, epoch=self._position.epoch + 1, step=self._position.step + 1),
            detail=reason,
        )

    def state(self) -> dict[str, Any]:
        """The limit, if there is one."""
        return {"limit": self._limit}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with the smaller of both limits."""
        limits = [limit for limit in (self._limit, state.get("limit")) if limit is not None]
        self._limit = min(limits, default=None)
        self.size = min([self.size, *limits])


class HalvingMemory(MeasuredMemory):
    """Makes undone what the failed passes did, halves the size, and has them made again. For a process that trains alone."""

    def __init__(self, moment: Moment, channel: Channel, **measured: Any) -> None:
        super().__init__(**measured)
        self._moment = moment
        self._channel = channel

    def shrink(self, reason: str) -> None:
        """Everything as it was before the batch, and half the size."""
        entry = self.entry(reason)
        self._moment.put_back()
        give_back_freed_memory()
        (smaller,) = entry.after.values()
        self.size = self._limit = smaller
        self._channel.emit(entry)
        if not self._equivalent:
            self._channel.warn("batch_norm_smaller_batches", entry.reason, remedy="Use group or layer normalisation.")


class RestartingMemory(MeasuredMemory):
    """Ends the process, so that all ranks start again with half the size: the others may wait for this one's gradients by
    now, and a backward pass that was begun with them cannot be taken back."""

    def shrink(self, reason: str) -> None:
        """Raise Restart."""
        raise Restart(self.entry(reason))
