"""The secret that webhooks are signed with: made once, the owner's alone, and in no request, payload, event or log."""

import base64
import os
import secrets
from pathlib import Path

PREFIX = "whsec_"
_BYTES = 32


def read_or_make_secret(path: Path) -> str:
    """The secret in the file at ``path``, made when there is none. Raises ValueError for a file that has something else."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Whole or absent, and never a second one: whoever comes later finds the first.
        made = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    path.chmod(0o600)
    secret = path.read_text().strip()
    key_of(secret, path)
    return secret


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
