"""Commands on jobs of a service that runs, as a person or a script says them."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.app.cli.command import (
    CAN_BE_CANCELLED,
    FAILS,
    SUCCEEDS,
    WAITS,
    RunningService,
    Started,
    command,
    write_request,
)
from tests.app.supervision.test_orders import OBEYS

SCHEMAS = Path(__file__).parents[3] / "schemas" / "json"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        with RunningService(Path(folder, "home"), workspace) as running:
            yield running
            running.clear()


def submit(service: RunningService, program: str, **changes: object) -> str:
    """The id of a new job."""
    request = write_request(service.settings.workspace, program, **changes)
    ended = command(service.settings.home, "submit", str(request))
    assert ended.returncode == 0, ended.stderr
    [job_id] = ended.stdout.splitlines()
    return job_id


def test_a_wait_that_ends_before_the_job_exits_with_3_and_the_view(service: RunningService) -> None:
    home, job_id = service.settings.home, submit(service, WAITS)
    ended = command(home, "wait", job_id, "--timeout", "0.1")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["jobId"] == job_id
    assert f"Next: pytorch-trainer wait {job_id}" in ended.stderr
    service.open_gate(job_id)
    settled = command(home, "wait", job_id)
    assert settled.returncode == 0
    assert json.loads(settled.stdout)["status"] == "success"


def test_watch_shows_the_job_to_its_end_and_ctrl_c_only_leaves(service: RunningService) -> None:
    home, job_id = service.settings.home, submit(service, WAITS)
    with Started(home, "watch", job_id) as watch:
        watch.until("epoch 1/9")
        watch.interrupt()
        code, out, said = watch.end()
    assert (code, out) == (3, "")
    assert f"pytorch-trainer cancel {job_id}" in said
    with Started(home, "watch", job_id, "--json") as again:
        again.until("epoch 1/9")
        service.open_gate(job_id)
        code, out, said = again.end()
    assert code == 0, said
    assert json.loads(out)["jobId"] == job_id


def test_cancel_settles_the_job_with_exit_4(service: RunningService) -> None:
    home, job_id = service.settings.home, submit(service, CAN_BE_CANCELLED)
    with Started(home, "watch", job_id) as watch:
        watch.until("epoch 1/9")
        ended = command(home, "cancel", job_id)
        assert (ended.returncode, ended.stdout.split(":")[0]) == (0, "cancelling")
        assert watch.end()[0] == 4
    assert command(home, "wait", job_id).returncode == 4
    assert command(home, "cancel", job_id, "--json").returncode == 0


def test_status_and_list_read_well_and_as_json(service: RunningService) -> None:
    home, job_id = service.settings.home, submit(service, SUCCEEDS, labels={"dataset": "wine"})
    assert command(home, "wait", job_id).returncode == 0
    said = command(home, "status", job_id).stdout
    assert "succeeded" in said
    assert "dataset=wine" in said
    assert json.loads(command(home, "status", job_id, "--json").stdout)["state"] == "succeeded"
    listed = command(home, "list", "--label", "dataset=wine", "--state", "succeeded", "--json")
    assert [job["jobId"] for job in json.loads(listed.stdout)["jobs"]] == [job_id]
    assert job_id in command(home, "list").stdout
    assert "No jobs" in command(home, "list", "--label", "dataset=beer").stderr


def test_status_without_a_job_describes_the_service(service: RunningService) -> None:
    ended = command(service.settings.home, "status")
    assert ended.returncode == 0
    assert service.url in ended.stdout
    assert str(service.settings.workspace) in ended.stdout


@pytest.mark.parametrize("words", [["status"], ["wait"], ["watch"], ["logs"], ["cancel"]])
def test_an_unknown_job_exits_with_2(service: RunningService, words: list[str]) -> None:
    ended = command(service.settings.home, *words, "job_nowhere", "--json")
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["code"] == "job_not_found"
    assert "job_nowhere" in ended.stderr


def test_a_wrong_token_exits_with_2_and_says_where_the_right_one_is(service: RunningService) -> None:
    ended = command(service.settings.home, "list", PT_TOKEN="wrong")
    assert ended.returncode == 2
    assert "pytorch-trainer token" in ended.stderr


def test_token_prints_what_the_service_takes(service: RunningService) -> None:
    home = service.settings.home
    token = command(home, "token").stdout.strip()
    path = Path(command(home, "token", "--path").stdout.strip())
    assert path.read_text().strip() == token
    elsewhere = home.parent / "elsewhere"
    assert command(elsewhere, "list", PT_URL=service.url, PT_TOKEN=token).returncode == 0


def test_plan_through_the_service(service: RunningService) -> None:
    home = service.settings.home
    ready = command(home, "plan", str(write_request(service.settings.workspace, SUCCEEDS)))
    assert ready.returncode == 0
    assert "/dataConfig/valSplit" in ready.stdout
    refused = command(home, "plan", str(write_request(service.settings.workspace, SUCCEEDS, lables={})), "--json")
    assert refused.returncode == 2
    plan = json.loads(refused.stdout)
    assert plan["problems"][0]["suggestion"] == "labels"
    jsonschema.validate(plan, json.loads((SCHEMAS / "plan.schema.json").read_text()))


@pytest.mark.parametrize(
    ("variables", "tried"),
    [({}, "there is no service.json"), ({"PT_URL": "http://127.0.0.1:9"}, "PT_URL=http://127.0.0.1:9 does not answer")],
)
def test_no_service_exits_with_5_and_says_what_was_tried(tmp_path: Path, variables: dict[str, str], tried: str) -> None:
    ended = command(tmp_path, "list", **variables)
    assert ended.returncode == 5
    assert tried in ended.stderr
    assert "pytorch-trainer serve" in ended.stderr


def test_a_service_that_was_killed_leaves_a_note_that_deceives_nobody(tmp_path: Path) -> None:
    (tmp_path / "service.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1}')
    ended = command(tmp_path, "status")
    assert ended.returncode == 5
    assert "http://127.0.0.1:9 (from" in ended.stderr


def test_plan_and_schema_need_no_service(tmp_path: Path) -> None:
    request = write_request(tmp_path, SUCCEEDS, trainingConfig={"optimizer": "Adamm"})
    ended = command(tmp_path / "home", "plan", str(request), PT_WORKSPACE=str(tmp_path))
    assert ended.returncode == 2
    assert "/trainingConfig/optimizer" in ended.stdout
    printed = json.loads(command(tmp_path, "schema", "event").stdout)
    assert printed == json.loads((SCHEMAS / "event.schema.json").read_text())


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    ended = command(tmp_path, "list", PT_URL="localhost")
    assert (ended.returncode, ended.stderr) == (
        2,
        "PT_URL='localhost': expected a URL such as http://127.0.0.1:8000\n",
    )


def test_a_job_is_paused_resumed_and_stopped_by_word(service: RunningService) -> None:
    home, job_id = service.settings.home, submit(service, OBEYS)
    with Started(home, "watch", job_id) as watch:
        watch.until("epoch 1/9")
        assert command(home, "pause", job_id).returncode == 0
        watch.until("paused; it goes on when")
        asked = command(home, "resume", job_id)
        assert f"Next: pytorch-trainer watch {job_id}" in asked.stderr
        service.open_gate(job_id)
        code, _, said = watch.end()
    assert code == 0, said
    refused = command(home, "stop", job_id)
    assert refused.returncode == 2
    assert "cannot be stopped" in refused.stderr


def test_a_failed_job_is_tried_again_by_word(service: RunningService) -> None:
    home, failed = service.settings.home, submit(service, FAILS)
    assert command(home, "wait", failed).returncode == 1
    (service.settings.workspace / "program.py").write_text(SUCCEEDS)
    again = command(home, "retry", failed)
    assert again.returncode == 0, again.stderr
    assert command(home, "wait", again.stdout.strip()).returncode == 0


def test_jobs_are_deleted_by_name_and_by_age(service: RunningService) -> None:
    home, file = service.settings.home, write_request(service.settings.workspace, SUCCEEDS)
    jobs = [command(home, "submit", str(file)).stdout.strip() for _ in range(3)]
    for job_id in jobs:
        assert command(home, "wait", job_id).returncode == 0
    assert command(home, "delete", jobs[0], jobs[1]).stdout.split() == jobs[:2]
    gone = command(home, "status", jobs[0])
    assert (gone.returncode, "was deleted at" in gone.stderr) == (2, True)
    assert "job_none" in command(home, "delete", "job_none").stderr
    planned = json.loads(command(home, "clean", "--keep", "1", "--dry-run", "--json").stdout)
    assert jobs[2] not in planned["deleted"]
    assert command(home, "status", jobs[2]).returncode == 0
    assert command(home, "clean", "--older-than", "1w").stdout == ""
    assert command(home, "clean").returncode == 2
    assert (service.settings.jobs / jobs[2]).exists()
