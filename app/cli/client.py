"""The HTTP API as Python calls: one method per use case, JSON objects in and out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from app.cli.exits import Refusal, Unreachable
from app.cli.stream import messages_of

SKILL = "/v1/skills/pytorch-trainer"
LONGEST_WAIT = 60

# The service says something every 15 seconds; a stream that is silent for longer is dead.
_STREAM_SILENCE_SECONDS = 45.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)

Json = dict[str, Any]


@dataclass(frozen=True)
class Address:
    """Where a service answers, and the token that opens it."""

    url: str
    token: str | None


class Lost(Unreachable):
    """The connection broke, or the service is restarting; asking again may help."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"No service answers at {url} ({reason}).\nStart one: pytorch-trainer serve")
        self.reason = reason


class Client:
    """A service at an address. Raises ``Lost`` when nothing answers and ``Refusal`` with the problem document."""

    def __init__(self, address: Address) -> None:
        self.address = address
        loopback = urlsplit(address.url).hostname in ("127.0.0.1", "localhost", "::1")
        headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
        self._http = httpx.Client(base_url=address.url, headers=headers, timeout=_TIMEOUT, trust_env=not loopback)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def alive(self) -> bool:
        """Whether a service answers here."""
        try:
            return self._http.get("/healthz", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    def submit(self, request: bytes, key: str) -> Json:
        """Queue a job; the same key and request name the same job again."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", "/v1/jobs", content=request, headers=headers)

    def plan(self, request: bytes) -> Json:
        """What the request would do; nothing is queued."""
        headers = {"Content-Type": "application/json"}
        return self._send("POST", f"{SKILL}/plan", params={"depth": "paths"}, content=request, headers=headers)

    def job(self, job_id: str, wait: float = 0) -> Json:
        """The job; with ``wait``, at most that many seconds later, as soon as it has settled."""
        if not wait:
            return self._send("GET", _path(job_id))
        params = {"wait": f"{wait:.3g}", "until": "terminal"}
        return self._send("GET", _path(job_id), params=params, timeout=wait + 30.0)

    def jobs(
        self, states: Sequence[str] = (), label: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Json:
        """A page of jobs, newest first. ``label`` reads ``name=value``; ``cursor`` is that of the page before."""
        params: list[tuple[str, str]] = [("limit", str(limit)), *(("state", state) for state in states)]
        if label is not None:
            params.append(("label", label))
        if cursor is not None:
            params.append(("cursor", cursor))
        return self._send("GET", "/v1/jobs", params=params)

    def delete(self, job_id: str) -> None:
        """Delete a job that has settled; one that is gone already is no error."""
        self._request("DELETE", _path(job_id))

    def result(self, job_id: str) -> Json:
        """The payload of a settled job, or the view of one that still runs."""
        return self._send("GET", _path(job_id, "/result"))

    def ask(self, job_id: str, action: str) -> Json:
        """Ask a job to ``cancel``, ``stop``, ``pause`` or ``resume``."""
        return self._send("POST", _path(job_id, f"/{action}"))

    def retry(self, job_id: str, key: str, anew: bool) -> Json:
        """Queue a new job of the same request; the same key names the same job again."""
        headers, params = {"Idempotency-Key": key}, {"anew": "true" if anew else "false"}
        return self._send("POST", _path(job_id, "/retry"), params=params, headers=headers)

    def logs(self, job_id: str, tail: int) -> Json:
        """The last lines of the worker's log: ``untrusted`` is the text, ``truncated`` whether there was more."""
        headers = {"Accept": "application/json"}
        return self._send("GET", _path(job_id, "/logs"), params={"tail": str(tail)}, headers=headers)

    def make_token(self, wanted: Json) -> Json:
        """A new token, told this once."""
        return self._send("POST", "/v1/tokens", json=wanted)

    def tokens(self) -> Json:
        """Every token but the owner's."""
        return self._send("GET", "/v1/tokens")

    def revoke_token(self, which: str) -> None:
        """End a token, named by its name or its id."""
        self._request("DELETE", f"/v1/tokens/{quote(which, safe='')}")

    def capabilities(self) -> Json:
        """What this service can do, and where it works."""
        return self._send("GET", "/v1/capabilities")

    def events(self, job_id: str, after: int) -> Iterator[Json]:
        """Events of a job with seq greater than ``after``, as they come, until the service ends the stream."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after >= 0 else {})
        timeout = httpx.Timeout(_STREAM_SILENCE_SECONDS, connect=5.0)
        try:
            with self._http.stream("GET", _path(job_id, "/events"), headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                _check(response)
                for message in messages_of(response.iter_bytes()):
                    yield json.loads(message.data)
        except httpx.TransportError as error:
            raise self._lost(error) from error

    def _send(self, method: str, path: str, **options: Any) -> Json:
        answer: Json = self._request(method, path, **options).json()
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._lost(error) from error
        _check(response)
        return response

    def _lost(self, error: httpx.TransportError) -> Lost:
        return Lost(self.address.url, str(error) or type(error).__name__)


def _path(job_id: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{rest}"


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        problem = response.json()
    except json.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict) or "title" not in problem:
        raise Unreachable(
            f"{response.request.url} answered {response.status_code} without a problem document.\n"
            "Something else than a pytorch-trainer listens there; set PT_URL to the service's URL."
        )
    raise Refusal(problem)
