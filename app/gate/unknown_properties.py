"""Properties that the request does not have, and where each of them belongs."""

import copy
from collections.abc import Sequence
from typing import Any

from app.gate.arguments import mended_argument
from app.gate.mending import NOTHING, can_be_left_out, mend
from app.gate.patches import Path, add, has, look, remove
from app.gate.request_errors import named, said, wrong
from app.gate.request_schema import is_valid, schema_at
from app.gate.spellings import closest, home_of, near_home_of, normal
from schemas.arguments import Entry
from schemas.kinds import Kind, accepts
from schemas.losses import LOSSES
from schemas.optimizers import OPTIMIZERS, find_optimizer
from schemas.problems import PatchOperation, RequestError
from schemas.schedules import find_schedule


class UnknownProperties:
    """Those of one document. No two are sent to the same place. ``supplied`` are the places that their fixes fill."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.supplied: set[Path] = set()
        self._made: dict[Path, dict[str | int, Any]] = {}
        self._kinds: dict[Path, Kind] = {}

    def error(self, here: Path) -> RequestError:
        """The error for the unknown property at ``here``."""
        path, key = here[:-1], str(here[-1])
        value = look(self._document, here)
        home = self._home(path, key, value)
        declared = sorted(schema_at(path).get("properties", {}))
        message = f"{named(path)} has no property {said(key)}."
        if home is None:
            fix: list[PatchOperation] | None = [remove(here)]
            message += " Take it out; for data of your own there is labels."
        elif has(self._document, home) or home in self.supplied:
            fix = [remove(here)]
            message += f" It means {named(home)}, which is set already: take this one out."
        else:
            fix = self._move(here, home, value)
            message += f" Use {named(home)}."
        return wrong(
            here,
            "unknown_property",
            message,
            got=value,
            allowed=list(declared),
            suggestion=None if home is None else str(home[-1]) if home[:-1] == path else named(home),
            fix=fix,
        )

    def _home(self, path: Path, key: str, value: Any) -> Path | None:
        siblings = schema_at(path).get("properties", {})
        same = next((name for name in siblings if normal(name) == normal(key)), None)
        if same is not None:
            return (*path, same)
        home = home_of(key, value) or self._argument_home(path, key)
        if home is not None:
            return home
        near = closest(key, siblings)
        return (*path, near) if near else near_home_of(key)

    def _argument_home(self, path: Path, key: str) -> Path | None:
        """Arguments of the optimizer, schedule or loss that stand a level too high."""
        if path not in ((), ("trainingConfig",)):
            return None
        optimizer = find_optimizer(self._name("optimizer", "AdamW"))
        schedule = find_schedule(self._name("scheduler", "cosine"))
        tables: tuple[tuple[str, Sequence[Entry]], ...] = (
            ("optimizerArgs", [optimizer] if optimizer else OPTIMIZERS),
            ("schedulerArgs", [schedule] if schedule else []),
            ("lossArgs", LOSSES),
        )
        for section, entries in tables:
            argument = next((found for entry in entries if (found := entry.argument(key))), None)
            if argument is not None:
                home = ("trainingConfig", section, key)
                self._kinds[home] = argument.kind
                return home
        return None

    def _name(self, key: str, default: str) -> str:
        name = look(self._document, ("trainingConfig", key), default)
        return name if isinstance(name, str) else default

    def _move(self, here: Path, home: Path, value: Any) -> list[PatchOperation] | None:
        ways = [home[:length] for length in range(1, len(home))]
        if any(has(self._document, way) and not isinstance(look(self._document, way), dict) for way in ways):
            return None
        kind = self._kinds.get(home)
        if kind is not None and not accepts(kind, value):
            value = mended_argument(str(home[-1]), value, kind)
            if value is NOTHING:
                return [remove(here)]
        schema = schema_at(home)
        mended = value if is_valid(value, schema) else mend(str(home[-1]), value, schema)
        if mended is NOTHING and schema.get("type") != "object":
            optional = home[-1] not in schema_at(home[:-1]).get("required", ())
            return [remove(here)] if optional and can_be_left_out(home) else None
        self.supplied.update([home, *ways])
        return [remove(here), self._add(home, ways, value if mended is NOTHING else mended)]

    def _add(self, home: Path, ways: list[Path], value: Any) -> PatchOperation:
        """Put ``value`` at ``home``. A parent that has to be made is made with all that belongs there so far, so that
        each fix is enough by itself, and all of them after each other are too."""
        top = next((way for way in ways if not has(self._document, way)), None)
        if top is None:
            return add(home, value)
        place = self._made.setdefault(top, {})
        for part in home[len(top) : -1]:
            place = place.setdefault(part, {})
        place[home[-1]] = value
        return add(top, copy.deepcopy(self._made[top]))
