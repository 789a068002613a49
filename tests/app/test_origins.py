"""Which jobs a job goes on from, as the store knows them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.settings import Settings
from app.store.interface import JobRow
from app.store.origins import origins_of
from app.store.sqlite import SqliteStore
from app.supervision.assigning import assignment_of
from app.supervision.attempt_folder import AttemptFolder
from tests.app.scene import new_job, request


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", workspace=tmp_path, readable=(tmp_path / "own",))


@pytest.fixture
def store(settings: Settings) -> Iterator[SqliteStore]:
    store = SqliteStore(settings.database)
    yield store
    store.close()


def accept(store: SqliteStore, **checkpoints: object) -> JobRow:
    return store.accept(new_job(request=request(checkpointConfig=checkpoints)))[0]


def test_a_worker_may_read_the_runs_that_its_job_goes_on_from_one_by_way_of_the_other(
    store: SqliteStore, settings: Settings
):
    first = accept(store)
    second = accept(store, resumeFrom=str(settings.jobs / first.job_id / "run" / "epoch-0001"), saveDir="runs")
    third = accept(store, resumeFrom=str(settings.workspace / "runs" / second.job_id))
    accept(store, resumeFrom=str(settings.jobs / first.job_id / "run"))
    row = accept(store, resumeFrom=str(settings.jobs / third.job_id / "run"))
    origins = origins_of(row, store.get)
    assert [origin.job_id for origin in origins] == [third.job_id, second.job_id, first.job_id]
    claimed = replace(row, attempt=1, assigned=("cpu",))
    given = assignment_of(settings, claimed, AttemptFolder(settings.jobs, row.job_id, 1), origins)
    runs = [settings.jobs / third.job_id / "run", settings.workspace / "runs" / second.job_id]
    wanted = [settings.workspace / "own", *runs, settings.jobs / first.job_id / "run"]
    assert given.readable == list(map(str, wanted))


def test_a_chain_ends_at_a_job_that_was_deleted_or_at_a_folder_that_is_no_jobs(store: SqliteStore, settings: Settings):
    first = accept(store, resumeFrom=str(settings.workspace / "copied" / "run"))
    second = accept(store, resumeFrom=str(settings.jobs / "job_that_is_gone" / "run"))
    assert origins_of(first, store.get) == origins_of(second, store.get) == []


def test_a_ring_ends(store: SqliteStore, settings: Settings):
    first = accept(store)
    second = accept(store, resumeFrom=str(settings.jobs / first.job_id / "run"))
    ring = {"checkpointConfig": {"resumeFrom": str(settings.jobs / second.job_id / "run")}}
    rows = {first.job_id: replace(first, request=ring), second.job_id: second}
    assert [origin.job_id for origin in origins_of(rows[first.job_id], rows.get)] == [second.job_id, first.job_id]
