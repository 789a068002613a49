"""How a command ends: exit codes, and the errors that lead to them."""

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    SUCCESS = 0
    TRAINING_ERROR = 1
    INVALID_INPUT = 2
    STILL_RUNNING = 3
    CANCELLED = 4
    UNREACHABLE = 5


class CommandError(Exception):
    """A command cannot go on; ``message`` says what, the value and the next move."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


class Left(CommandError):
    """A person, or a shell, ended the command before the job had settled."""

    def __init__(self, message: str) -> None:
        super().__init__(Exit.STILL_RUNNING, message)


class Unreachable(CommandError):
    """No service answered."""

    def __init__(self, message: str) -> None:
        super().__init__(Exit.UNREACHABLE, message)


class Refusal(CommandError):
    """The service, or the command itself, refused what was asked; ``problem`` is the RFC 9457 document."""

    def __init__(self, problem: dict[str, Any]) -> None:
        failed = problem.get("status", 0) >= 500
        super().__init__(Exit.UNREACHABLE if failed else Exit.INVALID_INPUT, str(problem.get("detail", "")))
        self.problem = problem


def refuse(code: str, title: str, detail: str) -> Refusal:
    """A refusal of our own, in the shape the service gives its own."""
    return Refusal(
        {
            "type": "about:blank",
            "title": title,
            "status": 400,
            "detail": detail,
            "code": code,
            "retryable": False,
            "recovery": "modify_and_retry",
            "errors": [],
        }
    )


def exit_of(payload: dict[str, Any]) -> Exit:
    """The exit code that a job's payload stands for."""
    if payload["status"] in ("success", "early_stopped"):
        return Exit.SUCCESS
    cancelled = payload.get("error", {}).get("code") == "cancelled"
    return Exit.CANCELLED if cancelled else Exit.TRAINING_ERROR
