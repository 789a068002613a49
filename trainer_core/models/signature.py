"""Arguments of a callable of the user's file, checked against its signature before it is called."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from schemas.model import ModelConfig
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure

POINTER = "/modelConfig/args"

# Arguments, by their usual names, that the data could fill in. Asked for only where one is missing.
Known = Callable[[], dict[str, int]]


def nothing_known() -> dict[str, int]:
    """No data have been read yet."""
    return {}


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(
    name: str, target: Callable[..., object], config: ModelConfig, place: Place, known: Known = nothing_known
) -> None:
    """Raise ``model_invalid`` unless ``target(**config.args)`` fits the signature of ``target``.

    The message names every unknown and every missing argument and the whole signature; the fix, where one is
    certain, is a JSON Patch of the request: names that were misspelt, and what is missing as the data say it.
    """
    args = config.args
    try:
        signature = inspect.signature(target)
    except ValueError:  # some callables written in C have none
        return
    named = {key: item for key, item in signature.parameters.items() if item.kind in _BY_NAME}
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.parameters.values())
    unknown = [] if takes_any else [key for key in args if key not in named]
    missing = [key for key, item in named.items() if item.default is item.empty and key not in args]
    if not unknown and not missing:
        return
    free = [key for key in named if key not in args]
    meant = {key: next(iter(get_close_matches(key, free, n=1, cutoff=0.5)), None) for key in unknown}
    still_missing = set(missing) - set(meant.values())
    of_data = {key: value for key, value in known().items() if key in still_missing} if still_missing else {}
    said = "".join(f" By the data {key} is {value}." for key, value in of_data.items())
    fix = _patch(meant, args)
    if of_data:
        fix = [_whole(config, meant, of_data)]
    raise Failure(
        "model_invalid",
        f"{name} does not fit modelConfig.args: {_complaint(meant, missing)}. It is defined as {name}{signature}.{said}",
        next_move="Give modelConfig.args the names of the signature in the message.",
        place=place.model_copy(update={"pointer": POINTER}),
        fix=None if still_missing - of_data.keys() else fix,
    )


def _complaint(meant: dict[str, str | None], missing: list[str]) -> str:
    unknown = [
        f"unknown argument {key!r}" + (f" (did you mean {near!r}?)" if near else "") for key, near in meant.items()
    ]
    return ", ".join([*unknown, *(f"missing argument {key!r}" for key in missing)])


def _patch(meant: dict[str, str | None], args: dict[str, Any]) -> list[PatchOperation]:
    operations = []
    for key, near in meant.items():
        operations.append(PatchOperation(op="remove", path=f"{POINTER}/{_escape(key)}"))
        if near:
            operations.append(PatchOperation(op="add", path=f"{POINTER}/{_escape(near)}", value=args[key]))
    return operations


def _whole(config: ModelConfig, meant: dict[str, str | None], further: dict[str, int]) -> PatchOperation:
    """All of modelConfig, which the request may lack, with the arguments renamed and ``further`` ones."""
    names = {key: meant.get(key, key) for key in config.args}
    args = {name: config.args[key] for key, name in names.items() if name} | further
    return PatchOperation(op="add", path="/modelConfig", value=config.model_copy(update={"args": args}).given())


def _escape(key: str) -> str:
    """``key`` as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
