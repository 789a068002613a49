"""The scratch folder of an attempt: what its worker takes for /tmp, and a way to it that is short enough for sockets."""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

# In the attempt's folder. It ends with the attempt.
SCRATCH_FOLDER = "tmp"

# The path of a socket has at most 107 bytes, and what multiprocessing and torch name theirs, below the temporary folder, 35:
# the loader processes of a training send tensors through them.
_LONGEST = 72
_LINKS = Path("/tmp")


def lay_way(scratch: Path) -> Path:
    """A path of ``scratch`` that leaves room for sockets below it: its own, or that of a link. Its own as well where no link
    can be made."""
    way = _way(scratch)
    if way != scratch:
        try:
            way.symlink_to(scratch)
        except OSError:
            return scratch
    return way


def remove_scratch(scratch: Path) -> None:
    """Remove it, and the way to it, which may be gone already; what cannot be removed stays."""
    shutil.rmtree(scratch, ignore_errors=True)
    way = _way(scratch)
    with suppress(OSError):
        if way != scratch and os.readlink(way) == str(scratch):
            way.unlink()


def _way(scratch: Path) -> Path:
    path = os.fsencode(scratch)
    # Nobody knows it beforehand: the number of the job is in it.
    return scratch if len(path) <= _LONGEST else _LINKS / f"pt-{hashlib.sha256(path).hexdigest()[:16]}"
