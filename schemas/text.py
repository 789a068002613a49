"""Text that came from user code or data, made safe to show: capped, without control, ANSI and bidi characters."""

import re

UNTRUSTED_LIMIT = 2048

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def untrusted(text: str, limit: int = UNTRUSTED_LIMIT) -> str:
    """``text`` without escape sequences, at most ``limit`` characters; the end is kept, where the cause stands."""
    clean = _CONTROL.sub("", _ANSI.sub("", text))
    return clean if len(clean) <= limit else "…" + clean[-(limit - 1) :]
