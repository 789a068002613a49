"""Names and combinations that the schema cannot judge: optimizer, schedule, loss, and options that exclude each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from app.gate.arguments import ELSEWHERE, LOSS_ARGUMENTS, OPTIMIZER_ARGUMENTS, OWNED, SCHEDULE_ARGUMENTS
from app.gate.mending import NOTHING, mend
from app.gate.patches import Path, add, has, look, remove, replace
from app.gate.request_errors import named, said, wrong
from app.gate.request_schema import Schema, describe, is_valid
from app.gate.spellings import closest
from schemas.losses import LOSSES, LossEntry, Task, find_loss
from schemas.optimizers import OPTIMIZERS, find_optimizer
from schemas.problems import RequestError
from schemas.schedules import SCHEDULES, find_schedule
from schemas.training import TrainingConfig

Document = dict[str, Any]
Errors = Iterator[RequestError]

_TRAINING = ("trainingConfig",)
_DEFAULT_LOSS: dict[Task, str] = {"classification": "cross_entropy", "binary": "bce", "regression": "mse"}
_REFUSED_OPTIMIZERS = {
    "lbfgs": "LBFGS wants the loss evaluated several times a step, which this loop does not do",
    "sparseadam": "SparseAdam wants sparse gradients",
}


def choice_errors(document: Document) -> list[RequestError]:
    """Everything wrong with the names and combinations of ``document``; places of a wrong type are passed over."""
    checks = (_optimizer, _scheduler, _warmup, _loss, _smoothing, _precision, _strategy, _features)
    return [error for check in checks for error in check(document)]


def canonical_names(document: Document) -> Document:
    """``document`` with optimizer, schedule and loss spelt as their tables spell them."""
    training = dict(document["trainingConfig"])
    for key, find in (("optimizer", find_optimizer), ("scheduler", find_schedule), ("loss", find_loss)):
        entry = find(training[key]) if key in training else None
        if entry is not None:
            training[key] = entry.name
    return {**document, "trainingConfig": training}


def _text(document: Document, key: str, default: str | None) -> str | None:
    value = look(document, (*_TRAINING, key), default)
    return value if isinstance(value, str) else default


def _default(name: str) -> Any:
    return TrainingConfig.model_fields[name].default


def _unknown_name(document: Document, key: str, names: Sequence[str], why: str = "") -> RequestError:
    path = (*_TRAINING, key)
    value = look(document, path)
    near = closest(value, names, cutoff=0.5)
    message = f"{named(path)} is {said(value)}; expected one of {', '.join(names)}.{why and f' {why}.'}"
    fix = [replace(path, near)] if near else [remove(path)]
    return wrong(path, "not_allowed", message, got=value, allowed=list(names), suggestion=near, fix=fix)


def _optimizer(document: Document) -> Errors:
    name = _text(document, "optimizer", _default("optimizer"))
    entry = find_optimizer(name or "")
    if name is None or entry is None:
        why = _REFUSED_OPTIMIZERS.get(str(name).lower(), "")
        yield _unknown_name(document, "optimizer", [entry.name for entry in OPTIMIZERS], why)
        return
    yield from _arguments(document, "optimizerArgs", entry.name, entry.arguments, OPTIMIZER_ARGUMENTS)
    arguments = look(document, (*_TRAINING, "optimizerArgs"), {})
    if entry.name == "SGD" and isinstance(arguments, dict) and arguments.get("nesterov") is True:
        place = (*_TRAINING, "optimizerArgs", "momentum")
        if not look(document, place):
            message = "SGD with nesterov wants a momentum above 0 in trainingConfig.optimizerArgs."
            yield wrong(place, "required", message, got=look(document, place), suggestion="0.9", fix=[add(place, 0.9)])


def _scheduler(document: Document) -> Errors:
    entry = find_schedule(_text(document, "scheduler", _default("scheduler")) or "")
    if entry is None:
        yield _unknown_name(document, "scheduler", [entry.name for entry in SCHEDULES])
        return
    yield from _arguments(document, "schedulerArgs", entry.name, entry.arguments, SCHEDULE_ARGUMENTS)
    arguments = look(document, (*_TRAINING, "schedulerArgs"), {})
    for name in entry.required:
        if not isinstance(arguments, dict) or name in arguments:
            continue
        path: Path = (*_TRAINING, "schedulerArgs", name)
        value = _proposed(name, look(document, (*_TRAINING, "epochs")))
        parents = [] if has(document, path[:-1]) else [add(path[:-1], {})]
        message = (
            f"{entry.name} wants {name} in trainingConfig.schedulerArgs, counted in epochs; {said(value)} would do."
        )
        expected = describe(SCHEDULE_ARGUMENTS[name])
        yield wrong(path, "required", message, expected=expected, suggestion=value, fix=[*parents, add(path, value)])


def _proposed(argument: str, epochs: Any) -> Any:
    """A usual value of a schedule's required argument for a run of ``epochs``."""
    length = epochs if isinstance(epochs, int) and epochs > 0 else _default("epochs")
    if argument == "milestones":
        return sorted({max(1, length // 2), max(1, length * 3 // 4)})
    return 0.95 if argument == "gamma" else max(1, length // 3)


def _arguments(document: Document, key: str, owner: str, known: Sequence[str], types: Mapping[str, Schema]) -> Errors:
    """Errors in the free-form arguments under ``key``: unknown names, values of a wrong type."""
    arguments = look(document, (*_TRAINING, key), {})
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        path: Path = (*_TRAINING, key, name)
        if name not in known:
            yield _unknown_argument(document, path, owner, known, value)
        elif not is_valid(value, types.get(name, {})):
            schema = types[name]
            mended = mend(name, value, schema)
            message = f"{named(path)} is {said(value)}; expected {describe(schema)}."
            fix = [remove(path)] if mended is NOTHING else [replace(path, mended)]
            yield wrong(
                path,
                "wrong_argument",
                message,
                got=value,
                expected=describe(schema),
                suggestion=None if mended is NOTHING else mended,
                fix=fix,
            )


def _unknown_argument(document: Document, path: Path, owner: str, known: Sequence[str], value: Any) -> RequestError:
    name = str(path[-1])
    home = ELSEWHERE.get(name)
    near = closest(name, [other for other in known if not has(document, (*path[:-1], other))])
    fix, suggestion = [remove(path)], None
    if home is not None:
        message = f"{named(path)} is said by {named(home)}."
        suggestion = named(home)
        fix += [] if has(document, home) else [add(home, value)]
    elif name in OWNED:
        message = f"{named(path)} is not for a request to say: {OWNED[name]}."
    else:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        message = f"{owner} has no argument {said(name)}; {takes}."
        suggestion = near
        fix += [add((*path[:-1], near), value)] if near else []
    return wrong(path, "unknown_argument", message, got=value, allowed=list(known), suggestion=suggestion, fix=fix)


def _warmup(document: Document) -> Errors:
    if has(document, (*_TRAINING, "warmupSteps")) and has(document, (*_TRAINING, "warmupRatio")):
        path = (*_TRAINING, "warmupRatio")
        message = "trainingConfig.warmupRatio stands beside trainingConfig.warmupSteps; keep one of them."
        yield wrong(path, "conflict", message, got=look(document, path), fix=[remove(path)])


def _task(document: Document) -> Task | None:
    task = look(document, (*_TRAINING, "task"))
    return task if task in get_args(Task) else None


def _loss(document: Document) -> Errors:
    name, task = _text(document, "loss", None), _task(document)
    entry = find_loss(name) if name is not None else None
    if name is not None and entry is None:
        yield _unknown_name(document, "loss", [entry.name for entry in LOSSES])
        return
    if entry is not None and task is not None and task not in entry.tasks:
        path = (*_TRAINING, "loss")
        fits = [loss.name for loss in LOSSES if task in loss.tasks]
        message = f"{named(path)} {entry.name} is for {' and '.join(entry.tasks)}, but task is {task}; use one of {', '.join(fits)}."
        default = _DEFAULT_LOSS[task]
        yield wrong(path, "conflict", message, got=name, allowed=fits, suggestion=default, fix=[replace(path, default)])
        return
    entry = entry or (find_loss(_DEFAULT_LOSS[task]) if task else None)
    yield from _loss_arguments(document, entry)


def _loss_arguments(document: Document, entry: LossEntry | None) -> Errors:
    """Against the loss in force; against all losses while the worker is still to choose one."""
    known = entry.arguments if entry else tuple(dict.fromkeys(name for loss in LOSSES for name in loss.arguments))
    yield from _arguments(document, "lossArgs", entry.name if entry else "Any loss", known, LOSS_ARGUMENTS)


def _smoothing(document: Document) -> Errors:
    path = (*_TRAINING, "labelSmoothing")
    name, task, smoothing = _text(document, "loss", None), _task(document), look(document, path)
    entry = find_loss(name if name is not None else _DEFAULT_LOSS[task] if task else "cross_entropy")
    if entry is None or entry.name == "cross_entropy" or not isinstance(smoothing, int | float) or smoothing <= 0:
        return
    message = (
        f"trainingConfig.labelSmoothing is {smoothing:g}, but only cross_entropy has it; the loss is {entry.name}."
    )
    yield wrong(path, "conflict", message, got=smoothing, fix=[remove(path)])


def _precision(document: Document) -> Errors:
    path = (*_TRAINING, "mixedPrecision")
    if look(document, path) is True and look(document, (*_TRAINING, "precision")) == "fp32":
        message = 'trainingConfig.mixedPrecision is true beside precision "fp32"; say one or the other.'
        yield wrong(path, "conflict", message, got=True, suggestion="false", fix=[replace(path, False)])


def _strategy(document: Document) -> Errors:
    path = (*_TRAINING, "strategy")
    devices = look(document, (*_TRAINING, "devices"), 1)
    if look(document, path) == "single" and isinstance(devices, int) and devices > 1:
        message = f"trainingConfig.strategy single uses one device, but devices is {devices}."
        allowed = ["auto", "ddp"]
        yield wrong(
            path, "conflict", message, got="single", allowed=allowed, suggestion="auto", fix=[replace(path, "auto")]
        )


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
