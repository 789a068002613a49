"""The last words of a run on standard error: how it ended and where to look next."""

from typing import Any

from app.cli.errors import failure_text
from app.cli.figures import duration
from app.settings import DEFAULT_PORT

Json = dict[str, Any]

# What a person may want to do something about; the start is over by the time that they read this.
_HELD_UP = {"data": "waiting for data", "evaluation": "evaluation", "checkpoints": "writing checkpoints"}


def closing_text(payload: Json, checkpoint: str | None, url: str | None) -> str:
    """One line for a run that went well; for another, why not and what to do.

    ``checkpoint`` is the last one saved; ``url`` the service, or None when it ends with this command.
    """
    if payload["status"] != "error":
        return f"{_outcome(payload)}.{_held_up(payload)} Next: {' · '.join(_places(payload, url))}"
    error = payload["error"]
    if error["code"] == "cancelled":
        return _cancelled(payload, checkpoint)
    kept = f"\nKept: checkpoint {payload['checkpointPath']}" if payload["checkpointPath"] else ""
    first = "pytorch-trainer serve, then " if url is None else ""
    return f"{failure_text(error)}{kept}\nLog: {first}pytorch-trainer logs {payload['jobId']}"


def _outcome(payload: Json) -> str:
    metrics = payload["metrics"]
    named = (("val accuracy", "valAccuracy"), ("val loss", "valLoss"), ("train loss", "trainLoss"))
    best = next((f"{name} {metrics[key]:.4g}" for name, key in named if key in metrics), "no figures")
    epochs = f"epoch {payload['bestEpoch']} of {metrics['epochsTrained']}" if "bestEpoch" in payload else "no epoch"
    word = "stopped early" if payload["status"] == "early_stopped" else "success"
    return f"{word}: {best} ({epochs}, {duration(metrics['trainingTime'])})"


def _held_up(payload: Json) -> str:
    """What kept a run from computing, where that was much of its time."""
    budget = payload.get("summary", {}).get("time", {"bound": "compute"})
    what = _HELD_UP.get(budget["bound"])
    if what is None:
        return ""
    whole = sum(seconds for name, seconds in budget.items() if name != "bound")
    return f" {budget[budget['bound']] / whole:.0%} of the time went into {what}."


def _places(payload: Json, url: str | None) -> list[str]:
    places = [f"checkpoint {payload['checkpointPath']}"] if payload["checkpointPath"] else []
    for tracking in payload.get("tracking", []):
        if tracking["status"] == "complete" and tracking.get("trackingUri"):
            places.append(mlflow_command(tracking["trackingUri"]))
    serve = "" if url else "pytorch-trainer serve, then "
    status = f"pytorch-trainer status {payload['jobId']}"
    return [*places, f"{serve}{status} or {url or f'http://127.0.0.1:{DEFAULT_PORT}'}/docs"]


def mlflow_command(uri: str) -> str:
    """How to see tracked runs: the server's own page, or MLflow's over its store."""
    return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"


def _cancelled(payload: Json, checkpoint: str | None) -> str:
    checkpoint = checkpoint or payload["checkpointPath"]
    if not checkpoint:
        return f"{payload['jobId']} is cancelled. It had saved no checkpoint; start it anew."
    return (
        f"{payload['jobId']} is cancelled; its checkpoint is kept: {checkpoint}\n"
        f'Resume: run the same request with "checkpointConfig": {{"resumeFrom": "{checkpoint}"}}'
    )
