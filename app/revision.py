"""The revision of the workspace: what a result came from."""

import os
import subprocess
from pathlib import Path

_SECONDS = 3.0


def revision_of(workspace: Path) -> str | None:
    """Commit of the git checkout at ``workspace``, with ``-dirty`` when tracked files have changed.

    None without git, without a commit, and when git takes longer than three seconds.
    """
    command = ["git", "-C", str(workspace), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    # No optional locks: looking must not disturb somebody who is committing.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
