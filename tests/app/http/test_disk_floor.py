"""A disk that is nearly full: nothing new is begun, and everything goes on when there is room."""

from dataclasses import replace
from pathlib import Path

from app.settings import Settings
from tests.app.listening import WHOLE, check_problem, listening
from tests.app.scene import Scene, in_a_loop

MORE_THAN_THERE_IS = 1 << 60


def test_a_submission_is_refused_with_what_is_missing(tmp_path: Path):
    with listening(tmp_path, disk_floor_bytes=MORE_THAN_THERE_IS) as full:
        answer = full.client.post("/v1/jobs", json=full.model(WHOLE))
        problem = check_problem(answer, 503, "disk_full")
        assert "PT_DISK_FLOOR_MIB" in problem["detail"]
        assert answer.headers["retry-after"]
        assert list(full.settings.jobs.glob("*")) == []


@in_a_loop
async def test_a_queued_job_waits_for_room(tmp_path: Path):
    async with Scene(tmp_path, disk_floor_bytes=MORE_THAN_THERE_IS) as scene:
        job_id = scene.submit(WHOLE)
        assert not await scene.supervisor._begin_oldest(scene.supervisor._lines[0])
        assert scene.row(job_id).state == "queued"
    async with Scene(tmp_path) as scene:
        assert (await scene.settled(job_id)).state == "succeeded"


def test_the_floor_is_set_in_mebibytes():
    assert Settings.from_environment({"PT_DISK_FLOOR_MIB": "3"}).disk_floor_bytes == 3 << 20
    assert replace(Settings.from_environment({}), disk_floor_bytes=0).disk_floor_bytes == 0
