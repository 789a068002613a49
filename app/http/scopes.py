"""Which scope each operation needs, in one table, and the one place that holds every route to it."""

from fastapi import Request

from app.problems import Refusal
from app.tokens import Grant
from schemas.tokens import Scope

# By operationId. What is not here is for admin alone: a route that somebody forgets is closed, and a test says so.
NEEDED: dict[str, Scope] = {
    "list_skills": "read",
    "get_skill": "read",
    "get_skill_schema": "read",
    "get_capabilities": "read",
    "get_metrics": "read",
    "list_jobs": "read",
    "get_job": "read",
    "get_job_result": "read",
    "get_job_events": "read",
    "get_job_logs": "read",
    "get_job_deliveries": "read",
    # A plan looks at names and the model file of the workspace; a submission runs code.
    "plan_training": "submit",
    "invoke_skill": "submit",
    "create_job": "submit",
    "retry_job": "submit",
    "pause_job": "control",
    "resume_job": "control",
    "stop_job": "control",
    "cancel_job": "control",
    "delete_job": "control",
    "create_token": "admin",
    "list_tokens": "admin",
    "revoke_token": "admin",
}

# Asked without a token.
OPEN = frozenset({"check_health", "check_readiness"})


def needed(operation: str | None) -> Scope:
    """The scope that the operation needs."""
    return NEEDED.get(operation or "", "admin")


async def require_scope(request: Request) -> None:
    """What every route depends on. Raises Refusal (403), which names the scope and how to get it."""
    operation: str | None = request.scope["route"].operation_id
    grant: Grant | None = request.scope.get("grant")
    if grant is None:
        # The guard lets nobody this far without one, but to what is open.
        assert operation is None or operation in OPEN, operation
        return
    scope = needed(operation)
    if scope not in grant.scopes:
        raise _missing(scope, operation, grant)


def _missing(scope: Scope, operation: str | None, grant: Grant) -> Refusal:
    detail = (
        f"{operation or 'This'} needs a token with the scope {scope!r}; {grant.name!r} has {', '.join(sorted(grant.scopes))}. "
        f"The owner of the service makes one: pytorch-trainer token create --name NAME --scope {scope}"
    )
    challenge = f'Bearer realm="pytorch-trainer", error="insufficient_scope", scope="{scope}"'
    return Refusal("scope_missing", detail, headers={"WWW-Authenticate": challenge})
