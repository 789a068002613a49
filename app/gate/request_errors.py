"""One thing wrong with a request: the place, the value, what is allowed, and the fix."""

import json
from collections.abc import Iterable
from typing import Any

from app.gate.patches import Path, pointer
from schemas.problems import PatchOperation, RequestError

MAX_ERRORS = 100
SHOWN_CHARACTERS = 200
# Characters of JSON that a fix may hold: the input is not said again at length.
_LARGEST_FIX = 16_384


def shown(value: Any) -> Any:
    """``value``, or where it is long the beginning of its JSON, at most 200 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def named(path: Iterable[str | int]) -> str:
    """``path`` as people write it: ``trainingConfig.epochs``."""
    text = ".".join(str(part) for part in path)
    return (text if len(text) <= 80 else text[:79] + "…") or "The input"


def said(value: Any) -> str:
    """``value`` inside a sentence."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def wrong(
    path: Path,
    code: str,
    message: str,
    *,
    got: Any = None,
    expected: str | None = None,
    allowed: list[Any] | None = None,
    suggestion: Any = None,
    fix: list[PatchOperation] | None = None,
) -> RequestError:
    """An error at ``path`` of the input. A fix that would say too much of the input again is left out."""
    if fix is not None and sum(len(operation.model_dump_json()) for operation in fix) > _LARGEST_FIX:
        fix = suggestion = None
    return RequestError(
        pointer=pointer(path),
        code=code,
        message=message,
        got=shown(got),
        expected=expected,
        allowed=allowed,
        suggestion=None if suggestion is None else suggestion if isinstance(suggestion, str) else said(suggestion),
        fix=fix,
    )
