"""The guard of a worker: one call, after which user code may be imported."""

import os
import socket
import tempfile
from pathlib import Path

from schemas.assignment import Assignment, Outcome
from schemas.isolation import Isolation
from schemas.scratch import lay_way
from trainer_core.failure import Failure
from trainer_core.guard import landlock
from trainer_core.guard.privileges import give_up_privileges, is_alone, limit
from trainer_core.guard.reach import Reach

# Where libraries keep what they may lose, below the scratch folder: it is all that a worker has of /tmp and ~/.cache.
_CACHES = {
    "TMPDIR": "",
    "XDG_CACHE_HOME": "cache",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "MPLCONFIGDIR": "matplotlib",
}
# How Python says that it may not.
_REFUSALS = ("PermissionError", "Read-only file system")
_HINT = "(The worker is {}: it reads the workspace and what PT_READABLE names, and writes its run's folder, TMPDIR and no other.)"
_NO_LANDLOCK = (
    "landlock: this kernel has none, or it is switched off: the worker may read and write what the service's user may"
)


def confine(assignment: Assignment) -> Isolation:
    """Hold this process, and all that will come from it, to the level of ``assignment``; what that came to.

    Called once, while the process has one thread and has run none of the user's code; a process started before stays
    free. Nothing of it can be taken back. Raises Failure ``isolation_unavailable`` for what cannot be had.
    """
    if assignment.isolation == "none":
        return Isolation(level="none")
    assert is_alone(), "a thread that is there already would stay unguarded"
    parts = ["session", "environment"]
    missing: list[str] = []
    try:
        reach = Reach.of(assignment)
        if assignment.isolation == "contained":
            _require_container(assignment)
            parts.append("container")
        _move_caches(reach.scratch)
        limit(assignment.bounds.disk_bytes)
        give_up_privileges()
        parts += ["limits", "no_new_privileges"]
        known = landlock.version()
        if known:
            Path(assignment.run_folder).mkdir(parents=True, exist_ok=True)
            readable = (*reach.system, *reach.python, *reach.devices, *reach.data)
            missing = landlock.restrict(readable, (*reach.writable_devices, *reach.writable))
            parts.append(f"landlock {known}")
        else:
            missing = [_NO_LANDLOCK]
    except OSError as error:
        message = f"The worker cannot be {assignment.isolation}: {error.strerror or error}."
        raise Failure("isolation_unavailable", message) from error
    return Isolation(level=assignment.isolation, parts=parts, missing=missing)


def explained(outcome: Outcome, isolation: Isolation) -> Outcome:
    """``outcome``; a failure of the user's code that was refused something is told that there is a guard."""
    error = outcome.error
    refused = error is not None and error.untrusted is not None and any(word in error.untrusted for word in _REFUSALS)
    if error is None or not refused or isolation.level == "none":
        return outcome
    told = error.model_copy(update={"next_move": f"{error.next_move} {_HINT.format(isolation.level)}"})
    return outcome.model_copy(update={"error": told})


def _move_caches(scratch: Path) -> None:
    for name, below in _CACHES.items():
        folder = scratch / below
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    os.environ["TMPDIR"] = str(lay_way(scratch))
    # It is kept once it has been looked up, and a warm process may have.
    tempfile.tempdir = None


def _require_container(assignment: Assignment) -> None:
    """Raises OSError unless this process sees no network and nothing of the service but its job."""
    interfaces = [name for _, name in socket.if_nameindex()]
    if interfaces not in ([], ["lo"]):
        raise OSError(f"it sees the network ({', '.join(interfaces)})")
    if assignment.home is not None and os.listdir(assignment.home) != ["jobs"]:
        raise OSError(f"it sees {assignment.home}")
