"""Names and combinations that the schema cannot judge: optimizer, schedule, loss, and options that exclude each other.

A name that does not exist does not hide what is wrong with its arguments: they are judged by the entry that the fix leads to.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar, get_args

from app.gate.arguments import TRAINING, Document, Errors, argument_errors, value_errors
from app.gate.entry_names import hint, meant
from app.gate.finder_choices import finder_errors
from app.gate.group_choices import group_errors
from app.gate.node_choices import node_errors
from app.gate.patches import Path, apply, has, look, remove, replace
from app.gate.request_errors import MAX_ERRORS, named, said, wrong
from app.gate.strategy_choices import strategy_errors
from schemas.arguments import Entry, given_of
from schemas.losses import LOSSES, LossEntry, Task, default_loss, find_loss
from schemas.optimizers import OPTIMIZERS, find_optimizer
from schemas.problems import RequestError
from schemas.schedules import SCHEDULES, find_schedule
from schemas.training import TrainingConfig

AnyEntry = TypeVar("AnyEntry", bound=Entry)


def choice_errors(document: Document) -> list[RequestError]:
    """Everything wrong with the names and combinations of ``document``, ``MAX_ERRORS`` of each kind at most; places of a wrong
    type are passed over."""
    combinations = _combination_errors(document)
    errors = [error for check in (_optimizer, _schedule, _loss) for error in islice(check(document), MAX_ERRORS)]
    return [*(_sound(document, error, len(combinations)) for error in errors), *combinations]


def _combination_errors(document: Document) -> list[RequestError]:
    checks = (
        _weight_decay,
        _two_warmups,
        _smoothing,
        _precision,
        strategy_errors,
        node_errors,
        _features,
        group_errors,
        finder_errors,
    )
    return [error for check in checks for error in check(document)]


def _sound(document: Document, error: RequestError, conflicts: int) -> RequestError:
    """``error`` with a fix that only takes the argument out, where bringing it to its place would make a conflict there."""
    if error.code == "unknown_argument" and error.fix and len(error.fix) > 1:
        moved = apply(document, error.fix)
        if len(_combination_errors(moved)) > conflicts:
            return error.model_copy(update={"fix": error.fix[:1]})
    return error


def own_loss_errors(document: Document) -> list[RequestError]:
    """What a request whose loss is the model file's own cannot ask for: that one takes no settings."""
    if has(document, (*TRAINING, "loss")):
        return []
    found = []
    for key in ("lossArgs", "labelSmoothing"):
        path = (*TRAINING, key)
        value = look(document, path)
        asked = given_of(value) if isinstance(value, dict) else _number(document, key) > 0
        if asked:
            message = (
                f"{named(path)} is {said(value)}, but the loss is the model file's own; set it there, or name a loss."
            )
            found.append(wrong(path, "conflict", message, got=value, fix=[remove(path)]))
    return found


def canonical_names(document: Document) -> Document:
    """``document`` with optimizer, schedule and loss spelt as their tables spell them."""
    training = dict(document["trainingConfig"])
    for key, find in (("optimizer", find_optimizer), ("scheduler", find_schedule), ("loss", find_loss)):
        entry = find(training[key]) if key in training else None
        if entry is not None:
            training[key] = entry.name
    return {**document, "trainingConfig": training}


def _number(document: Document, key: str) -> float:
    """The number at ``key``; 0 where there is none."""
    value = look(document, (*TRAINING, key))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _named_entry(
    document: Document, key: str, entries: Sequence[AnyEntry], find: Callable[[str], AnyEntry | None]
) -> tuple[AnyEntry | None, list[RequestError]]:
    """The entry that the request names at ``key`` or else means by leaving it out; and the error of a name that is none,
    with the entry that its fix leads to."""
    default = TrainingConfig.model_fields[key].default
    usual = None if default is None else find(default)
    path = (*TRAINING, key)
    name = look(document, path)
    if not isinstance(name, str):
        return usual, []
    entry = find(name)
    if entry is not None:
        return entry, []
    names = [entry.name for entry in entries]
    near = meant(name, names, find)
    further = "" if near else hint(key, name, default)
    message = f"{named(path)} is {said(name)}; expected one of {', '.join(names)}.{further}"
    fix = [replace(path, near)] if near else [remove(path)]
    error = wrong(path, "not_allowed", message, got=name, allowed=list(names), suggestion=near, fix=fix)
    return (find(near) if near else usual), [error]


