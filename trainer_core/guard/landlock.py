"""Landlock: a process that gives up, for itself and all that come from it, what is not named (landlock(7)).

Only the calling thread is bound, so it is called while there is no other.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
# Rights that a file can have; the others are those of a folder.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READING = _EXECUTE | _READ_FILE | _READ_DIR
# Bits of the rights on files that the kernel knows, by version: 1 the first thirteen, 2 renaming between folders, 3
# cutting files short, 5 device controls.
_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_SCOPED_SINCE = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """Version of Landlock in this kernel; 0 when there is none, or when it is switched off."""
    try:
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> list[str]:
    """Bind this process: it may read and execute below ``readable``, do everything below ``writable``, and open nothing
    else; and it can neither trace nor signal a process that is not bound so, nor reach its abstract sockets.

    Paths that do not exist are passed over. Returns what this kernel is too old for. Raises OSError.
    """
    known = version()
    handled = (1 << _BITS.get(known, _BITS[max(_BITS)])) - 1
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if known >= _SCOPED_SINCE else 0
    ruleset = _Ruleset(handled, 0, scoped)
    rules = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    try:
        for path in readable:
            _allow(rules, path, handled & _READING)
        for path in writable:
            _allow(rules, path, handled)
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return [] if scoped else [f"landlock {known}: signals to other processes are not held back (6 does)"]


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(_Beneath(rights, opened)), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    result = library.syscall(ctypes.c_long(number), *(_word(argument) for argument in arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock (system call {number}): {os.strerror(error)}")
    return int(result)


def _word(argument: object) -> object:
    """An argument as wide as the kernel reads it."""
    return ctypes.c_size_t(argument) if isinstance(argument, int) else argument
