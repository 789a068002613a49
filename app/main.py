"""Wiring: the parts of the service, put together. ``python -m app.main`` serves with the environment's settings."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from app.disposal import Disposal
from app.followers import Followers
from app.http import documentation, error_handlers
from app.http.authentication import HostGuard, OpenGuard, TokenGuard, read_or_make_token, require_safe_bind
from app.http.manifest import DESCRIPTION, product_version
from app.http.openapi import Api
from app.http.rate_limits import Failures, RateGuard
from app.http.routes import events, health, jobs, skill, tokens
from app.http.routes import metrics as metrics_route
from app.http.scopes import require_scope
from app.http.server import Server
from app.instance import AlreadyRunning, Instance
from app.isolation import hide_memory, require_isolation
from app.observing.job_log import JobLog
from app.observing.metrics import Metrics
from app.observing.observers import Observers
from app.observing.tracing import make_tracing
from app.service import Service
from app.settings import Settings, require_workspace
from app.store.interface import StoreUnavailable
from app.store.opening import open_store
from app.supervision.supervisor import WORKER_COMMAND, Supervisor
from app.tokens import Tokens
from app.webhooks.assembling import make_deliverer, require_webhook


def create_app(settings: Settings, command: Sequence[str] = WORKER_COMMAND) -> FastAPI:
    """The application: routes, guards, a store, and at its start a supervisor. ``command`` starts a worker.

    Raises StoreUnavailable here and now, and not in the middle of the server's start, when there is no working store.
    """
    metrics = Metrics()
    observers = Observers(metrics, JobLog())
    store = open_store(settings, observers)
    deliverer = make_deliverer(settings, store, metrics.sent)
    tracing = make_tracing(settings, store)
    observers.add(deliverer)
    observers.add(tracing)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        followers = Followers()
        supervisor = Supervisor(settings, store, followers, command)
        app.state.service = Service(settings, store, supervisor, followers)
        deliverer.start(followers.notify)
        await supervisor.start()
        disposal: Disposal = app.state.service.disposal
        sweeping = asyncio.create_task(disposal.sweep_hourly())
        try:
            yield
        finally:
            disposal.close()
            await sweeping
            await supervisor.close()
            await deliverer.close()
            tracing.close()
            store.close()

    app = Api(
        metrics,
        tracing,
        title="pytorch-trainer",
        summary=DESCRIPTION,
        version=product_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # An address that is nearly right is answered with the right one, in the form of every other error.
        redirect_slashes=False,
    )
    for routes in (skill, jobs, events, tokens, health, metrics_route, documentation):
        app.include_router(routes.router, dependencies=[Depends(require_scope)])
    error_handlers.install(app)
    app.state.tokens = Tokens(store.tokens, read_or_make_token(settings.home))
    if settings.requests_per_minute:
        app.add_middleware(RateGuard, settings=settings)
    if settings.auth:
        app.add_middleware(TokenGuard, tokens=app.state.tokens, failures=Failures())
    else:
        app.add_middleware(OpenGuard)
    app.add_middleware(HostGuard, allowed=settings.allowed_hosts)
    return app


def serve(settings: Settings, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` is told the URL once it answers.

    Raises ValueError for settings that are not safe or lead nowhere, AlreadyRunning when the home has a service,
    StoreUnavailable when its database cannot be used, OSError when the port is taken.
    """
    require_safe_bind(settings)
    require_workspace(settings)
    require_webhook(settings)
    require_isolation(settings)
    hide_memory()
    with Instance(settings.home) as instance:
        Server(create_app(settings), settings, instance, announce).run_here()


def main() -> int:
    """Serve; exit status 1, and the reason on standard error, when that is not possible."""
    try:
        serve(Settings.from_environment())
    except (ValueError, AlreadyRunning, StoreUnavailable, OSError, RuntimeError) as error:
        print(f"pytorch-trainer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
