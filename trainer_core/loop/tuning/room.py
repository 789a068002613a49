"""How much memory a trial may take on a CPU, where asking for too much ends the process instead of raising."""

import resource

import torch

from trainer_core.loop.footprint import memory_in_use, memory_limit

# Of what there is; the rest is for whatever else the process does.
_SHARE = 0.8


class Room:
    """Everything is tried: what does not fit raises. That of a GPU, and the null form."""

    def expects(self, size: int) -> bool:
        """Whether passes of ``size`` samples may be tried."""
        return True

    def note(self, size: int) -> None:
        """Passes of ``size`` samples have fitted."""


class HostRoom(Room):
    """Expects memory to grow in proportion to the samples of a pass, as the peaks of those before show it."""

    def __init__(self, device: torch.device) -> None:
        self._base = max(memory_in_use(device), peak_of_process())
        self._limit = memory_limit(device)
        self._a_sample = 0.0

    def expects(self, size: int) -> bool:
        return self._base + size * self._a_sample <= _SHARE * self._limit

    def note(self, size: int) -> None:
        self._a_sample = max(self._a_sample, (peak_of_process() - self._base) / size)


def peak_of_process() -> int:
    """Bytes that were ever resident (Linux: getrusage(2) counts in KiB)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def build_room(device: torch.device) -> Room:
    """Room on ``device``."""
    return HostRoom(device) if device.type == "cpu" else Room()
