"""Formats that the data's paths deny: a folder is read by another reader than a file. And several targets, of which a run has
one. What is in a file is the worker's to judge."""

import os
from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, has, look, remove
from app.gate.request_errors import named, said, wrong
from schemas.data import DataFormat, format_of_file
from schemas.problems import RequestError

_TRAIN: Path = ("dataConfig", "trainPath")
_VALIDATION: Path = ("dataConfig", "valPath")
_FORMAT: Path = ("dataConfig", "format")
_TARGET: Path = ("dataConfig", "target")


def target_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """Several targets. Without a fix: with one of them, or none, in its place the others would be learnt from, and which columns
    are left the request does not say."""
    target = look(document, _TARGET)
    if not isinstance(target, list) or len(target) < 2 or not all(isinstance(name, str) for name in target):
        return
    message = (
        f"{named(_TARGET)} names {len(target)} targets; expected one. Train one request for each, with the columns to learn from "
        f"and no other target in dataConfig.features; or all at once: save them side by side as an array y of shape (rows, "
        f"{len(target)}) in an .npz file, with the features as x, and set trainingConfig.task."
    )
    yield wrong(_TARGET, "wrong_type", message, got=target, expected="text, not empty")


def data_errors(
    document: dict[str, Any], absolute: dict[str, Any], format: DataFormat | None
) -> Iterator[RequestError]:
    """Training and validation data that cannot both be of ``format``. ``absolute`` is ``document`` with its paths resolved."""
    train, validation = look(absolute, _TRAIN), look(absolute, _VALIDATION)
    there = isinstance(train, str) and (os.path.isfile(train) or os.path.isdir(train))
    if format is None or format == "modelFile" or not there:
        return
    if has(document, _FORMAT) and _is_other(train, format):
        what, wants = _nouns(train, format)
        message = f"{named(_FORMAT)} is {format}, which wants {wants}, and {named(_TRAIN)} {said(look(document, _TRAIN))} is {what}."
        yield wrong(_FORMAT, "conflict", message, got=format, fix=[remove(_FORMAT)])
    elif _is_other(validation, format):
        what, wants = _nouns(validation, format)
        message = f"{named(_VALIDATION)} {said(look(document, _VALIDATION))} is {what}, and the training data are {format}: {wants} was expected."
        yield wrong(_VALIDATION, "conflict", message, got=look(document, _VALIDATION), expected=wants)
    elif not has(document, _FORMAT) and isinstance(validation, str) and os.path.isfile(validation):
        other = format_of_file(os.path.basename(validation))
        if other not in (None, format):
            message = f"{named(_VALIDATION)} {said(look(document, _VALIDATION))} is {other} by its name, and the training data are {format}; both are read alike."
            yield wrong(_VALIDATION, "conflict", message, got=look(document, _VALIDATION), expected=f"{format} data")


def _is_other(path: Any, format: DataFormat) -> bool:
    """Whether there is a folder at ``path`` where ``format`` wants a file, or a file where it wants a folder."""
    return isinstance(path, str) and (os.path.isfile(path) if format == "imageFolder" else os.path.isdir(path))


def _nouns(path: str, format: DataFormat) -> tuple[str, str]:
    what = "a folder" if os.path.isdir(path) else "a file"
    return what, "a folder of class folders" if format == "imageFolder" else "a file"
