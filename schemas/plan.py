"""What a request would do, without doing it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Document
from schemas.problems import NextAction, RequestError


class Plan(Document):
    """The answer to a preflight: nothing is queued."""

    verdict: Literal["ready", "ready_with_changes", "blocked"]
    summary: str
    depth: Literal["schema", "paths"]
    engine: str | None = None
    resolved: Annotated[dict[str, Any] | None, Field(default=None, description="The request with every default filled in.")]
    defaulted: Annotated[list[str], Field(default_factory=list, description="JSON pointers of what was filled in.")]
    problems: Annotated[list[RequestError], Field(default_factory=list)]
    warnings: Annotated[list[RequestError], Field(default_factory=list)]
    suggested_input: Any = None
    next_action: NextAction | None = None
