"""Jobs over HTTP: accepted once, looked at, waited for, listed, cancelled; and what each answer says to do next."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import httpx
import pytest

from app.gate.patches import apply
from app.http.parameters import wrong_parameter
from app.supervision.payload import check
from schemas.job import JobPage, JobState, JobView
from tests.app.listening import FAILS, SKILL, WHOLE, Listening, check_problem, client_of, listening
from tests.app.workspace import changed

RUNS = f"epoch(1); gate('go'); epoch(2); {WHOLE}"
STOPS_WHEN_ASKED = """
signal.signal(signal.SIGTERM, lambda *_: (end('cancelled', error={'code': 'cancelled', 'message': 'Cancelled.',
    'retryable': False, 'recovery': 'use_other_operation', 'nextMove': 'Resume.'}), os._exit(0)))
epoch(1)
while True: signal.pause()
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("jobs"), slots=4) as running:
        yield running


def test_a_job_from_acceptance_to_result(service: Listening):
    answer = service.client.post("/v1/jobs", json={**service.model(RUNS), "labels": {"who": "me"}})
    view = JobView.model_validate(answer.json())
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{view.job_id}"
    assert int(answer.headers["retry-after"]) >= 0
    assert view.next_action is not None
    assert view.next_action.operation == "get_job"
    assert (service.settings.jobs / view.job_id / "model.py").read_text() == RUNS

    running = service.until(view.job_id, "epoch")
    assert running["state"] == "running"
    assert running["summary"].startswith("running: epoch 1 of 9")
    assert running["allowedActions"] == ["pause", "stop", "cancel"]
    unfinished = service.client.get(f"/v1/jobs/{view.job_id}/result")
    assert unfinished.status_code == 202
    assert unfinished.json()["nextAction"]["arguments"]["jobId"] == view.job_id

    service.open_gate(view.job_id)
    settled = service.settled(view.job_id)
    assert (settled["state"], settled["labels"], settled["allowedActions"]) == ("succeeded", {"who": "me"}, ["delete"])
    assert settled["nextAction"]["operation"] == "get_job_result"
    payload = service.client.get(settled["links"]["result"])
    assert payload.status_code == 200
    assert check(payload.json()) == []
    assert (payload.json()["status"], payload.json()["jobId"]) == ("success", view.job_id)


def test_the_answer_to_a_submission_says_what_is_in_vain_and_how_to_leave_it_out(service: Listening):
    document = {**service.model(RUNS), "trackingConfig": {"mlflow": True, "experiment": "trees"}}
    document["dataConfig"] = {**document["dataConfig"], "target": "y"}
    answer = service.client.post("/v1/jobs", json=document)
    view = JobView.model_validate(answer.json())
    assert view.warnings is not None
    assert [warning.pointer for warning in view.warnings] == [
        "/dataConfig/target",
        "/trackingConfig/mlflow",
        "/trackingConfig/experiment",
    ]
    for warning in view.warnings:
        assert warning.fix
        document = apply(document, warning.fix)
    service.client.post(f"/v1/jobs/{view.job_id}/cancel")
    again = service.client.post("/v1/jobs", json=document).json()
    assert "warnings" not in again
    assert "warnings" not in service.client.get(f"/v1/jobs/{view.job_id}").json()
    service.client.post(f"/v1/jobs/{again['jobId']}/cancel")
    for job_id in (view.job_id, again["jobId"]):
        service.settled(job_id)


def test_a_wait_ends_at_its_time_and_leaves_the_job_alone(service: Listening):
    job_id = service.submit(f"epoch(1); gate('go'); {WHOLE}")
    view = service.client.get(f"/v1/jobs/{job_id}", params={"wait": 0.2}).json()
    assert view["state"] in ("queued", "preparing", "running")
    service.open_gate(job_id)
    assert service.settled(job_id)["state"] == "succeeded"


