"""Problems (RFC 9457): one table of codes, and the exception that carries a problem to the client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

from app.exchange import current
from schemas.failures import Recovery
from schemas.problems import NextAction, Problem, RequestError, Tombstone

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemEntry:
    """What a problem's code stands for."""

    status: int
    title: str
    retryable: bool
    recovery: Recovery


PROBLEMS: dict[str, ProblemEntry] = {
    "malformed_json": ProblemEntry(400, "The body is not JSON", False, "modify_and_retry"),
    "bad_request": ProblemEntry(400, "Bad request", False, "modify_and_retry"),
    "unauthorized": ProblemEntry(401, "A token is needed", False, "ask_owner"),
    "host_refused": ProblemEntry(403, "Host refused", False, "modify_and_retry"),
    "origin_refused": ProblemEntry(403, "Origin refused", False, "ask_owner"),
    "scope_missing": ProblemEntry(403, "The token does not allow this", False, "ask_owner"),
    "not_found": ProblemEntry(404, "No such page", False, "use_other_operation"),
    "job_not_found": ProblemEntry(404, "No such job", False, "use_other_operation"),
    "token_not_found": ProblemEntry(404, "No such token", False, "use_other_operation"),
    "method_not_allowed": ProblemEntry(405, "Method not allowed", False, "use_other_operation"),
    "not_acceptable": ProblemEntry(406, "No such form of answer", False, "modify_and_retry"),
    "request_timeout": ProblemEntry(408, "The request came too slowly", True, "retry_unchanged"),
    "action_not_allowed": ProblemEntry(409, "Not possible in this state", False, "use_other_operation"),
    "token_refused": ProblemEntry(409, "The token cannot be made", False, "modify_and_retry"),
    "job_deleted": ProblemEntry(410, "The job was deleted", False, "use_other_operation"),
    "body_too_large": ProblemEntry(413, "The body is too large", False, "modify_and_retry"),
    "unsupported_media_type": ProblemEntry(415, "Not a JSON body", False, "modify_and_retry"),
    "input_invalid": ProblemEntry(422, "The input is not valid", False, "modify_and_retry"),
    "parameter_invalid": ProblemEntry(422, "A parameter is not valid", False, "modify_and_retry"),
    "idempotency_conflict": ProblemEntry(422, "The idempotency key was used before", False, "modify_and_retry"),
    "rate_limited": ProblemEntry(429, "Too many requests", True, "retry_unchanged"),
    "too_many_open": ProblemEntry(429, "Too many requests at a time", True, "retry_unchanged"),
    "queue_full": ProblemEntry(429, "The queue is full", True, "retry_unchanged"),
    "internal": ProblemEntry(500, "The service failed", True, "ask_owner"),
    "disk_full": ProblemEntry(503, "The job cannot be stored", True, "ask_owner"),
    "store_broken": ProblemEntry(503, "The database cannot be used any more", False, "ask_owner"),
    "unavailable": ProblemEntry(503, "Not ready", True, "retry_unchanged"),
}


class Refusal(Exception):
    """A request is refused, and the client is told why. ``code`` is one of ``PROBLEMS``."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[RequestError] = (),
        next_action: NextAction | None = None,
        suggested_input: Any = None,
        allowed_actions: Sequence[str] | None = None,
        tombstone: Tombstone | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        entry = PROBLEMS[code]
        self.headers = dict(headers or {})
        self.problem = Problem(
            type=f"urn:pytorch-trainer:problem:{code}",
            title=entry.title,
            status=entry.status,
            detail=detail,
            code=code,
            retryable=entry.retryable,
            recovery=entry.recovery,
            next_action=next_action,
            errors=list(errors),
            suggested_input=suggested_input,
            allowed_actions=None if allowed_actions is None else list(allowed_actions),
            tombstone=tombstone,
        )

    def response(self) -> JSONResponse:
        """The problem as an HTTP answer to the exchange that this is part of."""
        exchange, problem = current(), self.problem
        if exchange is not None:
            exchange.problem = problem.code
            problem = problem.model_copy(update={"request_id": exchange.request_id})
        return JSONResponse(problem.to_json(), problem.status, headers=self.headers, media_type=MEDIA_TYPE)
