"""A worker's container: the command of bubblewrap that makes it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.assignment import Assignment
from trainer_core.guard.reach import Reach

PROGRAM = "bwrap"

_NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--cap-drop",
    "ALL",
    "--die-with-parent",
)
# Made anew; everything of the system but these is bound into it as it is.
_OWN = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")


def containing(assignment: Assignment, command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` with no network, no other process, and of the file system what a worker reaches.

    Paths are the same inside. The folders that are written are made here. Open files go on to ``command``.
    """
    reach = Reach.of(assignment)
    for folder in reach.writable:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    binds = [*_read_only(reach), *(("--bind", str(path)) for path in reach.writable)]
    return [
        PROGRAM,
        *_NAMESPACES,
        *_OWN,
        *(word for option, path in sorted(binds, key=_depth) for word in (option, path, path)),
        *(word for path in _devices() for word in ("--dev-bind", path, path)),
        "--chdir",
        assignment.attempt_folder,
        *command,
    ]


def _read_only(reach: Reach) -> Iterator[tuple[str, str]]:
    made = [path for path in _OWN if path.startswith("/")]
    for path in dict.fromkeys((*reach.system, *reach.python, *reach.data)):
        if path.exists() and str(path) not in made:
            yield "--ro-bind", str(path)


def _devices() -> list[str]:
    found = [*Path("/dev").glob("nvidia*"), *Path("/dev").glob("kfd"), *Path("/dev").glob("dri")]
    return sorted(map(str, found))


def _depth(bind: tuple[str, str]) -> int:
    """A folder comes before what lies in it, which would be hidden by it."""
    return len(Path(os.path.abspath(bind[1])).parts)
