"""Request headers that choose the form of an answer: Accept (RFC 9110) and Prefer (RFC 7240)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.problems import Refusal

DEFAULT_WAIT = 30
LONGEST_PREFERRED_WAIT = 600

_QUALITY = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """The media type among ``offered`` that ``accept`` prefers, the first one by default.

    Raises Refusal (406) when none is acceptable.
    """
    ranges = [_range(part) for part in (accept or "*/*")[:1000].split(",") if part.strip()]
    for wanted, quality in sorted(ranges, key=lambda found: -found[1]):
        match = next((media_type for media_type in offered if _matches(wanted, media_type)), None)
        if match is not None and quality > 0:
            return match
    raise Refusal("not_acceptable", f"Accept is {(accept or '')[:200]!r}; this answers with {', '.join(offered)}.")


def _range(part: str) -> tuple[str, float]:
    name, _, _ = part.partition(";")
    quality = _QUALITY.search(part)
    return name.strip().lower(), float(quality[1]) if quality else 1.0


def _matches(wanted: str, media_type: str) -> bool:
    return wanted in ("*/*", media_type) or (wanted.endswith("/*") and media_type.startswith(wanted[:-1]))


@dataclass(frozen=True)
class Preference:
    """How long a client wants to wait for a result; ``applied`` says which of its wishes counted."""

    seconds: int
    applied: str | None


def preference(prefer: str | None) -> Preference:
    """``wait=N`` up to 600 s; ``respond-async`` alone does not wait; else 30 s. Unknown wishes are ignored."""
    wishes = [wish.strip().lower() for wish in (prefer or "").split(",")]
    waits = [match for wish in wishes if (match := re.fullmatch(r'wait\s*=\s*"?([0-9]{1,9})"?', wish))]
    if waits:
        seconds = min(int(waits[0][1]), LONGEST_PREFERRED_WAIT)
        return Preference(seconds, f"wait={seconds}")
    if "respond-async" in wishes:
        return Preference(0, "respond-async")
    return Preference(DEFAULT_WAIT, None)
