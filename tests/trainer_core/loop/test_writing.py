"""Checkpoints that are written while training goes on: what they hold, how long training waits, and what a failure does."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from schemas.events import CheckpointSaved, EpochCompleted, EventData, RecoveryMade, RunRestored, Step
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder, Parts
from trainer_core.checkpoints.host_copy import HostCopy
from trainer_core.checkpoints.snapshot import PackedSnapshot, Snapshot, load_snapshot
from trainer_core.loop.writing import BackgroundWriting
from trainer_core.stop import Stop

EACH_STEP = {"saveEverySteps": 1, "keepLast": 100}


def packed(model: nn.Module, optimizer: torch.optim.Optimizer) -> PackedSnapshot:
    return Snapshot(model.state_dict(), optimizer.state_dict(), {"step": [1]}, []).packed()


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()


@pytest.fixture
def writing() -> Iterator[BackgroundWriting]:
    made = BackgroundWriting()
    yield made
    made.close()


class Held:
    """A folder's ``save`` that waits for a word before it reads what it is to write."""

    def __init__(self, folder: Path) -> None:
        self.folder = CheckpointFolder(folder, 10)
        self.go = threading.Event()

    def write(self, parts: Parts, went_on: float | None) -> None:
        assert self.go.wait(60)
        assert went_on is not None
        self.folder.save(parts, kind="step", epoch=1, step=1, is_best=False)


def test_later_steps_do_not_change_what_is_written(tmp_path: Path, writing: BackgroundWriting) -> None:
    """Tied weights, buffers, the optimizer's state and strides included; the writer reads after the steps."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(model, optimizer)
    before = CheckpointFolder(tmp_path / "at_once", 1).save(
        packed(model, optimizer), kind="step", epoch=1, step=1, is_best=False
    )
    held = Held(tmp_path / "later")
    writing.begin(packed(model, optimizer), held.write)
    for _ in range(3):
        step(model, optimizer)
    held.go.set()
    writing.wait()
    for name in ("model.safetensors", "training.safetensors", "training.json"):
        then, now = (tmp_path / side / Path(before.path).name / name for side in ("at_once", "later"))
        assert then.read_bytes() == now.read_bytes(), name


def test_one_checkpoint_at_a_time(tmp_path: Path, writing: BackgroundWriting) -> None:
    """The second is begun only when the first is on disk: they share the room for the copy."""
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    begun, seen = threading.Event(), []

    def first(_parts: Parts, _went_on: float | None) -> None:
        seen.append("the second was begun" if begun.wait(0.3) else "first")

    writing.begin(packed(model, optimizer), first)
    writing.begin(packed(model, optimizer), lambda _parts, _went_on: seen.append("second"))
    begun.set()
    writing.wait()
    assert seen == ["first", "second"]


def test_a_state_for_whose_copy_there_is_no_room_is_written_at_once(writing: BackgroundWriting) -> None:
    """Training waits for the disk; nothing of it is copied."""
    most = torch.zeros(1).expand(1 << 45)
    state = PackedSnapshot({}, {"model": {"weight": most}}, {})
    written: list[tuple[Parts, float | None]] = []
    writing.begin(state, lambda parts, went_on: written.append((parts, went_on)))
    assert written == [(state, None)]


def test_the_room_is_kept_and_grows_with_the_state() -> None:
    model = nn.Linear(300, 300)
    optimizer = torch.optim.AdamW(model.parameters())
    copy = HostCopy()
    first = copy.take(packed(model, optimizer)).tensors["model"]["weight"]
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    state = packed(model, optimizer)
    elements = 2 * (300 * 300 + 300)
    assert elements * 4 <= copy.missing(state) <= elements * 4 + 100
    second = copy.take(state).tensors["model"]["weight"]
    assert copy.missing(state) == 0
    assert first.data_ptr() == second.data_ptr()
    assert second.equal(model.weight)


class Waiting(Channel):
    """Whoever says that the first checkpoint is saved waits until step 8 is taken, which waits for that word in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._stepped, self._saved = threading.Event(), threading.Event()
        self.in_time: list[bool] = []

    def emit(self, data: EventData) -> None:
        if isinstance(data, CheckpointSaved):
            self.in_time.append(self._stepped.wait(60))
        super().emit(data)
        if isinstance(data, CheckpointSaved):
            self._saved.set()
        if isinstance(data, Step) and data.step == 8:
            self._stepped.set()
            self.in_time.append(self._saved.wait(60))


