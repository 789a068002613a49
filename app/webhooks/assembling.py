"""The parts of webhooks, put together for a service."""

from collections.abc import Callable

from app.settings import Settings
from app.store.interface import Store
from app.webhooks.deliverer import Deliverer
from app.webhooks.secret import Secrets
from app.webhooks.sending import Sender
from app.webhooks.targets import Targets
from schemas.webhooks import Sent


def make_deliverer(settings: Settings, store: Store, counted: Callable[[Sent], None]) -> Deliverer:
    """A deliverer that is not started yet; ``counted`` is told how each attempt went. Raises ValueError when the file of the secret holds something else."""
    secrets = Secrets(settings.webhook_secret_file)
    sender = Sender(Targets(settings.webhook_hosts), settings.webhook_seconds)
    return Deliverer(store, sender, secrets, settings.webhook_first_wait_seconds, counted)


def require_webhook(settings: Settings) -> None:
    """Raises ValueError for a ``PT_WEBHOOK_URL`` to which nothing would be sent; the URL may be a secret and is not quoted."""
    flaw = None if settings.webhook_url is None else Targets(settings.webhook_hosts).flaw(settings.webhook_url)
    if flaw is not None:
        raise ValueError(f"PT_WEBHOOK_URL: nothing is sent there: {flaw}.")
