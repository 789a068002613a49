"""What a process gives up for good: new privileges, most of root's, core dumps, a place before others when memory is short."""

import ctypes
import os
import resource

_PR_SET_NO_NEW_PRIVS = 38
_VERSION_3 = 0x20080522
# Those that concern files, memory and priorities stay (capabilities(7)): a root in a container reads the data of others.
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, IPC_LOCK, SYS_NICE.
_KEPT = sum(1 << number for number in (0, 1, 2, 3, 4, 14, 23))

# From -1000 to 1000: the kernel ends a worker sooner than the service that would have to say so.
_OOM_SCORE = 500


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def give_up_privileges() -> None:
    """No program that this process starts has more rights than it, and root's rights are those on files. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")
    header, held = _Header(_VERSION_3, 0), (_Sets * 2)()
    if library.capget(ctypes.byref(header), held):
        raise OSError(ctypes.get_errno(), "capabilities cannot be read")
    kept = (_Sets * 2)(
        *(_Sets(half & mask, half & mask, 0) for half, mask in zip(_permitted(held), _masks(), strict=True))
    )
    if library.capset(ctypes.byref(header), kept):
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


def limit(file_bytes: int | None) -> None:
    """No core dumps; no file longer than ``file_bytes``; first in line when memory is short."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    with open("/proc/self/oom_score_adj", "r+") as score:
        if int(score.read()) < _OOM_SCORE:
            score.write(str(_OOM_SCORE))


def _permitted(held: "ctypes.Array[_Sets]") -> tuple[int, int]:
    return held[0].permitted, held[1].permitted


def _masks() -> tuple[int, int]:
    return _KEPT & 0xFFFFFFFF, _KEPT >> 32


def is_alone() -> bool:
    """Whether this process has one thread."""
    return len(os.listdir("/proc/self/task")) == 1
