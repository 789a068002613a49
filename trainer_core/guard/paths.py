"""The paths of a request, looked at once more by the worker that will open them."""

import os
from collections.abc import Iterator

from schemas.assignment import Assignment
from schemas.checkpointing import LATEST
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.failure import Failure


def require_unmoved(assignment: Assignment) -> None:
    """Raises Failure unless every path of the request still means what it meant when the request was taken.

    The gate has followed all links, and taken what lies in the workspace; a path that is a link by now leads elsewhere.
    """
    for pointer, name in _paths(assignment.request):
        leads_to = os.path.realpath(name)
        if leads_to != os.path.normpath(name):
            message = f"{name} has become a link since the request was taken: it leads to {leads_to}."
            place = Place(path=name, pointer=pointer)
            move = "Name the file that is meant; a link is followed when the request is taken, and not again."
            raise Failure("input_invalid", message, place=place, next_move=move)


def _paths(request: TrainingRequest) -> Iterator[tuple[str, str]]:
    data, checkpoints = request.data_config, request.checkpoint_config
    yield "/dataConfig/trainPath", data.train_path
    if data.val_path is not None:
        yield "/dataConfig/valPath", data.val_path
    if checkpoints.save_dir is not None:
        yield "/checkpointConfig/saveDir", checkpoints.save_dir
    if checkpoints.resume_from is not None and checkpoints.resume_from != LATEST:
        yield "/checkpointConfig/resumeFrom", checkpoints.resume_from
    if (weights := request.model_settings.pretrained) is not None:
        yield "/modelConfig/weights", weights.path
