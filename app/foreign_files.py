"""Files that a worker, or a user, made: opened with suspicion."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# What opening says of a link, of a folder (to write), of a path through a file, of a socket.
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO)


def open_foreign(path: Path, *, writing: bool = False) -> BinaryIO:
    """Open a file that a worker may have made, to read it (and, when ``writing``, to cut it and append to it).

    Only a plain file counts: a pipe would make its reader wait, a device never ends, a link could lead anywhere.
    Raises FileNotFoundError for these as for nothing at all, and other OSErrors.
    """
    flags = os.O_RDWR | os.O_APPEND if writing else os.O_RDONLY
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _no_file(path) if error.errno in _NO_FILE else error from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return os.fdopen(descriptor, "r+b" if writing else "rb", buffering=0)


def size_of_foreign(path: Path) -> int:
    """Bytes of a file that a worker may have made; 0 when there is no plain file."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _no_file(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no plain file", str(path))
