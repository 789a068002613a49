"""Deleted jobs: gone as a whole or there as a whole, by the policy and no other, and never with what is the user's."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.clock import from_now
from app.disposal import Disposal, Policy
from app.job_folder import make_job_folder, remove_strays
from app.settings import Settings
from app.store.interface import IllegalTransition, InUse, KeyConflict, KeyOfDeleted
from app.store.sqlite import SqliteStore
from schemas.events import EpochStarted
from tests.app.scene import line, new_job, request
from tests.tiers import rounds

DAY = 86_400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", workspace=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[SqliteStore]:
    store = SqliteStore(settings.database)
    yield store
    store.close()


def settle(store: SqliteStore, settings: Settings, **changes: object) -> str:
    """A job that has succeeded, with events and a folder."""
    job = new_job(**changes)
    make_job_folder(settings.jobs, job.job_id, b"a model")
    store.accept(job)
    store.claim(job.job_id, ("cpu",))
    store.ingest(job.job_id, 1, [line(EpochStarted(epoch=n, epochs=20, steps=1)) for n in range(1, 21)], 100)
    assert store.settle(job.job_id, 1, "succeeded", {"status": "success"}, None)
    return job.job_id


def test_a_deleted_job_leaves_a_tombstone_and_nothing_else(store: SqliteStore, settings: Settings):
    job_id, other = settle(store, settings), settle(store, settings)
    before = store.get(job_id)
    assert before is not None
    disposal = Disposal(settings, store)
    assert disposal.delete(job_id)
    assert not disposal.delete(job_id)
    assert store.get(job_id) is None
    assert store.events(job_id, after=-1) == []
    assert not (settings.jobs / job_id).exists()
    left = store.tombstones.get(job_id)
    assert left is not None
    assert (left.state, left.input_sha256, left.finished_at) == ("succeeded", before.input_sha256, before.finished_at)
    # printf '{"status":"success"}' | sha256sum
    assert left.payload_sha256 == "912d0c07da7bdb22cdae025b96da26d01523aaab7362edb28544e3949deb369d"
    assert [row.job_id for row in store.list()] == [other]
    assert len(store.events(other, after=-1)) == 22


def test_a_job_that_has_not_ended_or_is_gone_on_from_stays(store: SqliteStore, settings: Settings):
    job_id = settle(store, settings)
    resumed = request(checkpointConfig={"resumeFrom": str(settings.jobs / job_id / "run")})
    user = store.accept(new_job(request=resumed))[0].job_id
    disposal = Disposal(settings, store)
    with pytest.raises(IllegalTransition):
        disposal.delete(user)
    with pytest.raises(InUse, match=user):
        disposal.delete(job_id)
    assert (settings.jobs / job_id / "model.py").exists()
    assert store.claim(user, ("cpu",)) is not None
    assert store.settle(user, 1, "failed", {"status": "error"}, None)
    assert disposal.delete(job_id)


def test_a_job_stays_while_another_goes_on_from_it_by_way_of_a_third(store: SqliteStore, settings: Settings):
    first = settle(store, settings)
    by_way = request(checkpointConfig={"resumeFrom": str(settings.jobs / first / "run" / "epoch-0001")})
    second = settle(store, settings, request=by_way)
    resumed = request(checkpointConfig={"resumeFrom": str(settings.jobs / second / "run")})
    user = store.accept(new_job(request=resumed))[0].job_id
    disposal, keeps_none = (
        Disposal(settings, store),
        Settings(home=settings.home, workspace=settings.workspace, keep_bytes=1),
    )
    for job_id in (first, second):
        with pytest.raises(InUse, match=user):
            disposal.delete(job_id)
    assert Disposal(keeps_none, store).sweep() == []
    assert store.claim(user, ("cpu",)) is not None
    assert store.settle(user, 1, "failed", {"status": "error"}, None)
    assert disposal.delete(first)


def test_a_key_outlives_its_job(store: SqliteStore, settings: Settings):
    job_id = settle(store, settings, idempotency_key="k")
    Disposal(settings, store).delete(job_id)
    with pytest.raises(KeyOfDeleted) as gone:
        store.accept(new_job(idempotency_key="k"))
    assert gone.value.tombstone.job_id == job_id
    with pytest.raises(KeyConflict):
        store.accept(new_job(idempotency_key="k", input_sha256="c" * 64))
    assert store.list() == []


def test_each_rule_of_the_policy_keeps_the_newest():
    settled = [(f"job_{age}", from_now(-age * DAY - 60)) for age in (0, 1, 2, 3, 4)]
    sizes = dict(zip([job for job, _ in settled], [4, 3, 2, 1, 1], strict=True))

    def superfluous(**rules: int) -> list[str]:
        return list(Policy(**rules).superfluous(settled, sizes.__getitem__))

    assert superfluous() == []
    assert superfluous(days=3) == ["job_3", "job_4"]
    assert superfluous(jobs=2) == ["job_2", "job_3", "job_4"]
    assert superfluous(bytes=9) == ["job_3", "job_4"]
    assert superfluous(bytes=11, days=4, jobs=5) == ["job_4"]
    assert superfluous(bytes=1) == [job for job, _ in settled]


def test_a_sweep_deletes_what_the_policy_does_not_keep_and_no_more(store: SqliteStore, tmp_path: Path):
    settings = Settings(home=tmp_path / "home", workspace=tmp_path, keep_jobs=2)
    jobs = [settle(store, settings) for _ in range(5)]
    resumed = request(checkpointConfig={"resumeFrom": str(settings.jobs / jobs[0] / "run")})
    waiting = store.accept(new_job(request=resumed))[0].job_id
    assert Disposal(settings, store).sweep() == [jobs[2], jobs[1]]
    assert [row.job_id for row in store.list()] == [waiting, jobs[4], jobs[3], jobs[0]]
    assert Disposal(settings, store).sweep() == []
    large = settings.jobs / jobs[3] / "run"
    large.mkdir()
    (large / "weights").write_bytes(b"\0" * (2 << 20))
    by_size = Settings(home=settings.home, workspace=tmp_path, keep_bytes=1 << 20)
    assert Disposal(by_size, store).sweep() == [jobs[3]]
    assert Disposal(Settings(home=settings.home, workspace=tmp_path), store).sweep() == []


DELETES = """
import sys
from pathlib import Path
from app.disposal import Disposal
from app.settings import Settings
from app.store.sqlite import SqliteStore
settings = Settings(home=Path(sys.argv[1]), workspace=Path(sys.argv[1]))
store = SqliteStore(settings.database)
disposal = Disposal(settings, store)
for job_id in sys.argv[2:]:
    print(job_id, flush=True)
    disposal.delete(job_id)
