"""The one gate: bytes in; a typed, frozen request with absolute paths and canonical names out, or every reason why not.

A request is validated here and never again.
"""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from app.exports import available
from app.gate.choices import canonical_names, choice_errors, own_loss_errors
from app.gate.data_choices import data_errors, target_errors
from app.gate.envelope import unwrap
from app.gate.export_choices import export_errors
from app.gate.isolation_choices import isolation_errors
from app.gate.metric_choices import figure_errors, mode_errors, with_known_task
from app.gate.model_choices import freeze_errors, model_errors
from app.gate.model_names import Names
from app.gate.model_source import ModelSource
from app.gate.no_effect import no_effect_warnings
from app.gate.notify import notify_errors
from app.gate.patches import Path, apply, pointer, replace
from app.gate.paths import Paths
from app.gate.raw_json import MalformedJson, read_json
from app.gate.request_errors import MAX_ERRORS, named, wrong
from app.gate.request_schema import without_nulls
from app.gate.schema_errors import schema_errors
from app.gate.strategy_choices import gpu_errors
from app.problems import Refusal
from app.settings import Settings
from app.webhooks.targets import Targets
from schemas.data import FORMATS, DataFormat
from schemas.engines import ENGINES, EngineName
from schemas.isolation import IsolationLevel
from schemas.problems import NextAction, RequestError
from schemas.request import TrainingRequest

Depth = Literal["schema", "paths"]

# Rounds of mending for a suggested input: one fix each, since a fix may bring up what stood behind it.
_ROUNDS = 40
# Characters of JSON of a suggested input.
_LARGEST_SUGGESTION = 65_536


@dataclass(frozen=True)
class Examined:
    """What the gate found in one document. ``request`` is there when nothing was wrong."""

    input: dict[str, Any] | None
    errors: list[RequestError]
    warnings: list[RequestError] = field(default_factory=list)
    suggested_input: Any = None
    request: TrainingRequest | None = None
    engine: EngineName | None = None
    format: DataFormat | None = None
    source: ModelSource | None = None
    isolation: IsolationLevel = "none"
    """The least level of the service's jobs."""


@dataclass(frozen=True)
class Admitted:
    """A request that may run. ``input`` is what was sent, unwrapped, without nulls; ``warnings`` say what in it is in vain."""

    input: dict[str, Any]
    request: TrainingRequest
    engine: EngineName
    source: ModelSource
    warnings: list[RequestError]


