"""Every error answer is a problem document, whoever raised it."""

import logging
import secrets
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.http.addresses import methods_at, nearest
from app.http.parameters import wrong_parameter
from app.problems import PROBLEMS, Refusal
from app.store.interface import StoreBroken, StoreUnavailable
from schemas.problems import NextAction

_log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error with a problem document."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    app.add_exception_handler(StoreUnavailable, _store_unavailable)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    return cast(Refusal, error).response()


async def _store_unavailable(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StoreBroken):
        return Refusal("store_broken", f"{error}").response()
    return Refusal("unavailable", f"{error}", headers={"Retry-After": "5"}).response()


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    found = cast(HTTPException, error)
    if found.status_code == 404:
        return _no_such_page(request).response()
    if found.status_code == 405:
        # The framework names the methods of one route, and there may be several at an address.
        known = methods_at(request.url.path, request.app.openapi()["paths"])
        allowed = ", ".join(known) or (found.headers or {}).get("Allow", "")
        detail = f"{request.url.path[:200]} takes {allowed}, not {request.method[:20]}."
        return Refusal("method_not_allowed", detail, headers={"Allow": allowed}).response()
    code = next((code for code, entry in PROBLEMS.items() if entry.status == found.status_code), "bad_request")
    return Refusal(code, str(found.detail), headers=found.headers).response()


def _no_such_page(request: Request) -> Refusal:
    path = request.url.path[:200]
    near = nearest(path, request.app.openapi()["paths"])
    detail = f"There is nothing at {path}."
    detail += f" Near it: {near}." if near else " See /docs."
    return Refusal("not_found", detail, next_action=NextAction(operation="get_skill"))


async def _wrong_parameters(request: Request, error: Exception) -> JSONResponse:
    template, method = getattr(request.scope.get("route"), "path_format", ""), request.method.lower()
    document = request.app.openapi()
    operation = document["paths"].get(template, {}).get(method, {})
    errors = [wrong_parameter(flaw, operation, document) for flaw in cast(RequestValidationError, error).errors()]
    return Refusal("parameter_invalid", " ".join(found.message for found in errors), errors=errors).response()


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """The last resort. What happened is in the service's log, under a number that the client is told."""
    number = secrets.token_hex(4)
    _log.error("Incident %s: %s %s: %s", number, request.method, request.url.path, type(error).__name__)
    return Refusal("internal", f"The service failed; its log has more under incident {number}.").response()
