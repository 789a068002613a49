"""Slots: which devices are free. One job per GPU; on a machine without GPUs, a number of jobs at a time."""

from collections.abc import Sequence

_CPU = "cpu"


class Slots:
    """Devices given to jobs and taken back. A job that asks for several GPUs gets all of them or none."""

    def __init__(self, devices: Sequence[str], cpu_slots: int) -> None:
        self._gpus = [device for device in devices if device != _CPU]
        self._free = list(self._gpus)
        self._free_cpu = 0 if self._gpus else cpu_slots

    def most(self) -> int | None:
        """The most devices a job can ask for; None without GPUs: ranks on a CPU share its one slot."""
        return len(self._gpus) or None

    def take(self, count: int) -> tuple[str, ...] | None:
        """Devices for a job of ``count`` ranks, or None while too few are free."""
        if self._gpus:
            if len(self._free) < count:
                return None
            taken, self._free = tuple(self._free[:count]), self._free[count:]
            return taken
        if self._free_cpu <= 0:
            return None
        self._free_cpu -= 1
        return (_CPU,) * count

    def hold(self, assigned: Sequence[str]) -> None:
        """Count devices as taken that an adopted job has, be there as many or not."""
        if set(assigned) <= {_CPU}:
            self._free_cpu -= 1
        self._free = [device for device in self._free if device not in assigned]

    def give_back(self, assigned: Sequence[str]) -> None:
        """The job that had these has ended."""
        if set(assigned) <= {_CPU}:
            self._free_cpu += 1
        returned = {*self._free, *assigned}
        self._free = [device for device in self._gpus if device in returned]
