"""Files that are whole or absent: how both sides of the process boundary leave something for the other."""

import os
from collections.abc import Mapping
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write ``content`` and fsync it. Raises OSError (ENOSPC and others) when it cannot be made durable."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_for_now(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a reader finds the old file or the new one, never a part. Not durable: for what says
    nothing after the machine has failed."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.rename(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a reader, or a crash, finds the old file or the new one, never a part."""
    replace_files(path.parent, {path.name: content})


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files in ``folder`` by name, each as ``write_atomically`` does, and make them durable together."""
    for name, content in contents.items():
        write_synced(folder / f"{name}.tmp", content)
    for name in contents:
        (folder / f"{name}.tmp").rename(folder / name)
    sync_folder(folder)
