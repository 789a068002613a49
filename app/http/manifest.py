"""What the skill says of itself, and what this service can do."""

import json
import platform
from importlib.metadata import version
from importlib.resources import files
from typing import Any, get_args

from app import exports
from app.gate.envelope import SKILL
from app.gate.gate import device_limit
from app.gate.raw_json import MAX_DEPTH
from app.http.negotiation import DEFAULT_WAIT, LONGEST_PREFERRED_WAIT
from app.http.scopes import NEEDED
from app.isolation import available
from app.service import LONGEST_WAIT
from app.settings import Settings
from schemas.arguments import Entry
from schemas.data import DataFormat
from schemas.engines import ENGINES
from schemas.exporting import EXPORTS
from schemas.failures import FAILURES
from schemas.losses import LOSSES
from schemas.metrics import METRICS
from schemas.optimizers import OPTIMIZERS
from schemas.schedules import SCHEDULES
from schemas.training import Precision
from schemas.webhooks import WebhookEvent

PATH = f"/v1/skills/{SKILL}"
DESCRIPTION = (
    "Trains a PyTorch or scikit-learn model file on data: one JSON in, progress as events, one schema-valid JSON out. "
    "Queues durably; a training outlives the call and a restart of the service."
)
SCHEMAS = ("input", "output", "event", "problem", "plan")

# The usage example of the skill: an envelope as orchestrators send it.
EXAMPLE: dict[str, Any] = json.loads(files("schemas").joinpath("json", "seed.example.json").read_bytes())
SMALLEST: dict[str, Any] = {
    "modelPath": "model.py",
    "dataConfig": {"trainPath": "train.csv"},
    "trainingConfig": {"epochs": 5},
}


def product_version() -> str:
    """Version of this service."""
    return version("pytorch-trainer")


def limits_of(settings: Settings) -> dict[str, Any]:
    """Bounds of a request and of a wait."""
    return {
        "maxBodyBytes": settings.max_body_bytes,
        "maxDepth": MAX_DEPTH,
        "maxQueuedJobs": settings.max_queued_jobs,
        "maxDevices": device_limit(settings),
        "requestsPerMinute": settings.requests_per_minute,
        "openRequests": settings.max_open_requests,
        "defaultInvokeWaitSeconds": DEFAULT_WAIT,
        "longestInvokeWaitSeconds": LONGEST_PREFERRED_WAIT,
        "longestJobWaitSeconds": LONGEST_WAIT,
        "keepAliveSeconds": settings.keep_alive_seconds,
    }


def manifest(settings: Settings) -> dict[str, Any]:
    """The skill: what it does, how it is called, by which schemas."""
    return {
        "name": SKILL,
        "description": DESCRIPTION,
        "version": product_version(),
        "schemas": {name: f"{PATH}/schemas/{name}.json" for name in SCHEMAS},
        "operations": {
            "invoke_skill": f"POST {PATH}/invoke",
            "plan_training": f"POST {PATH}/plan",
            "create_job": "POST /v1/jobs",
            "get_job": "GET /v1/jobs/{jobId}",
            "get_job_result": "GET /v1/jobs/{jobId}/result",
        },
        "examples": [SMALLEST, EXAMPLE["skill"]["context"], EXAMPLE],
        "scopes": {name: scope for name, scope in NEEDED.items() if scope != "admin"},
        "limits": limits_of(settings),
    }


def capabilities(settings: Settings) -> dict[str, Any]:
    """Everything a request can name, and where this service works."""
    return {
        "workspace": str(settings.workspace),
        "engines": [
            {"name": name, "title": entry.title, "inferredFrom": list(entry.imports)} for name, entry in ENGINES.items()
        ],
        "devices": list(settings.devices),
        "slots": settings.slots,
        "isolation": {"least": settings.isolation, "available": list(available())},
        "warmStart": settings.warm,
        "webhooks": {
            "events": list(get_args(WebhookEvent)),
            "hosts": list(settings.webhook_hosts),
            "everyJob": settings.webhook_url is not None,
        },
        "tracking": {"mlflow": settings.mlflow_uri is not None},
        "optimizers": [
            _entry(entry) | {"learningRate": entry.learning_rate, "weightDecay": entry.weight_decay}
            for entry in OPTIMIZERS
        ],
        "schedules": [
            _entry(entry) | {"aliases": list(entry.aliases), "required": list(entry.required), "unit": entry.unit}
            for entry in SCHEDULES
        ],
        "losses": [_entry(entry) | {"aliases": list(entry.aliases), "tasks": list(entry.tasks)} for entry in LOSSES],
        "metrics": [
            {"name": entry.name, "figure": entry.row_name, "tasks": list(entry.tasks), "better": entry.better}
            for entry in METRICS
        ],
        "formats": list(get_args(DataFormat)),
        "exports": [
            {"name": name, "title": entry.title, "file": entry.file, "engines": _exporting_engines()}
            for name, entry in EXPORTS.items()
            if name in exports.available()
        ],
        "precisions": list(get_args(Precision)),
        "failureCodes": {code: entry.next_move for code, entry in FAILURES.items()},
        "limits": limits_of(settings),
        "versions": {"pytorch-trainer": product_version(), "python": platform.python_version()},
    }


def _exporting_engines() -> list[str]:
    return [name for name, entry in ENGINES.items() if "/exportConfig" not in entry.unread]


def _entry(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "arguments": list(entry.argument_names)}
