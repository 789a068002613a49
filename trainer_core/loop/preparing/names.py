"""Patterns over the names of parameters and modules, and what to say of one that fits nothing."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure

_MOST = 5


def fits(pattern: str, name: str) -> bool:
    """Whether ``pattern`` (``*``, ``?``, ``[...]``; a star spans dots) is of ``name``, or of a module that it is below."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def matching(pattern: str, names: Iterable[str], pointer: str, kind: str) -> list[str]:
    """Those of ``names`` that ``pattern`` fits. Raises Failure ``input_invalid`` at ``pointer``, with near names, when it
    fits none; ``kind`` says what they are the names of."""
    names = list(names)
    found = [name for name in names if fits(pattern, name)]
    if found:
        return found
    near = nearest(pattern, names)
    first = near or names[:_MOST]
    there = f"{'Near it' if near else 'There are'}: {', '.join(first)}" if first else "There is none"
    raise Failure(
        "input_invalid",
        f"The pattern {pattern!r} fits no {kind} of the model. {there}.",
        next_move="Name a parameter or a module of the model; model_summary.txt of an earlier run lists them.",
        place=Place(pointer=pointer),
        fix=[PatchOperation(op="replace", path=pointer, value=near[0])] if near else None,
    )


def nearest(pattern: str, names: Iterable[str]) -> list[str]:
    """Names, and modules on the way to them, that ``pattern`` may mean; the nearest first."""
    candidates = dict.fromkeys(
        ".".join(steps[:length]) for steps in (name.split(".") for name in names) for length in range(len(steps), 0, -1)
    )
    return get_close_matches(pattern.removesuffix(".*").strip("*."), candidates, n=_MOST, cutoff=0.5)
