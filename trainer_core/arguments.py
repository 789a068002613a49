"""Arguments of the request, read through the table that the gate judged them by; what is wrong is said with its place."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from schemas.arguments import Argument, Condition, Entry, given_of
from schemas.kinds import Unfit
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure


def invalid(
    pointer: str,
    message: str,
    *,
    next_move: str | None = None,
    fix: list[PatchOperation] | None = None,
    detail: str | None = None,
) -> Failure:
    """The failure of one property of the request, by its JSON pointer."""
    return Failure("input_invalid", message, place=Place(pointer=pointer), next_move=next_move, fix=fix, detail=detail)


class Arguments:
    """The arguments ``given`` to ``entry`` at ``pointer``, and its defaults for the others: ``arguments["gamma"]``.

    ``given`` are those of the request, in the types to compute with. Raises Failure ``input_invalid`` with the pointer
    for what is unknown, wrong or missing; a request that passed the gate has none of it.
    """

    def __init__(self, entry: Entry, given: Mapping[str, Any], pointer: str) -> None:
        self._entry = entry
        self._pointer = pointer
        present = given_of(given)
        for name in given:
            if entry.argument(name) is None:
                raise self._unknown(name)
        self.given = {item.name: self._read(item, present) for item in entry.arguments if item.name in present}
        missing = next((name for name in entry.required if name not in present), None)
        if missing is not None:
            raise invalid(f"{pointer}/{missing}", f"{entry.name} needs the argument {missing!r}.")
        self._values = {item.name: item.default for item in entry.arguments} | self.given
        for condition in entry.unmet(present):
            raise self._unmet(condition)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def _read(self, argument: Argument, given: dict[str, Any]) -> Any:
        try:
            return argument.kind.read(given[argument.name])
        except Unfit:
            value, expected = given[argument.name], argument.kind.words
            message = f"{self._entry.name}: {argument.name} must be {expected}, not {value!r}."
            raise invalid(f"{self._pointer}/{argument.name}", message) from None

    def _unknown(self, name: str) -> Failure:
        names = sorted(self._entry.argument_names)
        takes = f"it takes {', '.join(names)}" if names else "it takes none"
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        return invalid(f"{self._pointer}/{name}", f"{self._entry.name} has no argument {name!r}: {takes}{hint}")

    def _unmet(self, condition: Condition) -> Failure:
        wanted = f"{condition.argument} to be {condition.kind.words}"
        message = f"{self._entry.name} with {condition.switch} wants {wanted}, not {self[condition.argument]!r}."
        return invalid(f"{self._pointer}/{condition.argument}", message)
