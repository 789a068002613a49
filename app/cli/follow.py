"""Following a job to its end, through dropped connections and restarts of the service."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from app.cli.client import Client, Lost
from app.cli.exits import Refusal, Unreachable

Answer = TypeVar("Answer")

# Connect again: given the seconds since the service was last heard, a client, or Unreachable.
Connect = Callable[[float], Client]

# What is refused for a moment, and not for what it is.
_COMES_AGAIN = ("rate_limited", "too_many_open")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
DEFAULT_PATIENCE_SECONDS = 60.0


class Line:
    """A client that is replaced when its connection is lost. ``patience`` bounds how long one outage may last."""

    def __init__(self, client: Client, connect: Connect, patience: float = DEFAULT_PATIENCE_SECONDS) -> None:
        self.client = client
        self._connect = connect
        self._patience = patience
        self._lost_at: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def ask(self, question: Callable[[Client], Answer]) -> Answer:
        """The answer to an idempotent question, asked again while the service is away."""
        while True:
            try:
                answer = question(self.client)
            except Lost as lost:
                self.mend(lost)
            except Refusal as refusal:
                if refusal.problem.get("code") not in _COMES_AGAIN:
                    raise
                self.mend(refusal)
            else:
                self.heard()
                return answer

    def heard(self) -> None:
        """The service has answered: the outage, if there was one, is over."""
        self._lost_at = None
        self._pause = _FIRST_PAUSE_SECONDS

    def mend(self, cause: Unreachable | Refusal) -> None:
        """Wait a little, longer each time, and connect again; raises ``cause`` when patience has run out."""
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        outage = now - self._lost_at
        if outage + self._pause > self._patience:
            raise cause
        threading.Event().wait(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        try:
            client = self._connect(outage)
        except Unreachable:
            return
        self.client.close()
        self.client = client


class Follower:
    """The events of one job, each once and in order, ending with ``job.completed``. Iterating again goes on."""

    def __init__(self, line: Line, job_id: str) -> None:
        self.job_id = job_id
        self._line = line
        self._seq = -1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Raises Unreachable when the service stays away, and Refusal when it does not know the job."""
        while True:
            try:
                for event in self._line.client.events(self.job_id, self._seq):
                    self._line.heard()
                    yield event
                    self._seq = event["seq"]
                    if event["type"] == "job.completed":
                        return
                self._line.mend(
                    Unreachable(f"The service ends the stream of {self.job_id} before the job has settled.")
                )
            except Unreachable as lost:
                self._line.mend(lost)
            except Refusal as refusal:
                if refusal.problem.get("status") != 503 and refusal.problem.get("code") not in _COMES_AGAIN:
                    raise
                self._line.mend(refusal)
