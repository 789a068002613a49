"""Values at and beyond the bounds of a kind, and values of other types: what the tests of the tables are fed with."""

import math
from collections.abc import Iterator
from typing import Any

from schemas.kinds import Choice, Either, Kind, Number, Row, Several

ANYTHING: tuple[Any, ...] = ("abc", "0.5", True, False, 0, 1, -1, 2, 7, 0.5, 2.5, 10.0, [], [1], [2, 3], {}, {"a": 1})


def values_around(kind: Kind) -> Iterator[Any]:
    """Values that ``kind`` takes and values that it does not, those of other types included; none is null."""
    yield from ANYTHING
    yield from _own(kind)


def _own(kind: Kind) -> Iterator[Any]:
    if isinstance(kind, Number):
        for bound in (kind.minimum, kind.maximum, kind.above, kind.below):
            if bound is not None:
                yield from (
                    bound,
                    bound - 1,
                    bound + 1,
                    math.nextafter(bound, -math.inf),
                    math.nextafter(bound, math.inf),
                )
    elif isinstance(kind, Choice):
        yield from (*kind.options, kind.options[0].upper())
    elif isinstance(kind, Several):
        yield from ([value] for value in _own(kind.kind))
        yield [1, 2, "3"]
    elif isinstance(kind, Either):
        for option in kind.kinds:
            yield from _own(option)
    elif isinstance(kind, Row):
        usual = [usual_value(item) for item in kind.kinds]
        yield from (usual, usual[:-1], [*usual, usual[0]])
        for index, item in enumerate(kind.kinds):
            yield from ([*usual[:index], value, *usual[index + 1 :]] for value in (*_own(item), None, "abc"))


def usual_value(kind: Kind) -> Any:
    """A value that ``kind`` takes."""
    for value in (*ANYTHING, *_own(kind)):
        try:
            kind.read(value)
        except ValueError:
            continue
        return value
    raise AssertionError(f"no value for {kind}")
