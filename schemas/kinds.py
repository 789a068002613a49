"""Kinds of values that an argument takes. The service judges a request by the very objects that the worker reads it
through, so that what one admits the other can use."""

import sys
from dataclasses import dataclass
from typing import Any, Protocol

JsonSchema = dict[str, Any]


class Unfit(ValueError):
    """A value that a kind does not take."""


class Kind(Protocol):
    """What values an argument takes. ``words`` complete the sentence "expected ...", ``schema`` is the same as JSON Schema."""

    @property
    def words(self) -> str: ...

    @property
    def schema(self) -> JsonSchema: ...

    def read(self, value: object) -> Any:
        """``value`` in the type that the worker computes with. Raises Unfit."""


def _said(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


@dataclass(frozen=True)
class Number:
    """A finite number within bounds: ``minimum`` and ``maximum`` belong to them, ``above`` and ``below`` do not."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def read(self, value: object) -> float:
        """``value`` as a float."""
        return float(self._within(value))

    def _within(self, value: object) -> float:
        largest = sys.float_info.max
        # Not math.isfinite: a whole number of more than 308 digits raises there.
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest
        if not is_number or not self._is_between(value):  # type: ignore[arg-type]
            raise Unfit
        return value  # type: ignore[return-value]

    def _is_between(self, value: float) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def words(self) -> str:
        """Such as: a number of 0 or more and less than 1."""
        return "a number" + self._bounds()

    def _bounds(self) -> str:
        words = [f"of {_said(self.minimum)} or more"] if self.minimum is not None else []
        words += [f"greater than {_said(self.above)}"] if self.above is not None else []
        words += [f"{'' if words else 'of '}at most {_said(self.maximum)}"] if self.maximum is not None else []
        words += [f"less than {_said(self.below)}"] if self.below is not None else []
        return f" {' and '.join(words)}" if words else ""

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        bounds = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number", **{key: bound for key, bound in bounds.items() if bound is not None}}


@dataclass(frozen=True)
class Whole(Number):
    """A whole number within bounds; 10.0 counts as 10."""

    def read(self, value: object) -> int:
        """``value`` as an int."""
        number = self._within(value)
        if number != int(number):
            raise Unfit
        return int(number)

    @property
    def words(self) -> str:
        """Such as: a whole number of 1 or more."""
        return "a whole number" + self._bounds()

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {**super().schema, "type": "integer"}


@dataclass(frozen=True)
class Switch:
    """true or false."""

    words = "true or false"

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {"type": "boolean"}

    def read(self, value: object) -> bool:
        """``value``."""
        if not isinstance(value, bool):
            raise Unfit
        return value


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    options: tuple[str, ...]

    @property
    def words(self) -> str:
        """Such as: one of min, max."""
        return f"one of {', '.join(self.options)}"

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {"type": "string", "enum": list(self.options)}

    def read(self, value: object) -> str:
        """``value``."""
        if not isinstance(value, str) or value not in self.options:
            raise Unfit
        return value


@dataclass(frozen=True)
class Nothing:
    """null, as an item of a list."""

    words = "null"

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {"type": "null"}

    def read(self, value: object) -> None:
        """None."""
        if value is not None:
            raise Unfit


@dataclass(frozen=True)
class Row:
    """A list with one item of each of ``kinds``, in order."""

    kinds: tuple[Kind, ...]

    @property
    def words(self) -> str:
        """Such as: a list of 2 items: a number greater than 1; a number."""
        if len(set(self.kinds)) == 1:
            return f"a list of {len(self.kinds)} items, each {self.kinds[0].words}"
        return f"a list of {len(self.kinds)} items: {'; '.join(kind.words for kind in self.kinds)}"

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        same = len(set(self.kinds)) == 1
        items = {"items": self.kinds[0].schema} if same else {"prefixItems": [kind.schema for kind in self.kinds]}
        return {"type": "array", **items, "minItems": len(self.kinds), "maxItems": len(self.kinds)}

    def read(self, value: object) -> tuple[Any, ...]:
        """The items, as a tuple."""
        if not isinstance(value, list | tuple) or len(value) != len(self.kinds):
            raise Unfit
        return tuple(kind.read(item) for kind, item in zip(self.kinds, value, strict=True))


@dataclass(frozen=True)
class Several:
    """A list of at least one item of ``kind``."""

    kind: Kind

    @property
    def words(self) -> str:
        """Such as: a list of at least one item, each a number."""
        return f"a list of at least one item, each {self.kind.words}"

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {"type": "array", "items": self.kind.schema, "minItems": 1}

    def read(self, value: object) -> list[Any]:
        """The items, as a list."""
        if not isinstance(value, list | tuple) or not value:
            raise Unfit
        return [self.kind.read(item) for item in value]


@dataclass(frozen=True)
class Either:
    """What any of ``kinds`` takes."""

    kinds: tuple[Kind, ...]

    @property
    def words(self) -> str:
        """Such as: a number, or null."""
        return ", or ".join(kind.words for kind in self.kinds)

    @property
    def schema(self) -> JsonSchema:
        """The same as JSON Schema."""
        return {"anyOf": [kind.schema for kind in self.kinds]}

    def read(self, value: object) -> Any:
        """``value`` as the first kind that takes it."""
        for kind in self.kinds:
            if accepts(kind, value):
                return kind.read(value)
        raise Unfit


def accepts(kind: Kind, value: object) -> bool:
    """Whether ``kind`` takes ``value``."""
    try:
        kind.read(value)
    except Unfit:
        return False
    return True