def test_steps_go_on_while_a_checkpoint_is_written(bench) -> None:
    """The one after the first epoch, of five steps, is not said before step 8 is taken."""
    channel = Waiting()
    run = bench.train(channel=channel, trainingConfig={"epochs": 2, "reportEverySeconds": 0})
    assert channel.in_time == [True, True, True]
    order = [type(data) for data in run.said if isinstance(data, CheckpointSaved | EpochCompleted)]
    assert order == 2 * [EpochCompleted, CheckpointSaved]
    first, _last = run.of(CheckpointSaved)
    assert 0 < first.stall_seconds < first.seconds


@pytest.mark.parametrize("averaging", [None, {"method": "ema"}], ids=["plain", "ema"])
def test_every_checkpoint_is_the_one_that_is_written_at_once(bench, averaging) -> None:
    runs = [
        bench.train(
            name,
            modelConfig={"args": {"dropout": 0.3}},
            trainingConfig={"epochs": 2, "weightAveraging": averaging},
            checkpointConfig={**EACH_STEP, "asyncSave": name == "behind"},
        )
        for name in ("at_once", "behind")
    ]
    saved = [[(item.kind, item.epoch, item.step, item.is_best) for item in run.of(CheckpointSaved)] for run in runs]
    assert saved[0] == saved[1]
    assert len(saved[0]) == 12
    for one, other in zip(*(run.of(CheckpointSaved) for run in runs), strict=True):
        for name in ("model.safetensors", "training.safetensors"):
            then, now = (Path(item.path) / name for item in (one, other))
            assert then.read_bytes() == now.read_bytes(), (one.step, name)
    assert all(item.stall_seconds == item.seconds for item in runs[0].of(CheckpointSaved))
    assert [(runs[0].run_folder / name).read_text() for name in ("best", "latest")] == [
        (runs[1].run_folder / name).read_text() for name in ("best", "latest")
    ]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, for this process: a longer file is an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_cannot_be_written_fails_the_run_at_the_next_look(bench) -> None:
    bench.write_data(train=1999)
    channel = Channel()
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        bench.train(channel=channel, dataConfig={"batchSize": 1}, checkpointConfig={"saveEverySteps": 1000})
    assert not [data for data in channel.said if isinstance(data, CheckpointSaved)]
    assert not [data for data in channel.said if isinstance(data, EpochCompleted)]


@pytest.mark.parametrize("ending", ["asked to stop", "final"])
def test_a_run_whose_last_checkpoint_cannot_be_written_has_not_ended_well(bench, ending: str) -> None:
    """Nor is it paused: the worker ends with the failure."""
    stop = Stop()

    class Asking(Channel):
        def emit(self, data: EventData) -> None:
            super().emit(data)
            stop.requested = stop.requested or (ending != "final" and isinstance(data, Step))

    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        bench.train(channel=Asking(), stop=stop, trainingConfig={"epochs": 1, "reportEverySeconds": 0})
    assert not list((bench.folder / "runs" / "run").glob("*-*"))


EXPLODING = """
import torch
from torch import nn


class Network(nn.Sequential):
    def forward(self, x):
        global calls
        calls += 1
        return super().forward(x) * (float("nan") if calls in (10, 11, 12) else 1.0)


calls = -4


def build_model():
    return Network(nn.Linear(6, 3))
"""


class Slow(Channel):
    """Whoever says that a checkpoint is saved gives the run time to go back before that."""

    def __init__(self) -> None:
        super().__init__()
        self._back = threading.Event()

    def emit(self, data: EventData) -> None:
        if isinstance(data, CheckpointSaved):
            self._back.wait(0.05)
        super().emit(data)
        if isinstance(data, RunRestored):
            self._back.set()


def test_going_back_waits_for_the_checkpoint_that_is_being_written(bench) -> None:
    """It goes back to the step right before the one that was refused: that one's checkpoint was begun last."""
    bench.write_model(EXPLODING)
    channel = Slow()
    run = bench.train(
        channel=channel,
        dataConfig={"valPath": None},
        trainingConfig={"epochs": 3, "recovery": {"maxSkips": 0}},
        checkpointConfig={"saveEverySteps": 1, "keepLast": 50},
    )
    back, refused = run.of(RunRestored), run.of(RecoveryMade)
    assert back
    assert back[0].step == refused[0].step - 1
    said = [data.step for data in run.said[: run.said.index(back[0])] if isinstance(data, CheckpointSaved)]
    assert said[-1] == back[0].step
    load_snapshot(Path(back[0].path))
