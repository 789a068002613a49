"""Answers as the documentation shows them."""

from typing import Any

from app.job_view import links_of

JOB_ID = "job_01JH2Z5QKX8W5T6V3N9R4M7C1D"

VIEW: dict[str, Any] = {
    "jobId": JOB_ID,
    "state": "running",
    "summary": "running: epoch 3 of 10, step 120 of 450, loss 0.4123, val accuracy 0.93, about 40 s left",
    "engine": "native",
    "labels": {"dataset": "digits"},
    "createdAt": "2026-01-02T03:04:05.678Z",
    "startedAt": "2026-01-02T03:04:06.120Z",
    "attempt": 1,
    "progress": {"epoch": 3, "epochs": 10, "step": 120, "totalSteps": 450, "loss": 0.4123, "valAccuracy": 0.93},
    "lastSeq": 17,
    "allowedActions": ["cancel"],
    "links": links_of(JOB_ID),
    "nextAction": {
        "operation": "get_job",
        "arguments": {"jobId": JOB_ID, "wait": 30, "until": "terminal"},
        "afterSeconds": 0,
    },
}

PAYLOAD: dict[str, Any] = {
    "status": "success",
    "metrics": {
        "trainLoss": 0.041,
        "valLoss": 0.063,
        "trainAccuracy": 0.99,
        "valAccuracy": 0.98,
        "epochsTrained": 10,
        "trainingTime": 34.2,
    },
    "checkpointPath": f"/workspace/checkpoints/{JOB_ID}/epoch-0010",
    "learningCurve": [{"epoch": 1, "trainLoss": 0.92, "valLoss": 0.41}],
    "jobId": JOB_ID,
    "bestEpoch": 10,
    "provenance": {"inputSha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
}

_ERROR: dict[str, Any] = {
    "pointer": "/trainingConfig/learningrate",
    "code": "unknown_property",
    "message": 'trainingConfig has no property "learningrate". Use trainingConfig.learningRate.',
    "got": 0.001,
    "suggestion": "learningRate",
    "fix": [
        {"op": "remove", "path": "/trainingConfig/learningrate"},
        {"op": "add", "path": "/trainingConfig/learningRate", "value": 0.001},
    ],
}
_MENDED = {
    "modelPath": "model.py",
    "dataConfig": {"trainPath": "train.csv"},
    "trainingConfig": {"learningRate": 0.001},
}

PROBLEM: dict[str, Any] = {
    "type": "urn:pytorch-trainer:problem:input_invalid",
    "title": "The input is not valid",
    "status": 422,
    "detail": "1 thing is wrong with the input (/trainingConfig/learningrate). Nothing was queued.",
    "code": "input_invalid",
    "retryable": False,
    "recovery": "modify_and_retry",
    "errors": [_ERROR],
    "suggestedInput": _MENDED,
}

PLAN: dict[str, Any] = {
    "verdict": "ready_with_changes",
    "summary": "1 problem; suggestedInput mends all of it.",
    "depth": "schema",
    "problems": [_ERROR],
    "warnings": [],
    "suggestedInput": _MENDED,
    "nextAction": {"operation": "create_job", "arguments": {}, "afterSeconds": 0},
}

EVENT: dict[str, Any] = {
    "seq": 12,
    "type": "epoch.completed",
    "time": "2026-01-02T03:04:12.345Z",
    "jobId": JOB_ID,
    "attempt": 1,
    "data": {"epoch": 3, "trainLoss": 0.4123, "valLoss": 0.3872, "valAccuracy": 0.93, "isBest": True},
}

TOKEN_REQUEST: dict[str, Any] = {"name": "ci", "scopes": ["submit"], "expiresInSeconds": 2592000}

TOKEN: dict[str, Any] = {
    "tokenId": "token_01M7Y35TGF8W7JFE8B3Y71FN20",
    "name": "ci",
    "prefix": "ptt_Yb3kQ0",
    "scopes": ["submit"],
    "createdAt": "2026-11-21T03:42:37.599Z",
    "expiresAt": "2026-12-21T03:42:37.599Z",
    "token": "ptt_Yb3kQ0…",
}

DELIVERIES: dict[str, Any] = {
    "deliveries": [
        {
            "deliveryId": "msg_01M8HK3YT8RA1FGW4F9RDHQ7VN",
            "type": "job.completed",
            "seq": 21,
            "url": "https://example.com/hooks/training",
            "state": "pending",
            "attempts": 1,
            "createdAt": "2026-11-21T03:42:45.599Z",
            "nextAt": "2026-11-21T03:42:50.904Z",
            "status": 503,
            "error": "Answered 503.",
        }
    ]
}
