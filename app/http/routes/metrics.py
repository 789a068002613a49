"""Figures for Prometheus."""

import asyncio

from fastapi import APIRouter, Request, Response, Security

from app.http.routes.common import Services, bearer, problems
from app.observing.metrics import MEDIA_TYPE, Metrics

router = APIRouter(tags=["service"])

_EXAMPLE = '# TYPE pytorch_trainer_jobs gauge\npytorch_trainer_jobs{state="running"} 1.0\n'


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Figures for Prometheus",
    response_model=None,
    dependencies=[Security(bearer)],
    responses={
        200: {"description": "Text format 0.0.4.", "content": {"text/plain": {"example": _EXAMPLE}}},
        **problems(401),
    },
)
async def get_metrics(service: Services, request: Request) -> Response:
    """Counted since this service began; jobs, devices and the disk as they are now. Answers without its store, too."""
    metrics: Metrics = request.app.state.metrics
    content = await asyncio.to_thread(metrics.exposition, await service.snapshot())
    return Response(content, media_type=MEDIA_TYPE)
