"""How much memory a run takes, and how much there is."""

import os
from pathlib import Path

import torch

from trainer_core.data.memory import free_memory

_CGROUP = Path("/sys/fs/cgroup")


def memory_in_use(device: torch.device) -> int:
    """Bytes: the device's peak so far, or, on a CPU, what this process has resident (Linux: proc(5), statm)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_limit(device: torch.device) -> int:
    """Bytes: all that the device has or, on a CPU, what this process has and could still get."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_in_use(device) + free_host_memory()


def free_host_memory() -> int:
    """Bytes of main memory that this process could still get."""
    return int(min(free_memory(), _free_in_group()))


def peak_of_device(device: torch.device) -> dict[str, int]:
    """Peak and size of a GPU's memory, as ``run.finalizing`` has them; nothing on a CPU, where no batch can fill it."""
    if device.type != "cuda":
        return {}
    return {"memory_bytes": memory_in_use(device), "memory_limit_bytes": memory_limit(device)}


def _free_in_group() -> float:
    """Bytes that the container leaves (cgroup v2), files that may be dropped from the cache included; infinite without."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        current = int((_CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return float("inf")
    if limit == "max":
        return float("inf")
    return int(limit) - current + int(statistics.get("inactive_file", 0))
