"""What is promised to be on disk is there when it is said: nothing that a loss of power could undo is left by then. As the
kernel sees it, call by call."""

from pathlib import Path

from tests.disk_trace import Disk, traced

ACCEPTS = """
import sys
from pathlib import Path
from app.job_folder import make_job_folder
from app.store.sqlite import SqliteStore
from tests.app.scene import new_job
home = Path(sys.argv[1]) / "home"
store = SqliteStore(home / "jobs.db")
job = new_job()
make_job_folder(home / "jobs", job.job_id, b"the model")
store.accept(job)
print("ACCEPTED", flush=True)
store.claim(job.job_id, ("cpu",))
store.settle(job.job_id, 1, "failed", {"status": "error"}, None)
print("SETTLED", flush=True)
"""
SAVES = """
import sys
from pathlib import Path
from tests.trainer_core.checkpoints.test_checkpoint import snapshot
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
parts, folder = snapshot().packed(), CheckpointFolder(Path(sys.argv[1]) / "run", 1)
for epoch in (1, 2):
    folder.save(parts, kind="epoch", epoch=epoch, step=epoch, is_best=True)
    print("SAVED", flush=True)
"""


def test_a_job_is_accepted_and_settled_on_disk(tmp_path: Path):
    home = tmp_path / "home"
    disk, said = Disk(home), []
    for call in traced(ACCEPTS, tmp_path):
        for what, of in disk.apply(call):
            if what == "said" and of in ("ACCEPTED", "SETTLED"):
                said.append(of)
                # The log of the database is what counts; its index is made anew, and the file itself follows.
                follows = {str(home / "jobs.db"), str(home / "jobs.db-shm")}
                assert disk.loose - follows == set()
    assert said == ["ACCEPTED", "SETTLED"]


def test_a_checkpoint_is_whole_on_disk_before_it_has_its_name_and_named_before_it_is_said(tmp_path: Path):
    run = tmp_path / "run"
    disk, written, saved, placed = Disk(run), 0, 0, 0
    for call in traced(SAVES, tmp_path):
        for what, of in disk.apply(call):
            if what == "write" and of.endswith(".tmp/manifest.json"):
                inside = {loose for loose in disk.loose if ".tmp/" in loose and not loose.endswith("/")}
                assert inside - {of} == set(), "the manifest vouches for files that may be lost"
                written += 1
            elif what == "rename" and of.startswith(f"{run}/epoch-") and not of.endswith((".tmp", ".old")):
                assert {loose for loose in disk.loose if ".tmp/" in loose} == set()
                placed += 1
            elif what == "make" and of in (f"{run}/latest.tmp", f"{run}/best.tmp"):
                pointers = {f"{run}/", f"{run}/latest.tmp", f"{run}/best.tmp"}
                assert disk.loose - pointers == set(), "it would point to what may be lost"
                assert of.endswith("best.tmp") or disk.loose == set()
                assert placed > saved
            elif what == "said" and of == "SAVED":
                # That an older one is being removed may be undone: it is whole, or not a checkpoint by its name.
                assert {loose for loose in disk.loose if loose != f"{run}/"} == set()
                saved += 1
    assert (written, placed, saved) == (2, 2, 2)


def test_a_checkpoint_waits_for_the_disk_no_oftener_than_it_must(tmp_path: Path):
    """Each wait is time in which the training has a core less: four files and their folder, the name of that folder, two pointers
    and their names."""
    run = tmp_path / "run"
    disk, waits, since = Disk(run), [], 0
    for call in traced(SAVES, tmp_path):
        for what, of in disk.apply(call):
            since += what in ("fsync", "fdatasync")
            if (what, of) == ("said", "SAVED"):
                waits.append(since)
                since = 0
    assert waits == [9, 9]