def test_waiting_for_an_epoch_and_for_a_state_counts_from_what_the_client_has_seen(service: Listening):
    job_id = service.submit(RUNS)
    first = service.until(job_id, "epoch")
    again = service.until(job_id, "epoch")
    assert again["lastSeq"] >= first["lastSeq"]
    answers: list[httpx.Response] = []
    params = {"wait": 60, "until": "epoch", "after": first["lastSeq"]}
    waiting = threading.Thread(target=lambda: answers.append(service.client.get(f"/v1/jobs/{job_id}", params=params)))
    waiting.start()
    service.open_gate(job_id)
    waiting.join(60)
    seen = answers[0].json()
    assert seen["progress"].get("epoch") == 2 or seen["state"] == "succeeded"
    assert service.until(job_id, "state", after=first["lastSeq"])["state"] in ("finalizing", "succeeded")


# (query of a job, what is expected of the value)
WRONG = [
    ("wait=61", "a number of 0 or more and at most 60"),
    ("wait=-1", "a number of 0 or more and at most 60"),
    ("wait=nan", "a number of 0 or more and at most 60"),
    ("wait=x", "a number of 0 or more and at most 60"),
    ("until=never", "one of terminal, state, epoch"),
    ("after=-2", "a whole number of -1 or more and at most 9223372036854775807"),
    ("after=1.5", "a whole number of -1 or more and at most 9223372036854775807"),
]


@pytest.mark.parametrize(("query", "expected"), WRONG)
def test_a_wrong_parameter_is_a_problem_that_says_its_value_and_what_is_expected(
    service: Listening, query: str, expected: str
):
    problem = check_problem(service.client.get(f"/v1/jobs/job_x?{query}"), 422, "parameter_invalid")
    name, _, value = query.partition("=")
    (error,) = problem["errors"]
    assert (error["pointer"], error["expected"]) == (f"/query/{name}", expected)
    assert problem["detail"] == f'{name} is "{value}"; expected {expected}.'


def test_a_wrong_item_of_a_parameter_goes_by_its_name_and_names_what_there_is(service: Listening):
    problem = check_problem(service.client.get("/v1/jobs?state=queued&state=suceeded"), 422, "parameter_invalid")
    assert problem["detail"].startswith('state is "suceeded"; expected one of queued, ')
    (error,) = problem["errors"]
    assert (error["pointer"], error["suggestion"]) == ("/query/state/1", "succeeded")
    assert error["allowed"] == list(get_args(JobState))


def test_every_parameter_has_words_of_its_own(service: Listening):
    """None is described as just any value."""
    document = service.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                flaw = {"loc": (parameter["in"], parameter["name"]), "type": "x", "input": "y"}
                error = wrong_parameter(flaw, operation, document)
                assert error.expected not in ("any value", "another value"), (path, parameter["name"])


def test_an_unknown_job_is_a_404_that_says_where_jobs_are_listed(service: Listening):
    for path in ("", "/result", "/events", "/logs"):
        problem = check_problem(service.client.get(f"/v1/jobs/job_unknown{path}"), 404, "job_not_found")
        assert problem["nextAction"]["operation"] == "list_jobs"
    check_problem(service.client.post("/v1/jobs/job_unknown/cancel"), 404, "job_not_found")


def test_the_same_key_and_input_name_the_same_job_and_another_input_is_refused(service: Listening):
    body = service.model(WHOLE)
    headers = {"Idempotency-Key": "once"}
    first = service.client.post("/v1/jobs", json=body, headers=headers)
    folders = {path.name for path in service.settings.jobs.iterdir()}
    again = service.client.post("/v1/jobs", json={**body, "engine": "native"}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["jobId"] == again.json()["jobId"]
    other = service.client.post("/v1/jobs", json={**body, "labels": {"a": "b"}}, headers=headers)
    problem = check_problem(other, 422, "idempotency_conflict")
    assert problem["nextAction"]["arguments"] == {"jobId": first.json()["jobId"]}
    assert {path.name for path in service.settings.jobs.iterdir()} == folders


def test_a_key_sent_by_two_clients_at_once_is_one_job(service: Listening):
    """Two clients with a connection each, many times over: whichever comes first, both are told of the same job."""
    body, start = service.model(WHOLE), threading.Barrier(2, timeout=60)

    def post(keys: list[str]) -> list[str]:
        with client_of(service.settings, service.server.url) as client:
            client.get("/healthz")  # connected
            answers = []
            for key in keys:
                start.wait()
                answers.append(client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key}))
            assert [answer.status_code for answer in answers] == [202] * len(keys)
            return [answer.json()["jobId"] for answer in answers]

    keys = [f"at-once-{number}" for number in range(8)]
    with ThreadPoolExecutor(2) as clients:
        one, other = clients.map(post, [keys, keys])
    assert one == other
    assert len(set(one)) == len(keys)
    accepted = {view["jobId"] for view in service.client.get("/v1/jobs", params={"limit": 200}).json()["jobs"]}
    assert {path.name for path in service.settings.jobs.iterdir()} == accepted
    for job_id in one:
        service.settled(job_id)


