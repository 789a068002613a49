"""Problems (RFC 9457): every reason a request was refused, at once, each with its fix."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document
from schemas.failures import Recovery


class PatchOperation(Document):
    """One operation of a JSON Patch (RFC 6902)."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class NextAction(Document):
    """The call to make next."""

    operation: Annotated[str, Field(description="operationId of the HTTP API, also the name of the tool or command.")]
    arguments: dict[str, Any] = Field(default_factory=dict)
    after_seconds: Annotated[float, Field(ge=0)] = 0


class RequestError(Document):
    """One thing wrong with a request."""

    pointer: Annotated[str, Field(description="JSON pointer of the place.")]
    code: Annotated[
        str,
        Field(
            description="required, unknown_property, wrong_type, not_allowed, out_of_range, not_found, outside_workspace ..."
        ),
    ]
    message: str
    got: Annotated[Any, Field(description="The value found, shortened.")] = None
    expected: str | None = None
    allowed: list[Any] | None = None
    suggestion: str | None = None
    fix: Annotated[list[PatchOperation] | None, Field(description="JSON Patch that makes this place valid.")] = None


class Tombstone(Document):
    """What is left of a job that was deleted."""

    job_id: str
    state: Annotated[str, Field(description="How it had ended.")]
    engine: str
    input_sha256: str
    model_sha256: str
    payload_sha256: Annotated[
        str, Field(description="Of its payload as JSON with sorted keys, without spaces, in ASCII.")
    ]
    created_at: str
    finished_at: str
    deleted_at: str


class Problem(Document):
    """An ``application/problem+json`` document."""

    type: str = "about:blank"
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    retryable: bool
    recovery: Recovery
    next_action: NextAction | None = None
    errors: list[RequestError] = Field(default_factory=list)
    suggested_input: Annotated[
        Any, Field(description="The input with all fixes applied, when that makes it valid.")
    ] = None
    allowed_actions: list[str] | None = None
    tombstone: Annotated[Tombstone | None, Field(description="With job_deleted: what is known of it.")] = None
    request_id: Annotated[
        str | None, Field(description="The name of the request, as in X-Request-Id and in the service's log.")
    ] = None
