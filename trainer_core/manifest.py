"""Folders that are whole or absent: every file synced, then a manifest of their hashes, then one rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.files import sync_folder, write_synced

MANIFEST_FILE = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Sealed:
    """A folder that is complete on disk: its size, and the hash of its manifest."""

    path: Path
    bytes: int
    sha256: str


def seal(folder: Path, fill: Callable[[Path], None], facts: dict[str, Any]) -> Sealed:
    """Make ``folder`` from what ``fill`` writes into the empty folder it is given, and a manifest with ``facts`` (JSON).

    A crash leaves the old folder, or none, or the new one; never a part. Raises OSError when it cannot be made durable.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    fill(temporary)
    files = {}
    for path in sorted(temporary.iterdir()):
        _sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    manifest = json.dumps({**facts, "files": files}, indent=1, allow_nan=False).encode()
    write_synced(temporary / MANIFEST_FILE, manifest)
    sync_folder(temporary)
    if folder.exists():  # of an earlier attempt that was resumed from before it
        shutil.rmtree(folder)
    temporary.rename(folder)
    sync_folder(folder.parent)
    size = len(manifest) + sum(int(entry["bytes"]) for entry in files.values())
    return Sealed(folder, size, hashlib.sha256(manifest).hexdigest())


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of ``folder``, every file of it read and compared. Raises ``checkpoint_corrupt`` naming the file."""
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        files: dict[str, dict[str, Any]] = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read: {type(error).__name__}."
        raise Failure("checkpoint_corrupt", message, place=Place(path=str(path))) from error
    for name, entry in files.items():
        file = folder / name
        if not file.is_file():
            raise Failure("checkpoint_corrupt", f"{file} is missing.", place=Place(path=str(file)))
        if file.stat().st_size != entry["bytes"] or sha256_of(file) != entry["sha256"]:
            message = f"{file} is not what was written: its size or SHA-256 differs from the manifest's."
            raise Failure("checkpoint_corrupt", message, place=Place(path=str(file)))
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