def _optimizer(document: Document) -> Errors:
    entry, errors = _named_entry(document, "optimizer", OPTIMIZERS, find_optimizer)
    yield from errors
    if entry is not None:
        yield from argument_errors(document, "optimizerArgs", entry)


def _weight_decay(document: Document) -> Errors:
    entry, _ = _named_entry(document, "optimizer", OPTIMIZERS, find_optimizer)
    value = _number(document, "weightDecay")
    if entry is not None and value > 0 and not entry.takes_weight_decay:
        path = (*TRAINING, "weightDecay")
        message = f"{named(path)} is {said(value)}, but {entry.name} has no weight decay."
        yield wrong(path, "conflict", message, got=value, fix=[remove(path)])


def _schedule(document: Document) -> Errors:
    entry, errors = _named_entry(document, "scheduler", SCHEDULES, find_schedule)
    yield from errors
    if entry is not None:
        yield from argument_errors(document, "schedulerArgs", entry)


def _two_warmups(document: Document) -> Errors:
    if has(document, (*TRAINING, "warmupSteps")) and has(document, (*TRAINING, "warmupRatio")):
        path = (*TRAINING, "warmupRatio")
        message = "trainingConfig.warmupRatio stands beside trainingConfig.warmupSteps; keep one of them."
        yield wrong(path, "conflict", message, got=look(document, path), fix=[remove(path)])


def _loss(document: Document) -> Errors:
    """Against the loss in force; against all losses while the worker is still to choose one."""
    entry, errors = _loss_in_force(document)
    yield from errors
    if entry is None:
        known = [item for loss in LOSSES for item in loss.arguments]
        yield from value_errors(document, "lossArgs", "Any loss", known, 1)
    else:
        yield from argument_errors(document, "lossArgs", entry)


def _loss_in_force(document: Document) -> tuple[LossEntry | None, list[RequestError]]:
    """The loss that the request means, as far as it says which, and what is wrong with its name."""
    given = look(document, (*TRAINING, "task"))
    task: Task | None = given if given in get_args(Task) else None
    if task is None:
        return _named_entry(document, "loss", LOSSES, find_loss)
    entry, errors = _named_entry(document, "loss", [loss for loss in LOSSES if task in loss.tasks], find_loss)
    if entry is not None and task not in entry.tasks:
        return default_loss(task), [_of_another_task(document, entry, task)]
    return entry or default_loss(task), errors


def _of_another_task(document: Document, entry: LossEntry, task: Task) -> RequestError:
    path: Path = (*TRAINING, "loss")
    fits = [loss.name for loss in LOSSES if task in loss.tasks]
    message = (
        f"{named(path)} {entry.name} is for {' and '.join(entry.tasks)}, but task is {task}; use one of "
        f"{', '.join(fits)}."
    )
    usual = default_loss(task).name
    return wrong(
        path,
        "conflict",
        message,
        got=look(document, path),
        allowed=list(fits),
        suggestion=usual,
        fix=[replace(path, usual)],
    )


def _smoothing(document: Document) -> Errors:
    entry, _ = _loss_in_force(document)
    smoothing = _number(document, "labelSmoothing")
    if entry is not None and smoothing > 0 and not entry.label_smoothing:
        path = (*TRAINING, "labelSmoothing")
        able = " and ".join(loss.name for loss in LOSSES if loss.label_smoothing)
        message = f"{named(path)} is {said(smoothing)}, but only {able} has it; the loss is {entry.name}."
        yield wrong(path, "conflict", message, got=smoothing, fix=[remove(path)])


def _precision(document: Document) -> Errors:
    path = (*TRAINING, "mixedPrecision")
    if look(document, path) is True and look(document, (*TRAINING, "precision")) == "fp32":
        message = 'trainingConfig.mixedPrecision is true beside precision "fp32"; say one or the other.'
        yield wrong(path, "conflict", message, got=True, suggestion="false", fix=[replace(path, False)])


def _features(document: Document) -> Errors:
    path = ("dataConfig", "features")
    features, target = look(document, path), look(document, ("dataConfig", "target"))
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        return
    kept = [name for name in dict.fromkeys(features) if name != target]
    if isinstance(target, str) and target in features:
        message = f"dataConfig.features holds the target {said(target)}: the model would be told the answer."
    elif len(kept) < len(features):
        message = "dataConfig.features names a column twice."
    else:
        return
    yield wrong(path, "conflict", message, got=features, fix=[replace(path, kept)] if kept else [remove(path)])
