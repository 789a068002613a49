"""Small C libraries that are preloaded into processes of a test, to make the kernel's answers worse than they are."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import pytest


@cache
def preloaded(name: str) -> dict[str, str]:
    """The environment in which a process loads ``tests/native/NAME.c``; skips the test where there is no C compiler."""
    if shutil.which("gcc") is None:
        pytest.skip(f"{name}.c cannot be compiled: install gcc and the C library's headers (Debian: gcc libc6-dev)")
    source = Path(__file__).with_name(f"{name}.c")
    # One name for one content: several processes may make it at once.
    library = Path(gettempdir()) / f"pytorch-trainer-{name}-{abs(hash(source.read_bytes())):x}.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