def test_two_inputs_sent_at_once_with_one_key_are_one_job_and_one_refusal(service: Listening):
    body, start = service.model(WHOLE), threading.Barrier(2, timeout=60)

    def post(team: str) -> list[int]:
        with client_of(service.settings, service.server.url) as client:
            client.get("/healthz")
            codes = []
            for number in range(4):
                start.wait()
                headers = {"Idempotency-Key": f"split-{number}"}
                codes.append(
                    client.post("/v1/jobs", json={**body, "labels": {"team": team}}, headers=headers).status_code
                )
            return codes

    with ThreadPoolExecutor(2) as clients:
        answers = list(zip(*clients.map(post, ["a", "b"]), strict=True))
    assert {tuple(sorted(codes)) for codes in answers} == {(202, 422)}


def test_a_key_is_known_though_its_model_file_is_gone(service: Listening):
    body = service.model(WHOLE, "fleeting.py")
    headers = {"Idempotency-Key": "fleeting"}
    first = service.client.post("/v1/jobs", json=body, headers=headers)
    (service.settings.workspace / "fleeting.py").unlink()
    again = service.client.post("/v1/jobs", json={**body, "checkpointConfig": None}, headers=headers)
    assert (again.status_code, again.json()["jobId"]) == (202, first.json()["jobId"])
    other = service.client.post("/v1/jobs", json={**body, "labels": {"a": "b"}}, headers=headers)
    check_problem(other, 422, "idempotency_conflict")
    without_the_key = service.client.post("/v1/jobs", json=body)
    check_problem(without_the_key, 422, "input_invalid")


@pytest.mark.parametrize("cursor", ["garbage", "", "job_unknown", "\0"])
def test_a_cursor_of_no_page_is_refused_rather_than_taken_for_the_end(service: Listening, cursor: str):
    check_problem(service.client.get("/v1/jobs", params={"cursor": cursor}), 422, "parameter_invalid")


@pytest.mark.parametrize("number", ["9223372036854775808", "99999999999999999999999", "-2", "1.5", "nan", ""])
def test_a_number_beyond_the_store_is_refused(service: Listening, number: str):
    path = f"/v1/jobs/{service.submit(WHOLE)}"
    for form in ("application/json", "text/event-stream"):
        answer = service.client.get(f"{path}/events", params={"after": number}, headers={"Accept": form})
        check_problem(answer, 422, "parameter_invalid")
        answer = service.client.get(f"{path}/events", headers={"Accept": form, "Last-Event-ID": number})
        check_problem(answer, 422, "parameter_invalid")
    wait = {"wait": 1, "until": "state", "after": number}
    check_problem(service.client.get(path, params=wait), 422, "parameter_invalid")


def test_a_key_sent_many_times_at_once_names_one_job(service: Listening):
    body = service.model(WHOLE)

    async def send_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.server.url, headers=service.client.headers, timeout=60) as client:
            headers = {"Idempotency-Key": "at-once"}
            return await asyncio.gather(*(client.post("/v1/jobs", json=body, headers=headers) for _ in range(12)))

    answers = asyncio.run(send_all())
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobId"] for answer in answers}) == 1


def test_a_refused_job_leaves_nothing_behind(service: Listening):
    service.settings.jobs.mkdir(exist_ok=True)
    before = set(service.settings.jobs.iterdir())
    check_problem(service.client.post("/v1/jobs", json=changed("modelPath", "nowhere.py")), 422, "input_invalid")
    assert set(service.settings.jobs.iterdir()) == before


