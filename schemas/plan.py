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
    resolved: Annotated[dict[str, Any] | None, Field(description="The request with every default filled in.")] = None
    defaulted: Annotated[list[str], Field(description="JSON pointers of what was filled in.")] = Field(
        default_factory=list
    )
    problems: list[RequestError] = Field(default_factory=list)
    warnings: list[RequestError] = Field(default_factory=list)
    suggested_input: Any = None
    next_action: NextAction | None = None
