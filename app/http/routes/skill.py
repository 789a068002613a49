"""The skill: invoke it, plan it, read about it."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response, Security
from fastapi.responses import JSONResponse

from app.gate.envelope import SKILL
from app.gate.gate import Depth
from app.gate.request_schema import load
from app.http.manifest import DESCRIPTION, PATH, manifest
from app.http.negotiation import choose, preference
from app.http.routes.common import Body, Key, Services, bearer, job_answer, problems, request_body, unless_known
from app.http.routes.examples import PAYLOAD, PLAN, VIEW
from app.http.streams import SSE, Stream, message, server_sent
from app.service import Service
from schemas.job import TERMINAL, JobView
from schemas.plan import Plan
from schemas.result import JobPayload

router = APIRouter(tags=["skill"], dependencies=[Security(bearer)])

IfNoneMatch = Annotated[str | None, Header(description="The ETag of the document that the client has.")]
SchemaName = Literal["input", "output", "event", "problem", "plan"]


@router.post(
    f"{PATH}/invoke",
    operation_id="invoke_skill",
    summary="Train, and get the result when it comes soon enough",
    response_model=None,
    openapi_extra=request_body(),
    responses={
        200: {
            "model": JobPayload,
            "description": "The payload. A training that failed is a payload with status error.",
            "content": {"application/json": {"example": PAYLOAD}, SSE: {"schema": {"type": "string"}}},
        },
        202: {
            "model": JobView,
            "description": "Still running when the wait ended; it goes on. Do what nextAction says.",
            "content": {"application/json": {"example": VIEW}},
        },
        **problems(400, 401, 406, 408, 410, 413, 415, 422, 429),
    },
)
async def invoke_skill(
    service: Services,
    body: Body,
    key: Key,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: wait at most N seconds (default 30, at most 600); `respond-async`: do not wait.",
            examples=["wait=30"],
        ),
    ] = None,
    accept: Annotated[
        str | None, Header(description="`text/event-stream` for the job's events, ending with one called `result`.")
    ] = None,
) -> Response:
    """Queue a training durably, wait for it, answer with its payload; or with the job when it takes longer.

    A connection that breaks, or a wait that ends, leaves the training alone.
    """
    form = choose(accept, ("application/json", SSE))
    wish = preference(prefer)
    submitted = await service.submit(body, key, "invoke_skill")
    headers = {"Preference-Applied": wish.applied} if wish.applied else {}
    if form == SSE:
        location = {"Location": f"/v1/jobs/{submitted.row.job_id}"}
        return Stream(_to_the_result(service, submitted.row.job_id), SSE, {**headers, **location})
    row = await service.wait(submitted.row.job_id, "terminal", None, wish.seconds)
    payload = await service.payload(row)
    if payload is None:
        return job_answer(await service.view(row, submitted.warnings), 202, headers)
    return JSONResponse(payload, headers={**headers, "Location": f"/v1/jobs/{row.job_id}"})


async def _to_the_result(service: Service, job_id: str) -> AsyncIterator[str]:
    async for line in server_sent(service.follow(job_id, -1), service.closing):
        yield line
    row = await service.row(job_id)
    if row.state in TERMINAL:
        yield message("result", await service.payload(row))


@router.post(
    f"{PATH}/plan",
    operation_id="plan_training",
    summary="What a training would do; nothing is queued",
    response_model=None,
    openapi_extra=request_body(),
    responses={
        200: {
            "model": Plan,
            "description": "The verdict; blocked is an answer too.",
            "content": {"application/json": {"example": PLAN}},
        },
        **problems(400, 401, 408, 413, 415),
    },
)
async def plan_training(
    service: Services,
    body: Body,
    depth: Annotated[
        Depth, Query(description="`schema`: the document alone; `paths`: files, folders and the model file too.")
    ] = "paths",
) -> JSONResponse:
    """Check a request as an invocation would, and fill in every default."""
    return JSONResponse((await service.plan(body, depth)).to_json())


@router.get("/v1/skills", operation_id="list_skills", summary="The skills of this service", responses=problems(401))
async def list_skills() -> dict[str, Any]:
    """There is one."""
    return {"skills": [{"name": SKILL, "description": DESCRIPTION, "url": PATH}]}


@router.get(
    PATH,
    operation_id="get_skill",
    summary="The skill's manifest",
    response_model=None,
    responses={304: {"description": "The manifest has not changed."}, **problems(401)},
)
async def get_skill(service: Services, if_none_match: IfNoneMatch = None) -> Response:
    """Name, description, schemas, operations, examples and limits."""
    content = json.dumps(manifest(service.settings), ensure_ascii=False).encode()
    return unless_known(content, "application/json", if_none_match)


@router.get(
    f"{PATH}/schemas/{{name}}.json",
    operation_id="get_skill_schema",
    summary="A JSON Schema of the contract",
    response_model=None,
    responses={
        200: {"description": "The schema (Draft 2020-12).", "content": {"application/schema+json": {}}},
        304: {"description": "The schema has not changed since the `ETag` in If-None-Match."},
        **problems(401, 404),
    },
)
async def get_skill_schema(
    name: Annotated[SchemaName, Path(description="Which document the schema is of.")],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Schema of the input, the output, an event, a problem or a plan."""
    content = json.dumps(load(name), ensure_ascii=False).encode()
    return unless_known(content, "application/schema+json", if_none_match)