"""


@pytest.mark.parametrize("number", range(rounds(small=4, large=100)))
def test_who_is_killed_while_it_deletes_leaves_each_job_whole_or_gone(
    settings: Settings, chance: random.Random, number: int
):
    store = SqliteStore(settings.database)
    jobs = [settle(store, settings) for _ in range(12)]
    store.close()
    command = [sys.executable, "-c", DELETES, str(settings.home), *jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(chance.randint(1, len(jobs))):
            child.stdout.readline()
        for _ in range(chance.randint(0, 20_000)):
            pass
        child.kill()
    assert child.returncode in (0, -signal.SIGKILL)
    store = SqliteStore(settings.database)
    remove_strays(settings.jobs, store.ids, store.tombstones.get)
    for job_id in jobs:
        row, left = store.get(job_id), store.tombstones.get(job_id)
        assert (row is None) is (left is not None)
        assert len(store.events(job_id, after=-1)) == (0 if row is None else 22)
        assert (settings.jobs / job_id / "model.py").exists() is (row is not None)
    store.close()


def test_a_folder_that_was_left_behind_is_taken_away_at_the_next_start(store: SqliteStore, settings: Settings):
    job_id, kept = settle(store, settings), settle(store, settings)
    (settings.jobs / job_id / "run").mkdir()
    assert store.tombstones.bury(job_id)
    assert (settings.jobs / job_id).exists()
    remove_strays(settings.jobs, store.ids, store.tombstones.get)
    assert [path.name for path in settings.jobs.iterdir()] == [kept]
