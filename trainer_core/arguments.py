"""Free-form arguments of the request, read one by one; what is wrong is said with its place."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from schemas.result import Place
from trainer_core.failure import Failure


def invalid(pointer: str, message: str, *, next_move: str | None = None, detail: str | None = None) -> Failure:
    """The failure of one property of the request, by its JSON pointer."""
    return Failure("input_invalid", message, place=Place(pointer=pointer), next_move=next_move, detail=detail)


class Arguments:
    """The arguments ``given`` at ``pointer``. Every reader raises Failure ``input_invalid`` with the pointer."""

    def __init__(self, owner: str, given: Mapping[str, Any], allowed: Iterable[str], pointer: str) -> None:
        self._owner = owner
        self._given = given
        self._pointer = pointer
        names = sorted(allowed)
        for name in given:
            if name not in names:
                raise self._unknown(name, names)

    def _unknown(self, name: str, names: list[str]) -> Failure:
        takes = f"it takes {', '.join(names)}" if names else "it takes none"
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        return invalid(f"{self._pointer}/{name}", f"{self._owner} has no argument {name!r}: {takes}{hint}")

    def wrong(self, name: str, expected: str) -> Failure:
        """The failure that says what ``name`` should be, and what it is."""
        value = self._given.get(name)
        return invalid(f"{self._pointer}/{name}", f"{self._owner}: {name} must be {expected}, not {value!r}.")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def number(
        self,
        name: str,
        default: float,
        *,
        minimum: float = -math.inf,
        above: float = -math.inf,
        maximum: float = math.inf,
    ) -> float:
        """A finite number, at least ``minimum``, more than ``above``, at most ``maximum``."""
        value = self._given.get(name, default)
        if not _is_number(value) or not (value >= minimum and value > above and value <= maximum):
            raise self.wrong(name, f"a number{_range(minimum, above, maximum)}")
        return float(value)

    def whole(self, name: str, default: int = 0, *, minimum: int = 0) -> int:
        """A whole number, at least ``minimum``; 10.0 counts as 10."""
        value = self._given.get(name, default)
        if not _is_number(value) or value != int(value) or not minimum <= value < 2**63:
            raise self.wrong(name, f"a whole number, at least {minimum}")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def choice(self, name: str, default: str, options: tuple[str, ...]) -> str:
        """One of ``options``."""
        value = self._given.get(name, default)
        if value not in options:
            raise self.wrong(name, f"one of {', '.join(options)}")
        return str(value)

    def numbers(self, name: str, *, minimum: float = -math.inf) -> list[float]:
        """A list of at least one finite number, each at least ``minimum``."""
        value = self._given.get(name)
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(_is_number(item) and item >= minimum for item in value)
        ):
            raise self.wrong(name, f"a list of numbers{_range(minimum, -math.inf, math.inf)}")
        return [float(item) for item in value]

    def get(self, name: str) -> Any:
        """The value as it was given, or None."""
        return self._given.get(name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _range(minimum: float, above: float, maximum: float) -> str:
    parts = []
    if minimum > -math.inf:
        parts.append(f"at least {minimum:g}")
    if above > -math.inf:
        parts.append(f"more than {above:g}")
    if maximum < math.inf:
        parts.append(f"at most {maximum:g}")
    return f", {' and '.join(parts)}" if parts else ""
