"""Files that are whole or absent: how both sides of the process boundary leave something for the other."""

import os
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
    temporary = path.with_name(path.name + ".tmp")
    write_synced(temporary, content)
    temporary.rename(path)
    sync_folder(path.parent)