def test_jobs_are_listed_newest_first_by_state_and_label_and_in_pages(service: Listening):
    mine = [service.submit(WHOLE, labels={"page": "a:b=c"}) for _ in range(3)]
    for job_id in mine:
        service.settled(job_id)
    query: dict[str, str | int] = {"label": "page:a:b=c", "limit": 2}
    first = JobPage.model_validate(service.client.get("/v1/jobs", params=query).json())
    assert [job.job_id for job in first.jobs] == mine[:0:-1]
    assert first.next_cursor is not None
    rest = service.client.get("/v1/jobs", params={**query, "cursor": first.next_cursor}).json()
    assert [job["jobId"] for job in rest["jobs"]] == mine[:1]
    assert "nextCursor" not in rest
    assert service.client.get("/v1/jobs", params={**query, "state": "failed"}).json()["jobs"] == []
    both = {**query, "limit": 9, "state": ["failed", "succeeded"], "label": "page=a:b=c"}
    assert len(service.client.get("/v1/jobs", params=both).json()["jobs"]) == 3
    check_problem(service.client.get("/v1/jobs", params={"label": "nothing"}), 422, "parameter_invalid")
    check_problem(service.client.get("/v1/jobs", params={"state": "done"}), 422, "parameter_invalid")


def test_a_cancel_is_kept_idempotent_and_refused_after_another_end(service: Listening):
    job_id = service.submit(STOPS_WHEN_ASKED)
    service.until(job_id, "epoch")
    asked = service.client.post(f"/v1/jobs/{job_id}/cancel")
    assert asked.status_code == 202
    assert asked.json()["state"] in ("cancelling", "cancelled")
    assert service.settled(job_id)["state"] == "cancelled"
    assert service.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    payload = service.client.get(f"/v1/jobs/{job_id}/result").json()
    assert (payload["status"], payload["error"]["code"]) == ("error", "cancelled")

    done = service.submit(WHOLE)
    service.settled(done)
    problem = check_problem(service.client.post(f"/v1/jobs/{done}/cancel"), 409, "action_not_allowed")
    assert problem["allowedActions"] == ["delete"]
    assert problem["nextAction"]["operation"] == "get_job_result"


def test_logs_are_the_cleaned_end_of_what_the_worker_printed(service: Listening):
    program = (
        f"[print('line', n) for n in range(50)]; print('\\x1b[31mred\\x07\\u202e 10%\\r 20%', flush=True); {WHOLE}"
    )
    job_id = service.submit(program)
    service.settled(job_id)
    plain = service.client.get(f"/v1/jobs/{job_id}/logs?tail=2")
    assert plain.text == "line 49\n 20%\n"
    assert plain.headers["x-content-trust"] == "untrusted"
    document = service.client.get(f"/v1/jobs/{job_id}/logs?tail=2", headers={"Accept": "application/json"}).json()
    assert document == {"attempt": 1, "truncated": True, "untrusted": plain.text}
    check_problem(service.client.get(f"/v1/jobs/{job_id}/logs?tail=0"), 422, "parameter_invalid")
    check_problem(service.client.get(f"/v1/jobs/{job_id}/logs", headers={"Accept": "image/png"}), 406, "not_acceptable")


def test_a_full_queue_refuses_and_says_when_to_come_again(tmp_path):
    with listening(tmp_path, max_queued_jobs=2, slots=1) as small:
        runs = small.submit(f"epoch(1); gate('go'); {WHOLE}")
        small.until(runs, "epoch")
        waiting = [small.submit(WHOLE) for _ in range(2)]
        assert small.client.get(f"/v1/jobs/{waiting[1]}").json()["summary"] == "queued: 1 job ahead"
        answer = small.client.post("/v1/jobs", json=small.model(WHOLE))
        assert check_problem(answer, 429, "queue_full")["retryable"] is True
        assert int(answer.headers["retry-after"]) > 0
        small.open_gate(runs)
        assert small.settled(waiting[1])["state"] == "succeeded"


def test_what_came_of_a_failed_training_is_an_answer_and_no_http_error(service: Listening):
    answer = service.client.post(f"{SKILL}/invoke", json=service.model(FAILS))
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["error"]["code"]) == ("error", "diverged")
    assert check(answer.json()) == []
