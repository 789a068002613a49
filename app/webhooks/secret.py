"""The secrets that webhooks are signed with: the owner's alone, and in no request, payload, event or log.

One is made at the first start. When another takes its place, the one before signs beside it for a while, so that each
receiver can change to the new one when it likes.
"""

import base64
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.clock import from_now, seconds_until
from schemas.files import sync_folder

PREFIX = "whsec_"
MOST_SECRETS = 4
_BYTES = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Secret:
    """A secret as receivers have it; ``until`` is when one that was replaced ends (RFC 3339, UTC)."""

    text: str
    until: str | None = None


class Secrets:
    """The secrets in the file at ``path``, which may change while the service runs.

    Raises OSError, and ValueError for a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = read_or_make_secrets(path)

    def in_force(self) -> list[str]:
        """All to sign with, the newest first: as the file is now, or as it was when it could last be read."""
        try:
            self._known = _read(self._path)
        except (OSError, ValueError) as error:
            _log.error("Webhooks are signed as before: %s", error)
        return [secret.text for secret in _in_force(self._known)]


def read_or_make_secrets(path: Path) -> Sequence[Secret]:
    """Those that are in force, the newest first; one is made when there is none. Raises as ``Secrets``."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path.parent):
        if not path.exists():
            _write(path, [Secret(_make())])
    path.chmod(0o600)
    return _in_force(_read(path))


def replace_secret(path: Path, overlap: float) -> Sequence[Secret]:
    """Put a new secret in the place of the newest; those before it end ``overlap`` seconds from now, or sooner. All that
    are in force then. Raises as ``Secrets``, and ValueError where more than MOST_SECRETS would be in force at once."""
    read_or_make_secrets(path)
    with _alone(path.parent):
        end = from_now(overlap)
        before = [Secret(old.text, min(old.until or end, end)) for old in _in_force(_read(path))] if overlap else []
        if len(before) >= MOST_SECRETS:
            raise ValueError(
                f"{len(before)} secrets are in force already; the oldest ends at {before[-1].until}. Wait for that, or end "
                "all of them now: --overlap 0s."
            )
        _write(path, [Secret(_make()), *before])
    return _read(path)


def key_of(secret: str, path: Path | None = None) -> bytes:
    """The key in ``secret``. Raises ValueError, which does not quote it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        where = "A webhook secret" if path is None else f"{path}"
        raise ValueError(
            f"{where} should hold {PREFIX} and 24 to 64 bytes in base64; delete it, and a new one is made."
        )
    return key


def _make() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def _in_force(known: Sequence[Secret]) -> list[Secret]:
    return [secret for secret in known if secret.until is None or seconds_until(secret.until) > 0]


def _read(path: Path) -> Sequence[Secret]:
    """One a line, the newest first; behind each that was replaced stands when it ends."""
    newest, *replaced = path.read_text().splitlines() or [""]
    key_of(newest.strip(), path)
    found = [Secret(newest.strip())]
    for line in filter(str.strip, replaced):
        text, _, until = line.strip().partition(" ")
        key_of(text, path)
        try:
            seconds_until(until)
        except (TypeError, ValueError):
            what = "behind a secret that was replaced should stand when it ends, as in 2026-01-02T03:04:05.678Z"
            raise ValueError(f"{path}: {what}.") from None
        found.append(Secret(text, until))
    return found


def _write(path: Path, kept: Sequence[Secret]) -> None:
    """Whole or absent, and its owner's alone at any moment."""
    made = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{secret.text} {secret.until or ''}".strip() + "\n" for secret in kept)
        file.flush()
        os.fsync(file.fileno())
    made.rename(path)
    sync_folder(path.parent)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process changes secrets in ``folder`` meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
