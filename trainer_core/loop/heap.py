"""What becomes of memory that is freed: kept by the process for the next step, or given back to the system.

glibc gives back what is free above 64 MiB at the end of its heap, and takes it again in the next step, page by page, each of which
the kernel fills with zeros first. Where the activations of a pass are larger than that, this was seen to take a third of a step.
See mallopt(3).
"""

import ctypes
import gc
import os
import re
import time

import torch

from trainer_core.loop.footprint import memory_in_use, memory_limit

_CPU = torch.device("cpu")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MIB = 1 << 20
# Pieces of this size and more have a mapping of their own, which their end gives back.
_LARGEST = 1024 * _MIB
# What glibc comes to by itself, once large pieces have been freed.
_USUAL_LARGEST, _USUAL_REST = 32 * _MIB, 64 * _MIB
# glibc (before 2.38) does not put an aligned piece back into the hole that one of the same size has left, if anything small has come
# beside it: a heap that gave nothing back was seen to grow to six times what a step needs.
_SLACK, _SLACK_BYTES = 0.25, 256 * _MIB
# Beyond this share of what there is nothing is kept.
_SCARCE = 0.5
# In the names or values of an environment: whoever sets these has thought about it.
_SETTINGS = re.compile(r"(trim|mmap)_threshold", re.IGNORECASE)


class Heap:
    """Freed memory is given back as libc sees fit. The null form."""

    def look(self) -> None:
        """A step was taken: see, now and then, whether too much is kept."""


class KeepingHeap(Heap):
    """Freed memory is kept, up to a quarter and 256 MiB more than a step needs, as long as this process has less than half of what
    there is for it: of ``bound`` bytes, or of what it has and what is free. Beyond that libc does as it sees fit."""

    def __init__(self, bound: int | None, processes: int = 1, every_seconds: float = 0.1) -> None:
        self._bound, self._processes, self._every = bound, processes, every_seconds
        self._looked = time.monotonic()
        self._needed = 0
        self._has_kept = self._keeps = not self._is_scarce(memory_in_use(_CPU))
        # A step shows what it needs where nothing was kept before it.
        self._learns = True
        if self._keeps:
            _change(largest=_LARGEST, rest=-1)

    def look(self) -> None:
        """After a step, at most once in ``every_seconds``: give back what is kept where it is too much."""
        if not self._has_kept:
            return
        now = time.monotonic()
        if not self._learns and now - self._looked < self._every:
            return
        self._looked = now
        used = memory_in_use(_CPU)
        if self._learns:
            self._needed, self._learns = max(self._needed, used), False
        if self._keeps and self._is_scarce(used):
            self._keeps = False
            _change(largest=_USUAL_LARGEST, rest=_USUAL_REST)
        if used > self._most():
            _trim()
            self._learns = True

    def _most(self) -> float:
        return self._needed * (1 + _SLACK) + _SLACK_BYTES if self._keeps else self._needed

    def _is_scarce(self, used: int) -> bool:
        there_is = memory_limit(_CPU)
        if self._bound is not None:
            there_is = min(there_is, self._bound)
        return used * self._processes > _SCARCE * there_is


def build_heap(bound: int | None, processes: int) -> Heap:
    """That of one of ``processes`` that have ``bound`` bytes together, None without a bound. A null form without glibc, and where the
    environment says what glibc is to give back (``MALLOC_TRIM_THRESHOLD_`` and the like)."""
    said = (*os.environ, os.environ.get("GLIBC_TUNABLES", ""))
    if any(_SETTINGS.search(word) for word in said) or not hasattr(ctypes.CDLL(None), "mallopt"):
        return Heap()
    return KeepingHeap(bound, processes)


def give_back_freed_memory() -> None:
    """Give back to system and device what this process has freed and kept, tensors in cycles of garbage included."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _trim()


def _change(largest: int, rest: int) -> None:
    """Pieces below ``largest`` bytes are had from the heap, whose end keeps up to ``rest`` bytes that are free; -1: all."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, largest)
    libc.mallopt(_M_TRIM_THRESHOLD, rest)


def _trim() -> None:
    """Give back every free page, holes in the heap included."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
