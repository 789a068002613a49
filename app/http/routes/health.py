"""Whether the service lives, whether it is ready, and what it can do."""

from typing import Any

from fastapi import APIRouter, Security
from fastapi.responses import RedirectResponse

from app.http.manifest import capabilities, product_version
from app.http.routes.common import Services, bearer, problems

router = APIRouter(tags=["service"])


@router.get("/healthz", operation_id="check_health", summary="Whether the service lives")
async def check_health() -> dict[str, str]:
    """Needs no token."""
    return {"status": "ok", "service": "pytorch-trainer", "version": product_version()}


@router.get("/readyz", operation_id="check_readiness", summary="Whether jobs are accepted", responses=problems(503))
async def check_readiness(service: Services) -> dict[str, str]:
    """Needs no token. Asks the database."""
    await service.require_ready()
    return {"status": "ready"}


@router.get(
    "/v1/capabilities",
    operation_id="get_capabilities",
    summary="Engines, devices, optimizers, schedules, losses, formats, limits, versions",
    dependencies=[Security(bearer)],
    responses=problems(401),
)
def get_capabilities(service: Services) -> dict[str, Any]:
    """Everything a request can name."""
    return capabilities(service.settings)


@router.get("/", include_in_schema=False)
async def go_to_the_documentation() -> RedirectResponse:
    """A browser that is pointed at the service wants something to read."""
    return RedirectResponse("/docs")
