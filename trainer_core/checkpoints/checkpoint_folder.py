"""The folder of a run's checkpoints: each whole or absent, the newest and the best kept. Whatever engine fills them.

A checkpoint is a folder ``epoch-0003`` or ``step-00001234`` with the engine's files and a manifest. It is written as
``NAME.tmp``, every file synced, the manifest last, and renamed when it is complete. A file system that keeps its
promises leaves the previous checkpoint whole, whenever the power goes.
"""

import platform
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from schemas.checkpointing import BEST, LATEST
from schemas.events import CheckpointSaved
from schemas.files import replace_files, sync_folder
from trainer_core.arguments import invalid
from trainer_core.checkpoints.manifest import FileRecord, Kind, Manifest, read_manifest, write_manifest
from trainer_core.failure import Failure

_TEMPORARY = ".tmp"
_REPLACED = ".old"


class Parts(Protocol):
    """What an engine keeps in a checkpoint."""

    @property
    def about(self) -> dict[str, str]:
        """What stands in the manifest for people: the model's class ..."""
        ...

    @property
    def versions(self) -> dict[str, str]:
        """Library -> version, of what wrote it."""
        ...

    def write(self, folder: Path) -> dict[str, FileRecord]:
        """Write the files into the empty ``folder``, each synced; their sizes and hashes. Raises OSError."""
        ...


class CheckpointFolder:
    """The checkpoints of one run, in ``run_folder``; the ``keep_last`` newest and the best stay.

    For the one process that writes them: it clears away what an earlier one left half done. ``latest`` and ``best``
    are files with the name of a checkpoint, for people and scripts.
    """

    def __init__(self, run_folder: Path, keep_last: int) -> None:
        self._folder = run_folder
        self._keep_last = keep_last
        run_folder.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        # The newest first. Known from here on: whoever reads manifests while a training runs takes time from it.
        self._complete = complete_checkpoints(run_folder)

    def save(self, parts: Parts, *, kind: Kind, epoch: int, step: int, is_best: bool) -> CheckpointSaved:
        """Write ``parts``; when this returns, it survives a power cut.

        Raises OSError (a full disk among others); the checkpoints before this one are then as they were.
        """
        name = f"epoch-{epoch:04d}" if kind == "epoch" else f"step-{step:08d}"
        temporary = self._folder / (name + _TEMPORARY)
        number = 1 + max((manifest.number for _, manifest in self._complete), default=0)
        try:
            temporary.mkdir()
            files = parts.write(temporary)
            manifest = Manifest(
                number=number,
                kind=kind,
                epoch=epoch,
                step=step,
                is_best=is_best,
                time=datetime.now(UTC).isoformat(timespec="microseconds"),
                about={"python": platform.python_version(), **parts.versions, **parts.about},
                files=files,
            )
            digest = write_manifest(temporary, manifest)
            sync_folder(temporary)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._put_in_place(temporary, name)
        saved = self._folder / name
        self._note(saved, manifest)
        replace_files(self._folder, dict.fromkeys((LATEST, BEST) if is_best else (LATEST,), f"{name}\n".encode()))
        self._remove_old()
        return CheckpointSaved(
            path=str(saved),
            kind=kind,
            epoch=epoch,
            step=step,
            bytes=sum(record.bytes for record in files.values()),
            sha256=digest,
            is_best=is_best,
        )

    def _put_in_place(self, temporary: Path, name: str) -> None:
        """Rename to ``name``. One of that name (an epoch done again after a roll-back) stays until the new one is there."""
        place, replaced = self._folder / name, self._folder / (name + _REPLACED)
        if place.exists():
            place.rename(replaced)
        temporary.rename(place)
        sync_folder(self._folder)
        if replaced.exists():
            shutil.rmtree(replaced)

    def _note(self, saved: Path, manifest: Manifest) -> None:
        """A checkpoint was written, perhaps in the place of another; a person may have removed some meanwhile."""
        others = [pair for pair in self._complete if pair[0] != saved and pair[0].exists()]
        self._complete = [(saved, manifest), *others]

    def _remove_old(self) -> None:
        best = next((path for path, manifest in self._complete if manifest.is_best), None)
        old = [path for path, _ in self._complete[self._keep_last :] if path != best]
        for path in old:
            # Under its own name a half-removed checkpoint would pass for a damaged one.
            doomed = path.with_name(path.name + _TEMPORARY)
            path.rename(doomed)
            shutil.rmtree(doomed)
        self._complete = [pair for pair in self._complete if pair[0] not in old]

    def _clear_leftovers(self) -> None:
        for path in self._folder.glob(f"*{_TEMPORARY}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._folder.glob(f"*{_REPLACED}"):
            place = path.with_suffix("")
            if place.exists():
                shutil.rmtree(path)
            else:
                path.rename(place)


def complete_checkpoints(run_folder: Path) -> list[tuple[Path, Manifest]]:
    """Checkpoints directly in ``run_folder`` with their manifests (the files not verified), the newest first."""
    found = [(path, item) for path, item in _candidates(run_folder) if isinstance(item, Manifest)]
    return sorted(found, key=lambda pair: pair[1].number, reverse=True)


def unreadable_checkpoints(run_folder: Path) -> list[tuple[Path, Failure]]:
    """Checkpoints directly in ``run_folder`` whose manifest cannot be read, and why."""
    return [(path, item) for path, item in _candidates(run_folder) if isinstance(item, Failure)]


def newest(run_folder: Path) -> Path | None:
    """The newest checkpoint directly in ``run_folder``."""
    return next((path for path, _ in complete_checkpoints(run_folder)), None)


def find_checkpoint(resume_from: str, save_dir: Path | None) -> Path:
    """The checkpoint that ``checkpointConfig.resumeFrom`` means: a checkpoint's folder, the newest in a run's folder,
    the one named by the file ``best`` or ``latest`` there, or, for ``latest``, the newest by its manifest's time under ``save_dir``.

    Raises Failure ``input_invalid`` when the path does not exist or nothing is there yet, ``checkpoint_incompatible``
    when what is there is no checkpoint.
    """
    pointer = "/checkpointConfig/resumeFrom"
    if resume_from == LATEST:
        if save_dir is None:
            raise invalid(pointer, "resumeFrom is latest, and there is no checkpointConfig.saveDir to look in.")
        folders = [path for path in (save_dir, *save_dir.glob("*/"), *save_dir.glob("*/*/")) if path.is_dir()]
        found = [pair for folder in folders for pair in complete_checkpoints(folder)]
        if not found:
            raise invalid(pointer, f"resumeFrom is latest, and there is no checkpoint under {save_dir}.")
        return max(found, key=lambda pair: pair[1].time)[0]
    path = Path(resume_from)
    if not path.exists():
        raise invalid(pointer, f"resumeFrom: {resume_from} does not exist.")
    if path.name in (LATEST, BEST) and path.is_file():
        path = path.with_name(path.read_text().strip())
    inside = newest(path) if path.is_dir() else None
    if inside is None:
        read_manifest(path)
    return inside or path


def _candidates(run_folder: Path) -> Iterator[tuple[Path, Manifest | Failure]]:
    for pattern in ("epoch-*", "step-*"):
        for path in run_folder.glob(pattern):
            if path.is_dir() and not path.name.endswith((_TEMPORARY, _REPLACED)):
                try:
                    yield path, read_manifest(path)
                except Failure as failure:
                    yield path, failure
