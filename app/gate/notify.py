"""Targets of webhooks: whether this service may send there."""

from typing import Any

from app.gate.request_errors import wrong
from app.webhooks.targets import Targets
from schemas.problems import RequestError


def notify_errors(document: dict[str, Any], targets: Targets, *, look: bool) -> list[RequestError]:
    """URLs that nothing is sent to; with ``look``, also by where their names lead now. There is no fix: where somebody
    wants to be told is not ours to guess."""
    wanted = document.get("notify")
    errors = []
    for index, target in enumerate(wanted if isinstance(wanted, list) else []):
        url = target.get("url") if isinstance(target, dict) else None
        if not isinstance(url, str) or not url:
            continue
        flaw = targets.flaw_now(url) if look else targets.flaw(url)
        if flaw is not None:
            message = f"Nothing is sent to notify[{index}].url: {flaw}."
            expected = "an https URL of a host at a public address, or of one in PT_WEBHOOK_HOSTS"
            errors.append(wrong(("notify", index, "url"), "url_refused", message, expected=expected))
    return errors
