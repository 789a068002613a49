"""A service that listens on a free port: the real application, store, supervisor and worker processes, over HTTP."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.cli.stream import Message, messages_of
from app.http.server import Server
from app.instance import Instance
from app.main import create_app
from app.settings import Settings
from tests.app.scene import STAND_IN, open_gate
from tests.app.workspace import REQUEST, make_workspace

SKILL = "/v1/skills/pytorch-trainer"
WHOLE = "say('run.finalizing', epochsTrained=1, seconds=0.5); end('succeeded')"
FAILS = """
end('failed', error={'code': 'diverged', 'message': 'The loss is NaN.', 'retryable': False,
                     'recovery': 'modify_and_retry', 'nextMove': 'Lower learningRate.'})
"""


@dataclass(frozen=True)
class Listening:
    """A running service and a client of it."""

    settings: Settings
    server: Server
    client: httpx.Client

    def model(self, program: str, name: str = "model.py") -> dict[str, Any]:
        """A request whose worker does what ``program`` says."""
        (self.settings.workspace / name).write_text(program)
        return {**REQUEST, "modelPath": name, "engine": "native"}

    def submit(self, program: str, **sections: Any) -> str:
        """The id of a new job."""
        answer = self.client.post("/v1/jobs", json={**self.model(program), **sections})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["jobId"]
        return job_id

    def settled(self, job_id: str) -> dict[str, Any]:
        """The job, once it has settled."""
        return self.until(job_id, "terminal")

    def until(self, job_id: str, until: str, after: int = -1) -> dict[str, Any]:
        """The job, once ``until`` holds."""
        params: Mapping[str, str | int] = {"wait": 60, "until": until, "after": after}
        view: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}", params=params).json()
        return view

    def open_gate(self, job_id: str) -> None:
        """Let the worker pass its gate ``go``; returns when it stood there and goes on."""
        open_gate(self.settings.jobs / job_id / "go")

    @contextmanager
    def stream(self, job_id: str, **headers: str) -> Iterator[Iterator[Message]]:
        """The messages of a job's event stream."""
        every = {"Accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
        with self.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=every) as response:
            assert response.status_code == 200
            yield messages_of(response.iter_bytes())

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """All events that are stored."""
        page: list[dict[str, Any]] = self.client.get(f"/v1/jobs/{job_id}/events").json()["events"]
        return page


@contextmanager
def listening(folder: Path, command: Sequence[str] = STAND_IN, **changes: Any) -> Iterator[Listening]:
    """A service on a home and a workspace below ``folder``, ended at the end; ``command`` starts its workers."""
    workspace = folder / "workspace"
    if not workspace.exists():
        make_workspace(workspace)
    settings = Settings(
        **{"home": folder / "home", "workspace": workspace, "port": 0, "requests_per_minute": 0, **changes}
    )
    ready = threading.Event()
    with Instance(settings.home) as instance:
        server = Server(create_app(settings, command), settings, instance, lambda url: ready.set())
        thread = threading.Thread(target=server.run_here)
        thread.start()
        try:
            assert ready.wait(60)
            with client_of(settings, server.url) as client:
                yield Listening(settings, server, client)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def address_of(service: Listening) -> tuple[str, int]:
    """Where raw bytes can be sent."""
    url = httpx.URL(service.server.url)
    assert url.port is not None
    return url.host, url.port


def client_of(settings: Settings, url: str) -> httpx.Client:
    """A client that has the token."""
    token = settings.token_file.read_text().strip()
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=90, trust_env=False)


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of ``answer``, which is of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.content)
    assert (problem["status"], problem["code"]) == (status, code)
    return problem
