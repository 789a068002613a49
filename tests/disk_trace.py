"""What a process has asked of the disk, in order, and what of it a loss of power could still undo."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_CALLS = "openat,mkdir,mkdirat,rename,renameat,renameat2,write,pwrite64,writev,pwritev,ftruncate,fsync,fdatasync"
_OF_DESCRIPTOR = re.compile(r'(\w+)\(\d+<([^>]*)>(?:, "([^"\\]*))?')
_OF_NAMES = re.compile(r'(\w+)\((?:AT_FDCWD<[^>]*>, )?"([^"]*)"(?:, (?:AT_FDCWD<[^>]*>, )?"([^"]*)")?(.*)\)\s+= \d')


def traced(program: str, folder: Path) -> list[str]:
    """The calls that ``program`` (Python, its argument ``folder``) makes to the kernel about files, as strace spells them."""
    if shutil.which("strace") is None:
        pytest.skip("calls to the kernel cannot be seen: install strace (Debian: strace)")
    written = folder / "trace"
    command = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-o", str(written)]
    done = subprocess.run(
        [*command, sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    # Without the number of the process.
    return [line.split(maxsplit=1)[1] for line in written.read_text().splitlines()]


class Disk:
    """What lies below ``folder`` after some calls; what is ``loose`` a loss of power could undo: contents of files, and
    names in folders (spelt with a slash at the end)."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}/"
        self.loose: set[str] = set()

    def apply(self, call: str) -> Iterator[tuple[str, str]]:
        """What ``call`` does here: its name and the path. A rename is told before it is applied."""
        if (found := _OF_DESCRIPTOR.match(call)) is not None:
            name, path, text = found.groups()
            if f"{path}/".startswith(self._folder):
                yield name, path
                self._note(name, path)
            elif text is not None and name == "write":
                yield "said", text
        elif (found := _OF_NAMES.match(call)) is not None and found[2].startswith(self._folder):
            name, path, other, rest = found.groups()
            if name.startswith("rename"):
                yield "rename", other
                self._rename(path, other)
            elif name.startswith("mkdir") or "O_CREAT" in rest:
                yield "make", path
                self.loose.add(_parent(path))

    def _note(self, name: str, path: str) -> None:
        if name in ("fsync", "fdatasync"):
            self.loose -= {path, f"{path}/"}
        else:
            self.loose.add(path)

    def _rename(self, path: str, other: str) -> None:
        moved = {loose for loose in self.loose if loose == path or loose.startswith(f"{path}/")}
        self.loose = (self.loose - moved) | {other + loose.removeprefix(path) for loose in moved}
        self.loose |= {_parent(path), _parent(other)}


def _parent(path: str) -> str:
    return f"{path.rstrip('/').rpartition('/')[0]}/"
