"""A database that is damaged, or is taken away under a running service: said with its name and what to do, nothing is
taken that would be lost, and nothing is deleted for it."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.store.interface import StoreBroken, StoreUnavailable
from app.store.sqlite import SqliteStore
from schemas.events import EpochStarted
from tests.app.listening import WHOLE, check_problem, listening
from tests.app.scene import Scene, in_a_loop, line, new_job
from tests.tiers import rounds

PAGE = 4096
EVENTS = [line(EpochStarted(epoch=number, epochs=20, steps=1)) for number in range(1, 21)]


def filled(path: Path) -> list[str]:
    """A database of a few dozen pages: jobs in several states."""
    store = SqliteStore(path)
    jobs = [store.accept(new_job(labels={"who": "x"}))[0].job_id for _ in range(40)]
    for job_id in jobs[:30]:
        store.claim(job_id, ("cpu",))
        store.ingest(job_id, 1, EVENTS, 100)
    for job_id in jobs[:20]:
        store.settle(job_id, 1, "succeeded", {"status": "success"}, None)
    store.close()
    return jobs


def reads(store: SqliteStore, jobs: list[str]) -> list[Callable[[], object]]:
    """What a service asks of its store."""
    return [
        lambda: store.list(limit=100),
        lambda: [store.get(job_id) for job_id in jobs],
        lambda: [store.events(job_id, after=-1) for job_id in jobs],
        lambda: store.queue(100),
        store.active,
        store.counts,
        store.ids,
        store.tokens.all,
        store.tombstones.settled,
    ]


def writes(store: SqliteStore, jobs: list[str]) -> list[Callable[[], object]]:
    """What it tells it. Where a row is there and says what nobody has written, they may refuse in other words."""
    return [
        lambda: store.accept(new_job()),
        lambda: store.claim(jobs[35], ("cpu",)),
        lambda: store.ingest(jobs[25], 1, EVENTS, 200),
        lambda: store.settle(jobs[26], 1, "failed", {"status": "error"}, None),
        lambda: store.tombstones.bury(jobs[5]),
    ]


def what_is_said_of(path: Path, jobs: list[str]) -> Iterator[str]:
    """The message of each reading, or of opening it, that finds damage; none fails in another way."""
    try:
        store = SqliteStore(path)
    except StoreUnavailable as error:
        yield str(error)
        return
    for read in reads(store, jobs):
        try:
            read()
        except StoreBroken as error:
            yield str(error)
    store.close()


@pytest.mark.parametrize("number", range(rounds(small=12, large=400)))
def test_a_damaged_database_is_said_to_be_one_with_the_next_move(tmp_path: Path, chance: random.Random, number: int):
    path = tmp_path / "jobs.db"
    jobs = filled(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(chance.choice((1, 5, 30))):
            # Not the first page: with the schema gone it cannot be opened, which is said in another place.
            file.seek(chance.randrange(PAGE, size))
            file.write(chance.randbytes(chance.choice((1, 8, 200, PAGE))))
    for text in what_is_said_of(path, jobs):
        assert str(path) in text
        assert text.endswith(
            "Put a copy of it back, move it away to begin with none, or set PT_HOME to another folder."
        )
        # None of what stands in the rows.
        assert "success" not in text
        assert len(text) < 400


def test_most_damage_is_noticed(tmp_path: Path):
    """That the test above does not pass for want of damage."""
    path = tmp_path / "jobs.db"
    jobs = filled(path)
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * (path.stat().st_size - PAGE))
    store = SqliteStore(path)
    for use in (*reads(store, jobs), *writes(store, jobs)):
        with pytest.raises(StoreBroken):
            use()
    store.close()


@pytest.mark.parametrize("content", ["'{\"canary'", "CAST(X'ff63616e617279' AS TEXT)"], ids=["no JSON", "no text"])
def test_what_a_damaged_row_holds_is_not_said(tmp_path: Path, content: str):
    path = tmp_path / "jobs.db"
    (job_id, *_) = filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE job SET labels = {content}")
    store = SqliteStore(path)
    with pytest.raises(StoreBroken) as error:
        store.get(job_id)
    store.close()
    assert "is damaged: " in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_what_is_taken_away_takes_nothing_any_more_and_is_used_again_when_it_is_back(tmp_path: Path, instead: str):
    with listening(tmp_path) as service:
        database, away = service.settings.database, tmp_path / "away.db"
        before = service.submit(WHOLE)
        service.settled(before)
        database.rename(away)
        if instead == "another":
            shutil.copy(away, database)
        problem = check_problem(service.client.post("/v1/jobs", json=service.model(WHOLE)), 503, "store_broken")
        assert (problem["retryable"], problem["recovery"]) == (False, "ask_owner")
        assert f"The database {database} was taken away or replaced" in problem["detail"]
        assert "Put it back" in problem["detail"]
        for path in ("/readyz", f"/v1/jobs/{before}", "/v1/jobs"):
            check_problem(service.client.get(path), 503, "store_broken")
        assert service.client.get("/healthz").status_code == 200
        assert "\npytorch_trainer_store_up 0.0\n" in service.client.get("/metrics").text
        assert [folder.name for folder in service.settings.jobs.iterdir()] == [before]
        away.rename(database)
        assert service.settled(service.submit(WHOLE))["state"] == "succeeded"
        assert len(service.client.get("/v1/jobs").json()["jobs"]) == 2


@in_a_loop
async def test_what_was_trained_outlives_the_database(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with Scene(tmp_path) as scene:
        trained = scene.submit("(job / 'run').mkdir(); (job / 'run/weights').write_text('x'); end('succeeded')")
        await scene.settled(trained)
    for file in tmp_path.glob("pytorch-trainer.db*"):
        file.unlink()
    async with Scene(tmp_path) as scene:
        assert (scene.settings.jobs / trained / "run/weights").read_text() == "x"
        assert f"1 folders in {scene.settings.jobs} are of jobs that the database does not know" in caplog.text
        assert trained in caplog.text
        assert scene.store.ids() == frozenset()


@in_a_loop
async def test_a_job_whose_folder_was_deleted_by_hand_says_so_and_the_next_one_runs(tmp_path: Path):
    async with Scene(tmp_path) as scene:
        running = scene.submit("epoch(1); gate('go'); end('succeeded')")
        await scene.said(running, "epoch.completed")
        queued, after = scene.submit("end('succeeded')"), scene.submit("epoch(1); end('succeeded')")
        shutil.rmtree(scene.settings.jobs / queued)
        (scene.settings.jobs / running / "go").write_bytes(b"")
        row = await scene.settled(queued)
        assert row.payload is not None
        error = row.payload["error"]
        assert (row.state, error["code"], error["recovery"]) == ("failed", "internal", "use_other_operation")
        assert str(scene.settings.jobs / queued / "model.py") in error["message"]
        assert error["nextMove"].startswith("Retry the job")
        assert (await scene.settled(after)).state == "succeeded"
