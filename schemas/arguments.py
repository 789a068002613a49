"""Arguments of optimizers, schedules and losses as data, read alike by the service and by the worker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.kinds import Kind, accepts


@dataclass(frozen=True)
class Argument:
    """One argument: what it takes and what stands in where it is absent (None: nothing, or what its reader says).

    One with ``proposed`` is required; that gives a usual value for a run of so many epochs.
    """

    name: str
    kind: Kind
    default: Any = None
    proposed: Callable[[int], Any] | None = None

    @property
    def required(self) -> bool:
        """Whether a request must name it."""
        return self.proposed is not None


@dataclass(frozen=True)
class Condition:
    """While the argument ``switch`` is true, ``argument`` (or its default) has to be of ``kind``; ``proposed`` would do."""

    switch: str
    argument: str
    kind: Kind
    proposed: Any


@dataclass(frozen=True)
class Entry:
    """Something that a request names, and its arguments. A null argument is an absent one."""

    name: str
    aliases: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names of all arguments."""
        return tuple(argument.name for argument in self.arguments)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the arguments that a request must name."""
        return tuple(argument.name for argument in self.arguments if argument.required)

    def argument(self, name: str) -> Argument | None:
        """The argument called ``name``."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def unmet(self, given: Mapping[str, Any]) -> list[Condition]:
        """The conditions that the arguments ``given`` break."""
        values = {argument.name: argument.default for argument in self.arguments} | given_of(given)
        return [
            condition
            for condition in self.conditions
            if values[condition.switch] is True and not accepts(condition.kind, values[condition.argument])
        ]


def given_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` without those that are null."""
    return {name: value for name, value in arguments.items() if value is not None}


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def find(entries: Sequence[AnyEntry], name: str) -> AnyEntry | None:
    """The entry called ``name`` or one of its other spellings, in any case, with or without separators; None when there
    is none."""
    key = _key(name)
    return next((entry for entry in entries if key in {_key(entry.name), *map(_key, entry.aliases)}), None)


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
