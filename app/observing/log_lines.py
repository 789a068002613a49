"""The service's own log: one line per record, for a person or as JSON, on standard error.

``extra={"fields": {...}}`` adds facts to a record: keys of the JSON line. The text line is its message alone.
"""

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from app.exchange import Exchange, current
from app.settings import LogFormat, LogLevel


class TextLines(logging.Formatter):
    """``2026-11-28 17:12:14 info  POST /v1/jobs 202, 12 ms``; a traceback follows on lines of its own. Local time."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{moment} {record.levelname.lower():7} {_one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``requestId`` where there is one, and the
    record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        exchange = current()
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(_names(exchange) if exchange is not None else {}),
            **getattr(record, "fields", {}),
            **({"traceback": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return json.dumps(document, default=str)


def logging_of(form: LogFormat, level: LogLevel) -> dict[str, Any]:
    """The configuration of ``logging``. Everything goes to standard error: standard output belongs to whoever embeds
    the service. What libraries say is shown from a warning on."""
    quiet = level.upper() if level in ("warning", "error") else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines if form == "json" else TextLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}},
        "loggers": {
            "app": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            # uvicorn tells at length how it starts and ends; one line of ours does.
            **{
                name: {"handlers": ["stderr"], "level": quiet, "propagate": False}
                for name in ("uvicorn", "fastapi", "opentelemetry")
            },
        },
    }


def _names(exchange: Exchange) -> dict[str, str]:
    trace = {"traceId": exchange.traceparent.split("-")[1]} if exchange.traceparent else {}
    return {"requestId": exchange.request_id, **trace}


def _one_line(text: str) -> str:
    """``text`` with control characters spelt out: nothing that a record quotes can pass for another line."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
