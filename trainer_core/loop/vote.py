"""On what all ranks agree without waiting for each other."""

import torch
from torch import Tensor


class Vote:
    """A flag that all ranks have summed on the device, read by the host without stalling it.

    On a CPU it is read at once. On a GPU it is copied behind the kernels and read one step later: the same step on
    every rank, so they still agree, and the device always has a step queued.
    """

    def __init__(self, device: torch.device) -> None:
        self._pending: list[tuple[Tensor, torch.cuda.Event]] = []
        self._late = device.type == "cuda"

    def read(self, votes: Tensor) -> bool:
        """Whether anyone voted; on a GPU, at the step before."""
        if not self._late:
            return bool(votes.item())
        copy = torch.empty((), dtype=votes.dtype, pin_memory=True)
        copy.copy_(votes, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((copy, event))
        if len(self._pending) == 1:
            return False
        earlier, done = self._pending.pop(0)
        done.synchronize()
        return bool(earlier.item())
