"""Tokens from the command line: while a service runs, and while none does."""

import json
from pathlib import Path

import httpx

from tests.app.cli.command import RunningService, command
from tests.app.workspace import make_workspace

CREATE = ("token", "create", "--name", "ci", "--scope", "read", "--expires", "30d")


def status(service: RunningService, token: str) -> int:
    """What a request with ``token`` is answered with."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{service.url}/v1/jobs", headers=headers, trust_env=False).status_code


def test_tokens_are_made_listed_and_revoked_through_the_service_that_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with RunningService(home, make_workspace(tmp_path / "workspace")) as service:
        made = command(home, *CREATE)
        token = made.stdout.strip()
        assert (made.returncode, token[:4], len(token)) == (0, "ptt_", 47)
        assert "not shown again" in made.stderr
        assert token not in made.stderr
        listed = json.loads(command(home, "token", "list", "--json").stdout)["tokens"]
        assert [(each["name"], each["scopes"], each["prefix"]) for each in listed] == [("ci", ["read"], token[:10])]
        assert status(service, token) == 200
        refused = command(tmp_path / "other", "cancel", "job_1", PT_URL=service.url, PT_TOKEN=token)
        assert (refused.returncode, "--scope control" in refused.stderr) == (2, True)
        assert command(home, "token", "revoke", "ci").returncode == 0
        assert status(service, token) == 401


def test_tokens_are_made_and_revoked_where_no_service_runs_and_hold_when_one_does(tmp_path: Path) -> None:
    home = tmp_path / "home"
    token = command(home, *CREATE).stdout.strip()
    doomed = json.loads(command(home, "token", "create", "--json", "--name", "old", "--scope", "admin").stdout)
    again = command(home, *CREATE)
    assert (again.returncode, again.stdout, "choose another name" in again.stderr) == (2, "", True)
    assert command(home, "token", "revoke", doomed["tokenId"]).returncode == 0
    with RunningService(home, make_workspace(tmp_path / "workspace")) as service:
        assert (status(service, token), status(service, doomed["token"])) == (200, 401)
        # The service, and nobody beside it, writes.
        (home / "service.json").unlink()
        busy = command(home, "token", "list")
        assert (busy.returncode, "runs on" in busy.stderr) == (5, True)
