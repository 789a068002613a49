"""Which levels of isolation this machine can give, and what the service does to be out of its workers' reach."""

import ctypes
import shutil
import subprocess
from functools import cache

from app.settings import Settings
from schemas.isolation import LEVELS, IsolationLevel

_PR_SET_DUMPABLE = 4
_PROBE_SECONDS = 10
_INSTALL = "Install bubblewrap (apt install bubblewrap)"
_ALLOW = (
    "Allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1 or "
    "kernel.apparmor_restrict_unprivileged_userns=0)"
)


def why_not(level: IsolationLevel) -> str | None:
    """Why a worker cannot be held to ``level`` here, and what to do about it, as sentences; None when it can."""
    return _why_not_contained() if level == "contained" else None


def available() -> list[IsolationLevel]:
    """The levels that can be had."""
    return [level for level in LEVELS if why_not(level) is None]


def require_isolation(settings: Settings) -> None:
    """Raises ValueError when the level that every worker is to have cannot be had: none is taken in its place."""
    if (reason := why_not(settings.isolation)) is not None:
        raise ValueError(
            f"PT_GUARD is {settings.isolation}, which this machine cannot give. {reason}, or set PT_GUARD."
        )


def hide_memory() -> None:
    """Keep this process's memory and environment from others of the same user (proc(5)): a worker is one of them.

    Raises OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process cannot hide its memory (prctl PR_SET_DUMPABLE)")


def _why_not_contained() -> str | None:
    program = shutil.which("bwrap")
    return f"There is no bubblewrap. {_INSTALL}" if program is None else _why_not_with(program)


@cache
def _why_not_with(program: str) -> str | None:
    """Tried, and not only looked for: a container in a container is often forbidden."""
    command = [program, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Bubblewrap does not start: {error}. {_INSTALL}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return None if done.returncode == 0 else f"Bubblewrap cannot make a container: {said[-1:] or 'it failed'}. {_ALLOW}"
