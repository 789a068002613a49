"""One file of one format, or why there is none."""

import importlib
import os
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import cast

from schemas.exporting import EXPORTS, ExportFormat, ExportStage
from schemas.result import Export
from trainer_core.checkpoints.artifacts import file_artifact
from trainer_core.export.format import Say, Write
from trainer_core.export.messages import Work
from trainer_core.export.subject import Subject
from trainer_core.failure import Failure, is_disk_full
from trainer_core.guard.watch import size_of
from trainer_core.loop.forward import is_out_of_memory
from trainer_core.models.user_code import user_place

_AGAIN = "submit again with resumeFrom set to the run's folder: nothing is trained again"

# Functions of torch that no program can have in it.
_PACKING = frozenset({"pack_padded_sequence", "pack_sequence", "pad_packed_sequence"})

# Of a program: what is in its file beside the weights, with room to spare.
_BESIDE_WEIGHTS = 1 << 20


def make(format: ExportFormat, subject: Subject, work: Work, say: Say) -> Export:
    """Make one file, a draft by its name, and synced. This is the broad ``except`` of the process that exports: whatever torch,
    the model's code or the disk raise is why there is no file."""
    began, draft = time.monotonic(), work.draft(format)
    stages: list[ExportStage] = []

    def enter(stage: ExportStage) -> None:
        stages.append(stage)
        say(stage)

    enter("preparing")
    try:
        _require_room(format, subject, work)
        facts = _door(format)(subject, draft, enter)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        made = file_artifact(draft)
    except Exception as error:
        # The log may lie on the same full disk.
        with suppress(OSError):
            traceback.print_exc()
        failure = _failure(error, format, stages[-1], Path(work.assignment.request.model_path))
        return Export(format=format, status="failed", seconds=time.monotonic() - began, error=failure.error)
    return Export(
        format=format,
        status="exported",
        path=str(work.place(format)),
        bytes=made.bytes,
        sha256=made.sha256,
        seconds=time.monotonic() - began,
        dynamic_batch=facts.dynamic_batch,
        inputs=facts.inputs,
        remarks=facts.remarks,
        largest_difference=facts.largest_difference,
    )


def _require_room(format: ExportFormat, subject: Subject, work: Work) -> None:
    """Raise Failure ``quota_exceeded`` where the file, which has the weights in it, would take the job beyond
    ``resources.diskMiB``: its warden would end it, and the training with it."""
    most = work.assignment.bounds.disk_bytes
    if most is None:
        return
    folders = (work.assignment.attempt_folder, work.assignment.run_folder)
    room, needed = most - sum(size_of(Path(folder)) for folder in folders), subject.bytes + _BESIDE_WEIGHTS
    if needed > room:
        message = f"{EXPORTS[format].title} wants about {needed >> 20} MiB of disk, and resources.diskMiB leaves {room >> 20}."
        raise Failure("quota_exceeded", message, next_move=f"Raise resources.diskMiB, then {_AGAIN}.")


def _door(format: ExportFormat) -> Write:
    """What writes the format, its libraries imported now."""
    module, function = EXPORTS[format].door.split(":")
    return cast(Write, getattr(importlib.import_module(module), function))


def _failure(error: Exception, format: ExportFormat, stage: ExportStage, model_path: Path) -> Failure:
    """Why a format could not be exported."""
    title = EXPORTS[format].title
    if isinstance(error, Failure):
        return error
    if is_disk_full(error):
        message = f"No space left on the disk of the run ({stage} {title})."
        return Failure("disk_full", message, next_move=f"Free disk space, then {_AGAIN}.")
    detail = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        message = f"Memory ran out ({stage} {title})."
        move = f"Raise resources.memoryMiB where it is set, or let other jobs end, then {_AGAIN}."
        return Failure("out_of_memory", message, next_move=move, detail=detail)
    place = user_place(error, model_path)
    where = f", line {place.line} of {model_path.name}" if place is not None else ""
    message = f"This model cannot be exported to {title}: {type(error).__name__} ({stage}{where})."
    if any(frame.f_code.co_name in _PACKING for frame, _ in traceback.walk_tb(error.__traceback__)):
        message = (
            f"This model cannot be exported to {title} ({stage}{where}): it packs sequences, and how many steps each has are numbers "
            "that torch.export does not know."
        )
        move = (
            f"Leave the padding in where torch.compiler.is_exporting() is true, or take the safetensors; then {_AGAIN}."
        )
        return Failure("export_failed", message, next_move=move, place=place, detail=detail)
    return Failure("export_failed", message, place=place, detail=detail)