class Gate:
    """Reads requests against the schema, the tables of names, and the workspace."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = Paths(settings)
        self._targets = Targets(settings.webhook_hosts)

    def given(self, document: Any) -> dict[str, Any] | None:
        """The input in ``document``, unwrapped and without nulls, be it valid or not; None when there is none."""
        found = unwrap(document).input
        return None if found is None else without_nulls(found)

    def admit(self, document: Any, operation: str = "create_job") -> Admitted:
        """The request in ``document``. Raises Refusal: 422 with all errors, which leads back to ``operation`` when it
        has a suggestion."""
        found = self.examine(document, "paths")
        if found.input is None or found.request is None or found.engine is None or found.source is None:
            raise refusal(found, operation)
        return Admitted(found.input, found.request, found.engine, found.source, found.warnings)

    def read(self, body: bytes) -> Any:
        """The JSON value of ``body``. Raises Refusal with the line and column of what is wrong."""
        if len(body) > self._settings.max_body_bytes:
            limit = self._settings.max_body_bytes
            raise Refusal("body_too_large", f"The body has {len(body)} bytes; at most {limit} are taken.")
        try:
            return read_json(body)
        except MalformedJson as error:
            flaw = wrong((), error.code, f"{error}.", expected="one JSON object in UTF-8 (RFC 8259)")
            raise Refusal("malformed_json", f"{error}.", errors=[flaw]) from None

    def examine(self, document: Any, depth: Depth) -> Examined:
        """Everything about ``document``, and when something is wrong a suggestion in which all of it is mended."""
        found = self._look(document, depth)
        if found.errors:
            return Examined(found.input, found.errors, found.warnings, self._mend(document, found, depth))
        return found

    def _look(self, document: Any, depth: Depth) -> Examined:
        unwrapped = unwrap(document)
        if unwrapped.input is None:
            return Examined(None, unwrapped.errors)
        given = without_nulls(unwrapped.input)
        paths = self._paths.check(given) if depth == "paths" else None
        # One error for each: the schema's fix of devices would bring up another, and that of several targets teach one by another.
        nearer = [*self._device_errors(given), *target_errors(given)]
        places = {error.pointer for error in nearer}
        errors = [error for error in schema_errors(given) if error.pointer not in places]
        engine, format = (paths.engine, paths.format) if paths else _as_said(given)
        names = paths.source.names if paths and paths.source else None
        errors += self._choices(given, engine, format, names)
        errors += [*nearer, *isolation_errors(given, self._settings.isolation)]
        errors += notify_errors(given, self._targets, look=depth == "paths")
        errors += [*([] if _gpus(self._settings) else gpu_errors(given)), *export_errors(given, available())]
        errors = [*errors, *(paths.errors if paths else [])]
        if paths and names:
            errors += [*model_errors(given, names), *data_errors(given, paths.document, format)]
        placed = [*unwrapped.errors, *(_placed(error, unwrapped.base) for error in errors[:MAX_ERRORS])][:MAX_ERRORS]
        tracked, level = self._settings.mlflow_uri is not None, self._settings.isolation
        idle = no_effect_warnings(given, engine, format, tracked=tracked, isolation=level)
        warnings = [_placed(warning, unwrapped.base) for warning in idle]
        if placed:
            return Examined(given, placed, warnings)
        try:
            request = TrainingRequest.model_validate(canonical_names(paths.document if paths else given))
        except ValidationError as error:
            return Examined(given, [_placed(flaw, unwrapped.base) for flaw in _typed_errors(error)], warnings)
        source = paths.source if paths else None
        return Examined(
            given, [], warnings, request=request, engine=engine, format=format, source=source, isolation=level
        )

    def _choices(
        self, given: dict[str, Any], engine: EngineName | None, format: DataFormat | None, names: Names | None
    ) -> list[RequestError]:
        """What is wrong with the choices in ``given``, by what is known of the data and of the model file (``names``)."""
        known = with_known_task(given, format)
        own_loss = names is None or not names.lacks("loss")
        own_figures = names is None or not names.lacks("metrics")
        errors = choice_errors(given if own_loss else known)
        errors += [*figure_errors(known, engine, own_figures), *mode_errors(given, own_figures)]
        if engine == "native":
            errors += freeze_errors(given)
            errors += own_loss_errors(given) if names and "loss" in names.made else []
        return errors

    def _device_errors(self, document: dict[str, Any]) -> list[RequestError]:
        """More devices than this service has would wait for ever."""
        training = document.get("trainingConfig")
        wanted = training.get("devices") if isinstance(training, dict) else None
        there = device_limit(self._settings)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted <= there:
            return []
        path = ("trainingConfig", "devices")
        message = f"trainingConfig.devices is {wanted}; this service has {there}."
        return [
            wrong(path, "out_of_range", message, got=wanted, expected=f"at most {there}", fix=[replace(path, there)])
        ]

    def _mend(self, document: Any, found: Examined, depth: Depth) -> Any:
        """``document`` with fix after fix applied until nothing is wrong; None when that point is not reached, or when it is so
        large that an answer should not hold it: the fixes are there."""
        for _ in range(_ROUNDS if len(found.errors) <= _ROUNDS else 0):
            fix = next((error.fix for error in found.errors if error.fix), None)
            if fix is None:
                return None
            document = apply(document, fix)
            found = self._look(document, depth)
            if not found.errors:
                return document if len(json.dumps(document)) <= _LARGEST_SUGGESTION else None
        return None


def _as_said(document: dict[str, Any]) -> tuple[EngineName | None, DataFormat | None]:
    """Engine and format as far as the request itself names them."""
    said, data = document.get("engine"), document.get("dataConfig")
    kind = data.get("format") if isinstance(data, dict) else None
    engine = next((name for name in ENGINES if name == said), None)
    return engine, next((name for name in FORMATS if name == kind), None)


def device_limit(settings: Settings) -> int:
    """Devices a job of this service can have: its GPUs; without GPUs, a process for each core, and always two."""
    return len(_gpus(settings)) or max(2, os.cpu_count() or 1)


def _gpus(settings: Settings) -> list[str]:
    return [device for device in settings.devices if device != "cpu"]


def refusal(found: Examined, operation: str) -> Refusal:
    """The 422 that says everything the gate found."""
    count = len(found.errors)
    places = ", ".join(dict.fromkeys(error.pointer or "the body" for error in found.errors[:5]))
    more = f" and {count - 5} more" if count > 5 else ""
    detail = f"{count} {'thing is' if count == 1 else 'things are'} wrong with the input ({places}{more}). Nothing was queued."
    move = NextAction(operation="plan_training" if found.suggested_input is None else operation)
    return Refusal(
        "input_invalid", detail, errors=found.errors, suggested_input=found.suggested_input, next_action=move
    )


def _placed(error: RequestError, base: Path) -> RequestError:
    """``error`` with its pointers below ``base``."""
    prefix = pointer(base)
    fix = error.fix and [move.model_copy(update={"path": prefix + move.path}) for move in error.fix]
    return error.model_copy(update={"pointer": prefix + error.pointer, "fix": fix})


def _typed_errors(error: ValidationError) -> list[RequestError]:
    """What the typed models refuse although the schema did not: a number too large for its type, and the like."""
    return [
        wrong(flaw["loc"], "not_allowed", f"{named(flaw['loc'])}: {flaw['msg']}.", got=flaw["input"])
        for flaw in error.errors(include_url=False, include_context=False)
    ]
