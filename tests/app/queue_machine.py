"""A model of the queue, beside the real store: whatever is done to it in whatever order, both say the same.

``python -m tests.app.queue_machine EXAMPLES STEPS SEED [STATEMENT]``; with the name of a statement of ``queries.sql`` that
one has lost its fence. Where ``clock.c`` is preloaded the wall clock jumps, too.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.store import sqlite
from app.store.interface import IllegalTransition, KeyConflict
from app.store.sqlite import SqliteStore
from schemas.events import (
    AttemptFailed,
    EpochStarted,
    JobCancelling,
    JobPausing,
    JobResumed,
    JobStopping,
    Log,
    RunFinalizing,
)
from schemas.job import ACTIVE, TERMINAL, TRANSITIONS, JobState
from tests.app.scene import line, new_job

# A store in memory still has its file, its log and its locks; only the disk is faster.
_FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else None
_ORDERS = {"pausing": JobPausing, "stopping": JobStopping, "cancelling": JobCancelling, "queued": JobResumed}
_SAID = {
    "epoch.started": EpochStarted(epoch=1, epochs=9, steps=9),
    "run.finalizing": RunFinalizing(epochs_trained=1, seconds=1.0),
    "log": Log(level="info", stream="worker", text="said"),
}
_IMPLIED: dict[str, JobState] = {"epoch.started": "running", "run.finalizing": "finalizing"}
_YEARS = 40 * 365 * 86400


@dataclass
class Model:
    """What the store should hold of one job."""

    job_id: str
    state: JobState = "queued"
    attempt: int = 0
    kinds: list[str] = field(default_factory=lambda: ["job.queued"])
    offsets: dict[int, int] = field(default_factory=dict)
    payload: dict[str, object] | None = None

    def move(self, state: JobState) -> bool:
        """Go there, if there is a way."""
        if state not in TRANSITIONS[self.state]:
            return False
        self.state = state
        return True


class QueueMachine(RuleBasedStateMachine):
    """Clients, supervisors of now and of before, workers of now and of before, at one store."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=_FOLDER))
        self.store = SqliteStore(self.folder / "jobs.db")
        self.order: list[Model] = []
        self.keys: dict[str, tuple[str, str]] = {}

    def teardown(self) -> None:
        """The whole history of each job, once."""
        for job in self.order:
            events = self.store.events(job.job_id, after=-1)
            assert [event.type for event in events] == job.kinds
            assert [event.seq for event in events] == list(range(len(events)))
            row = self.store.get(job.job_id)
            assert row is not None
            assert row.payload == job.payload
        self.store.close()
        shutil.rmtree(self.folder)

    @initialize(target=jobs)
    def first(self) -> Model:
        """There is always one job."""
        return self._accept(None, "a")

    @rule(target=jobs, key=st.none() | st.sampled_from("xyz"), body=st.sampled_from("ab"))
    def accept(self, key: str | None, body: str) -> Model:
        """A client submits, with a key that may be known."""
        return self._accept(key, body)

    def _accept(self, key: str | None, body: str) -> Model:
        job = new_job(idempotency_key=key, input_sha256=body * 64)
        known = self.keys.get(key) if key is not None else None
        if known is not None:
            found = next(model for model in self.order if model.job_id == known[0])
            if known[1] != body:
                with pytest.raises(KeyConflict, match=known[0]):
                    self.store.accept(job)
                return found
            row, new = self.store.accept(job)
            assert (row.job_id, new) == (known[0], False)
            return found
        row, new = self.store.accept(job)
        assert (row.job_id, row.state, row.attempt, new) == (job.job_id, "queued", 0, True)
        self.order.append(Model(job.job_id))
        if key is not None:
            self.keys[key] = (job.job_id, body)
        return self.order[-1]

    @rule(job=jobs)
    def claim(self, job: Model) -> None:
        """A supervisor takes the job, if it is there to be taken."""
        row = self.store.claim(job.job_id, ("cpu",))
        assert (row is not None) == job.move("preparing")
        if row is not None:
            job.attempt += 1
            job.offsets[job.attempt] = 0
            assert row.attempt == job.attempt

    @rule(job=jobs, ago=st.integers(0, 2), kind=st.sampled_from(sorted(_SAID)), step=st.integers(-1, 2))
    def ingest(self, job: Model, ago: int, kind: str, step: int) -> None:
        """A worker of this attempt, or of one before, is heard; or heard again."""
        attempt = job.attempt - ago
        if attempt < 1:
            return
        offset = job.offsets.get(attempt, 0) + step
        stored = self.store.ingest(job.job_id, attempt, [line(_SAID[kind])], offset)
        counts = ago == 0 and job.state not in TERMINAL and step > 0
        assert [event.type for event in stored] == ([kind] if counts else [])
        if counts:
            job.offsets[attempt] = offset
            job.kinds.append(kind)
            if kind in _IMPLIED:
                job.move(_IMPLIED[kind])
        assert self.store.offset(job.job_id, attempt) == job.offsets.get(attempt, 0)

    @rule(job=jobs, state=st.sampled_from(sorted(_ORDERS)))
    def order_given(self, job: Model, state: JobState) -> None:
        """A client asks for something."""
        data = _ORDERS[state](reason="asked")
        try:
            self.store.say(job.job_id, data, state=state)
        except IllegalTransition:
            assert state not in TRANSITIONS[job.state]
        else:
            assert job.move(state)
            job.kinds.append(data.event_type)

    @rule(job=jobs, ago=st.integers(0, 2), state=st.sampled_from(["queued", "paused"]))
    def release(self, job: Model, ago: int, state: JobState) -> None:
        """A supervisor, of this attempt or one before, gives the job back."""
        data, ago = AttemptFailed(code="worker_lost", will_retry=True), min(ago, job.attempt)
        done = self.store.release(job.job_id, job.attempt - ago, state, data, None)
        assert done == (ago == 0 and job.move(state))
        if done:
            job.kinds.append(data.event_type)

    @rule(job=jobs, ago=st.integers(0, 2), state=st.sampled_from(sorted(TERMINAL)), value=st.integers(0, 9))
    def settle(self, job: Model, ago: int, state: JobState, value: int) -> None:
        """A supervisor, of this attempt or one before, brings a result."""
        ago = min(ago, job.attempt)
        try:
            done = self.store.settle(job.job_id, job.attempt - ago, state, {"value": value}, None)
        except IllegalTransition:
            assert ago == 0
            assert job.state not in TERMINAL
            assert state not in TRANSITIONS[job.state]
            return
        assert done == (ago == 0 and job.move(state))
        if done:
            job.payload = {"value": value}
            job.kinds.append("job.completed")

    @rule()
    def restart(self) -> None:
        """The service ends and begins."""
        self.store.close()
        self.store = SqliteStore(self.folder / "jobs.db")

    @rule(seconds=st.integers(-_YEARS, _YEARS))
    def jump(self, seconds: int) -> None:
        """Somebody sets the clock."""
        if path := os.environ.get("PT_CLOCK_FILE"):
            with open(path, "r+b") as file:
                file.write(seconds.to_bytes(8, "little", signed=True))

    @invariant()
    def the_queue_is_as_it_should_be(self) -> None:
        """The order is that of acceptance, whatever the clock says."""
        queued = [job.job_id for job in self.order if job.state == "queued"]
        assert [row.job_id for row in self.store.queue(100)] == queued
        active = [(job.job_id, job.state, job.attempt) for job in self.order if job.state in ACTIVE]
        assert [(row.job_id, row.state, row.attempt) for row in self.store.active()] == active
        if queued:
            assert self.store.position(queued[-1]) == len(queued) - 1

    @invariant()
    def every_job_is_as_it_should_be(self) -> None:
        """State, fence and number of the last event."""
        rows = [(row.job_id, row.state, row.attempt, row.last_seq) for row in self.store.list(limit=100)]
        expected = [(job.job_id, job.state, job.attempt, len(job.kinds) - 1) for job in reversed(self.order)]
        assert rows == expected


def main(examples: str, steps: str, number: str, without_fence: str | None = None) -> None:
    """Run the model; raises what it finds."""
    phases = [Phase.generate, Phase.shrink]
    if without_fence is not None:
        phases.remove(Phase.shrink)
        statement = sqlite._SQL[without_fence]
        assert "attempt = :attempt AND" in statement
        sqlite._SQL[without_fence] = statement.replace("attempt = :attempt AND", "")
    rules = settings(
        max_examples=int(examples),
        stateful_step_count=int(steps),
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(int(number))(QueueMachine), settings=rules)


if __name__ == "__main__":
    main(*sys.argv[1:])
