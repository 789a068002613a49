"""Slots: which devices are free. One job per GPU, and a number of jobs at a time on the CPU."""

from collections.abc import Sequence

_CPU = "cpu"


class Slots:
    """Devices given to jobs and taken back. A job that asks for several GPUs gets all of them or none. On the CPU run jobs
    that use no GPU, and where there is no GPU, all."""

    def __init__(self, devices: Sequence[str], cpu_slots: int) -> None:
        self._gpus = [device for device in devices if device != _CPU]
        self._free = list(self._gpus)
        self._cpu_slots = self._free_cpu = cpu_slots

    @property
    def has_gpus(self) -> bool:
        """Whether jobs that use GPUs and jobs that do not wait for different things."""
        return bool(self._gpus)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Kind of device -> (in use, all). More than all are in use while adopted jobs have them."""
        cpu = (self._cpu_slots - self._free_cpu, self._cpu_slots)
        return {"cpu": cpu, "gpu": (len(self._gpus) - len(self._free), len(self._gpus))}

    def most(self) -> int | None:
        """The most devices a job that uses GPUs can ask for; None without GPUs: ranks on a CPU share its one slot."""
        return len(self._gpus) or None

    def take(self, count: int, uses_gpu: bool = True) -> tuple[str, ...] | None:
        """Devices for a job of ``count`` ranks, or None while too few are free."""
        if self._gpus and uses_gpu:
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
