"""What a request says of a model that the model file's own text, or every model, denies. The file is not run: what its text
leaves open passes."""

from collections.abc import Iterator
from typing import Any

from app.gate.model_names import Names
from app.gate.patches import Path, add, look, remove, replace
from app.gate.request_errors import named, said, wrong
from app.gate.spellings import closest
from schemas.problems import RequestError

_MODEL: Path = ("modelConfig",)
_CLASS: Path = (*_MODEL, "className")
_ARGS: Path = (*_MODEL, "args")
_FREEZE: Path = (*_MODEL, "freeze")
_FORMAT: Path = ("dataConfig", "format")


def model_errors(document: dict[str, Any], names: Names) -> Iterator[RequestError]:
    """A class that the file does not have, arguments that what builds the model does not take, and a data set that it
    does not build."""
    yield from _class_name(document, names)
    yield from _arguments(document, names)
    if look(document, _FORMAT) == "modelFile" and names.lacks("build_dataset"):
        message = f"{named(_FORMAT)} is modelFile, but the model file defines no build_dataset(path, split)."
        yield wrong(_FORMAT, "conflict", message, got="modelFile", fix=[remove(_FORMAT)])


def freeze_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """A pattern that fits the parameters of any model: nothing would be left to train."""
    patterns = look(document, _FREEZE)
    places = [index for index, each in enumerate(patterns if isinstance(patterns, list) else []) if _fits_all(each)]
    for index in places[:1]:
        path = (*_FREEZE, index)
        of_all = len(places) == len(patterns)
        without = "left out, all are trained" if of_all else "without it the other patterns hold"
        message = f"{named(path)} is {said(patterns[index])}, which fits every parameter: none is left to train. Name those that stand still (backbone.*); {without}."
        fix = [remove(_FREEZE)] if of_all else [remove((*_FREEZE, place)) for place in reversed(places)]
        yield wrong(path, "conflict", message, got=patterns[index], fix=fix)


def _fits_all(pattern: Any) -> bool:
    """Whether it is a star, or stars and one character that may be any: no name is empty."""
    return isinstance(pattern, str) and "*" in pattern and pattern.replace("*", "") in ("", "?")


def _class_name(document: dict[str, Any], names: Names) -> Iterator[RequestError]:
    """What ``build_model`` builds may be of a class that the file does not name."""
    name = look(document, _CLASS)
    if not isinstance(name, str) or not name.isidentifier() or not names.lacks(name) or not names.lacks("build_model"):
        return
    near = closest(name, names.classes)
    there = f"it defines {', '.join(names.classes)}" if names.classes else "it defines none"
    message = f"{named(_CLASS)} is {said(name)}, and the model file has no class of that name; {there}."
    fix = [replace(_CLASS, near)] if near else [remove(_CLASS)]
    yield wrong(_CLASS, "not_allowed", message, got=name, allowed=list(names.classes), suggestion=near, fix=fix)


def _arguments(document: dict[str, Any], names: Names) -> Iterator[RequestError]:
    given, maker = look(document, _ARGS), _maker(document, names)
    taken = names.takes.get(maker) if maker is not None else None
    if not isinstance(given, dict) or taken is None:
        return
    free = [name for name in taken if name not in given]
    for name, value in given.items():
        if name in taken:
            continue
        path = (*_ARGS, name)
        near = closest(name, free, cutoff=0.6)
        takes = f"it takes {', '.join(taken)}" if taken else "it takes none"
        fix = [remove(path), *([add((*_ARGS, near), value)] if near else [])]
        free = [other for other in free if other != near]
        message = f"{maker} of the model file has no argument {said(name)}; {takes}."
        yield wrong(path, "unknown_argument", message, got=value, allowed=list(taken), suggestion=near, fix=fix)


def _maker(document: dict[str, Any], names: Names) -> str | None:
    """What is called to build the model; None where that is not certain."""
    if names.open:
        return None
    if "build_model" in names.bound:
        return "build_model"
    name = look(document, _CLASS)
    if isinstance(name, str):
        return name
    return names.classes[0] if len(names.classes) == 1 and "model" not in names.bound else None
