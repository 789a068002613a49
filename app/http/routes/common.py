"""What the routes share: the service, the raw body, headers, and how errors look in the documentation."""

import asyncio
import hashlib
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from app.http.manifest import EXAMPLE, SMALLEST
from app.http.routes.examples import PROBLEM
from app.problems import MEDIA_TYPE, Refusal
from app.service import Service
from schemas.job import JobView

# What the store can number.
LARGEST_SEQ = 2**63 - 1

# The guard in front of the routes checks the token; this makes the documentation know of it.
bearer = HTTPBearer(
    auto_error=False,
    description="The owner's token, which `pytorch-trainer token` prints, or one that was made from it.",
)


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


Services = Annotated[Service, Depends(_service)]


async def _body(request: Request) -> bytes:
    """The raw body. Raises Refusal (408, 413, 415) before reading more, or for longer, than the service does."""
    limit = _service(request).settings.max_body_bytes
    kind, _, parameters = request.headers.get("content-type", "application/json").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "') or "utf-8"
    json_like = kind.strip() == "application/json" or (
        kind.startswith("application/") and kind.strip().endswith("+json")
    )
    if not json_like or charset not in ("utf-8", "utf8") or "content-encoding" in request.headers:
        detail = f"The body is sent as {request.headers.get('content-type', 'encoded content')[:100]!r}; send application/json in UTF-8, not compressed."
        raise Refusal("unsupported_media_type", detail)
    seconds = _service(request).settings.body_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError:
        detail = f"The body did not arrive whole within {seconds:g} s."
        raise Refusal("request_timeout", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal("bad_request", "The connection broke before the body was complete.") from None


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refusal("body_too_large", f"The body is larger than {limit} bytes.", headers={"Connection": "close"})
    return bytes(body)


Body = Annotated[bytes, Depends(_body)]


def _key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A name for this submission. The same key with the same input names the same job, however "
            "often it is sent; with another input it is refused.",
            examples=["train-digits-1"],
            max_length=255,
            min_length=1,
        ),
    ] = None,
) -> str | None:
    return idempotency_key


Key = Annotated[str | None, Depends(_key)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the documentation."""
    return {
        status: {
            "description": "Why not, and what to do.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": PROBLEM}},
        }
        for status in statuses
    }


def request_body() -> dict[str, Any]:
    """The documentation of a body that holds the skill's input, bare or in its envelope."""
    examples = {
        "smallest": {"summary": "All that is required", "value": SMALLEST},
        "bare": {"summary": "The input", "value": EXAMPLE["skill"]["context"]},
        "envelope": {"summary": "The input in an orchestrator's envelope", "value": EXAMPLE},
    }
    either = [{"$ref": "#/components/schemas/Input"}, {"$ref": "#/components/schemas/Envelope"}]
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": either}, "examples": examples}},
        }
    }


def unless_known(content: bytes, media_type: str, if_none_match: str | None) -> Response:
    """A document with its ``ETag``; 304 without it for a client whose If-None-Match names the same."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = {part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def job_answer(view: JobView, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """A job, where it is, and when to look again."""
    every = {"Location": view.links["self"], **({"Retry-After": "1"} if status == 202 else {})}
    return JSONResponse(view.to_json(), status, headers={**every, **(headers or {})})
