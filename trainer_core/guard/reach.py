"""What of the file system a guarded worker reaches."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import schemas
import trainer_core
from schemas.assignment import Assignment
from schemas.checkpointing import BEST, LATEST, MANIFEST_FILE
from schemas.scratch import SCRATCH_FOLDER

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
)
_DEVICES = ("/dev/zero", "/dev/random", "/dev/urandom")
_WRITABLE_DEVICES = ("/dev/null", "/dev/full", "/dev/tty", "/dev/shm", "/dev/kfd", "/dev/dri")


@dataclass(frozen=True)
class Reach:
    """Folders and files: of the system and its devices, of Python, and of the job. Any may be missing."""

    system: tuple[Path, ...]
    python: tuple[Path, ...]
    devices: tuple[Path, ...]
    writable_devices: tuple[Path, ...]
    data: tuple[Path, ...]
    writable: tuple[Path, ...]
    scratch: Path

    @staticmethod
    def of(assignment: Assignment) -> "Reach":
        """What the worker of ``assignment`` needs: to read the workspace and to write its own folders, and no other
        job's, nor the service's token and database, wherever they lie."""
        attempt, run = Path(assignment.attempt_folder), Path(assignment.run_folder)
        home = Path(assignment.home or attempt)
        return Reach(
            system=tuple(map(Path, _SYSTEM)),
            python=tuple(part for path in dict.fromkeys(_of_python()) for part in around(path, home)),
            devices=tuple(map(Path, _DEVICES)),
            writable_devices=(*map(Path, _WRITABLE_DEVICES), *sorted(Path("/dev").glob("nvidia*"))),
            data=(
                *around(Path(assignment.workspace), home),
                Path(assignment.job_folder),
                *map(Path, assignment.readable),
                *_named(assignment),
            ),
            writable=(attempt, run),
            scratch=attempt / SCRATCH_FOLDER,
        )


def around(folder: Path, hole: Path) -> Iterator[Path]:
    """``folder``, or where ``hole`` lies in it all that is beside the way there: the entries there are now."""
    if not hole.is_relative_to(folder):
        yield folder
    elif hole != folder:
        for entry in sorted(folder.iterdir()):
            yield from around(entry, hole)


def _of_python() -> Iterator[Path]:
    """The interpreter, and all that it may import."""
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent)
    # The folder that a script was started in is the attempt's, or says nothing.
    yield from (Path(entry) for entry in sys.path if entry)
    # What is installed in place (pip install -e) lies on no path: a finder of its own knows where.
    for name in [name for name in sys.modules if name.startswith("__editable__")]:
        yield from map(Path, getattr(sys.modules[name], "MAPPING", {}).values())
    yield from (Path(package.__path__[0]) for package in (schemas, trainer_core))
    yield from (Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry)


def _named(assignment: Assignment) -> Iterator[Path]:
    """What a request may name in the folders of other jobs."""
    request = assignment.request
    weights, resume_from = request.model_settings.pretrained, request.checkpoint_config.resume_from
    if weights is not None:
        yield Path(weights.path)
    if resume_from is not None and resume_from != LATEST:
        named = Path(resume_from)
        # Of one checkpoint the whole run: its best one may be another, and is part of the result.
        one = named.name in (BEST, LATEST) or (named / MANIFEST_FILE).exists()
        yield named.parent if one else named
