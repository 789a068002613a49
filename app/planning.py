"""The answer to a preflight, from what the gate found."""

from typing import Any

from app.gate.gate import Depth, Examined
from app.gate.patches import Path, pointer
from schemas.effects import find_idle, without
from schemas.plan import Plan
from schemas.problems import NextAction


def plan_of(found: Examined, depth: Depth) -> Plan:
    """``ready`` runs as it is; ``ready_with_changes`` runs as ``suggestedInput``; ``blocked`` needs its author."""
    if found.request is not None:
        whole = found.request.to_json()
        idle = find_idle(whole, found.engine, found.format, isolation=found.isolation)
        resolved = without(whole, (setting.pointer for setting in idle))
        defaulted = [pointer(path) for path in _leaves(resolved) if not _given(found.input, path)]
        return Plan(
            verdict="ready",
            summary=f"Ready: {_said(resolved, found.engine)}.",
            depth=depth,
            engine=found.engine,
            resolved=resolved,
            defaulted=defaulted,
            warnings=found.warnings,
            next_action=NextAction(operation="create_job"),
        )
    count = len(found.errors)
    things = "1 problem" if count == 1 else f"{count} problems"
    mended = found.suggested_input is not None
    summary = f"{things}; suggestedInput mends all of it." if mended else f"Blocked: {things}, not all with a fix."
    return Plan(
        verdict="ready_with_changes" if mended else "blocked",
        summary=summary,
        depth=depth,
        problems=found.errors,
        warnings=found.warnings,
        suggested_input=found.suggested_input,
        next_action=NextAction(operation="create_job" if mended else "plan_training"),
    )


def _said(resolved: dict[str, Any], engine: str | None) -> str:
    training = resolved["trainingConfig"]
    with_engine = f" with the {engine} engine" if engine else ""
    parts = [f"{training['epochs']} epochs{with_engine}"]
    parts += [training["optimizer"]] if "optimizer" in training else []
    parts += [f"schedule {training['scheduler']}"] if "scheduler" in training else []
    return ", ".join(parts)


def _leaves(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    return [path]


def _given(document: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True
