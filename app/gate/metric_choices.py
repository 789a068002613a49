"""Metrics and figures to watch that do not fit the task, as far as the request says which it is, and figures that no run has.
How metrics are spelt is the schema's to judge."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from app.gate.patches import Path, look, remove, replace
from app.gate.request_errors import named, said, wrong
from app.gate.spellings import closest, value_of
from schemas.data import DataFormat
from schemas.engines import EngineName
from schemas.losses import Task, find_loss
from schemas.metrics import METRICS, MONITOR_PATTERN, better_direction, figures_of, tasks_of_figure
from schemas.problems import RequestError

_METRICS: Path = ("trainingConfig", "metrics")
_MONITORS: tuple[Path, ...] = (("trainingConfig", "earlyStopping", "monitor"), ("checkpointConfig", "monitor"))
_TASKS: dict[str, tuple[Task, ...]] = {entry.name: entry.tasks for entry in METRICS}


@dataclass(frozen=True)
class Possible:
    """The tasks that a run may be of, and ``why`` it is none of the others, as the end of a sentence."""

    tasks: tuple[Task, ...] = get_args(Task)
    why: str = ""

    def with_others(self, tasks: Sequence[Task], why: str) -> "Possible":
        """What is left when it is one of ``tasks`` besides; itself when nothing would be."""
        left = tuple(task for task in self.tasks if task in tasks)
        return self if left in ((), self.tasks) else Possible(left, why)


def with_known_task(document: dict[str, Any], format: DataFormat | None) -> dict[str, Any]:
    """``document`` with the task in it where it says none and class folders do: two or more of them are classes."""
    training = document.get("trainingConfig")
    if format != "imageFolder" or not isinstance(training, dict) or "task" in training:
        return document
    return {**document, "trainingConfig": {**training, "task": "classification"}}


def figure_errors(document: dict[str, Any], engine: EngineName | None, own_figures: bool) -> Iterator[RequestError]:
    """The first metric and each monitor that no run can have; ``own_figures``: the model file may compute more, of any name,
    on the validation samples. The engine sklearn looks at no ``loss``."""
    possible = _by_task_and_loss(document, engine)
    misfits = list(_misfits(document, possible))
    yield from misfits
    if not misfits:
        for name in _names(document):
            possible = possible.with_others(_TASKS[name], f"{name} is a metric of {' and '.join(_TASKS[name])}")
    for path in _MONITORS:
        figure = _figure(document, path)
        if figure is not None:
            errors = list(_unwatchable(path, figure, possible, own_figures))
            yield from errors
            tasks = tasks_of_figure(figure)
            if not errors and not own_figures:
                possible = possible.with_others(tasks, f"{figure} is a figure of {' and '.join(tasks)}")


def _figure(document: dict[str, Any], path: Path) -> str | None:
    """The figure at ``path``; None where there is none, and for what the schema refuses already."""
    name = look(document, path)
    return name if isinstance(name, str) and re.fullmatch(MONITOR_PATTERN, name) else None


def _by_task_and_loss(document: dict[str, Any], engine: EngineName | None) -> Possible:
    possible = Possible()
    task, loss = (look(document, ("trainingConfig", key)) for key in ("task", "loss"))
    if task in possible.tasks:
        possible = Possible((task,), f"task is {task}")
    entry = find_loss(loss) if isinstance(loss, str) and engine != "sklearn" else None
    if entry is None:
        return possible
    return possible.with_others(entry.tasks, f"loss {entry.name} is for {' and '.join(entry.tasks)}")


def _names(document: dict[str, Any]) -> list[str]:
    names = look(document, _METRICS)
    return [name for name in names if isinstance(name, str) and name in _TASKS] if isinstance(names, list) else []


def _misfits(document: dict[str, Any], possible: Possible) -> Iterator[RequestError]:
    """The first metric of another task than those before it; its fix keeps those that fit."""
    kept: list[str] = []
    for name in _names(document):
        left = possible.with_others(_TASKS[name], f"{name} is a metric of {' and '.join(_TASKS[name])}")
        if set(_TASKS[name]).isdisjoint(possible.tasks):
            break
        possible, kept = left, [*kept, name]
    else:
        return
    names = look(document, _METRICS)
    path = (*_METRICS, names.index(name))
    fits = [other for other, tasks in _TASKS.items() if not set(tasks).isdisjoint(possible.tasks)]
    message = (
        f"{named(path)} {name} is for {' and '.join(_TASKS[name])}, but {possible.why}; use one of {', '.join(fits)}."
    )
    # One fix for the whole list: taking one out would move the others.
    others = [other for other in names if not (isinstance(other, str) and other in _TASKS and other not in fits)]
    yield wrong(path, "conflict", message, got=name, allowed=fits, fix=[replace(_METRICS, others)])


def _unwatchable(path: Path, figure: str, possible: Possible, own_figures: bool) -> Iterator[RequestError]:
    tasks = tasks_of_figure(figure)
    if not set(tasks).isdisjoint(possible.tasks) or (own_figures and figure.startswith("val")):
        return
    fits = figures_of(possible.tasks)
    # One that is spelt rightly is not meant to be another.
    near = None if tasks else _near(figure, fits)
    if tasks:
        why = f"which is a figure of {' and '.join(tasks)}, but {possible.why}"
    elif figure.startswith("train"):
        why = "and no run computes that; of training there are losses and usual figures alone"
    else:
        why = "and no run computes that, nor does the model file define metrics(outputs, targets)"
    message = f"{named(path)} is {said(figure)}, {why}; use one of {', '.join(fits)}."
    fix = [replace(path, near)] if near else [remove(path)]
    code = "conflict" if tasks else "not_allowed"
    yield wrong(path, code, message, got=figure, allowed=list(fits), suggestion=near, fix=fix)


def _near(figure: str, fits: list[str]) -> str | None:
    """The one among ``fits`` that ``figure`` is another name of, or near to among those of its split."""
    known = value_of("monitor", figure, ())
    split = "train" if figure.startswith("train") else "val"
    words = [name.removeprefix(split) for name in fits if name.startswith(split)]
    near = closest(figure.removeprefix(split), words, cutoff=0.5)
    return known if known in fits else near and split + near


def mode_errors(document: dict[str, Any], own_figures: bool) -> Iterator[RequestError]:
    """A mode that calls the worst epoch the best: max of a loss, min of an accuracy. A model file's own figures may go either
    way, and an optimizer that maximizes makes a loss rise."""
    if look(document, ("trainingConfig", "optimizerArgs", "maximize")) is True:
        return
    watched = "valLoss"
    for path in _MONITORS:
        watched = _figure(document, path) or watched
        mode_path = (*path[:-1], "mode")
        mode = look(document, mode_path)
        if mode not in ("min", "max") or not tasks_of_figure(watched) or mode == better_direction(watched):
            continue
        if own_figures and watched.startswith("val") and watched != "valLoss":
            continue
        right = better_direction(watched)
        message = (
            f"{named(mode_path)} is {mode}, but of {watched} {'less' if right == 'min' else 'more'} is better: the worst "
            f"epoch would be called the best."
        )
        yield wrong(mode_path, "conflict", message, got=mode, suggestion=right, fix=[replace(mode_path, right)])
