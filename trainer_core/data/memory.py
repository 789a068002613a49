"""How much memory samples may take."""

import os
from pathlib import Path

CAP = 1 << 30


def free_memory() -> int:
    """Bytes of main memory that may be had without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kibibytes) * 1024


def fits_in_memory(size: int) -> bool:
    """Whether ``size`` bytes of samples are kept in memory: at most 1 GiB, and a quarter of what is free."""
    return size <= min(CAP, free_memory() // 4)
