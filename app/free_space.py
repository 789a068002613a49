"""Free space: how much a disk must have before anything new is begun on it."""

import shutil

from app.settings import Settings


def shortage(settings: Settings) -> str | None:
    """What is missing on the disk of the data folder, in one sentence; None when there is enough."""
    free, floor = shutil.disk_usage(settings.home).free, settings.disk_floor_bytes
    if free >= floor:
        return None
    return (
        f"{free >> 20} MiB are free on the disk of {settings.home}, and {floor >> 20} are kept free (PT_DISK_FLOOR_MIB); "
        "nothing new is begun until there is room."
    )
