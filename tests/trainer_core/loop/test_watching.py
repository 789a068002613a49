"""A real run is watched: every figure is there, faults are said, and what was seen survives a resume."""

import time
from pathlib import Path

import pytest

from schemas.events import Alert, CheckpointSaved, EpochCompleted, Step
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.stop import Stop

SLOW = """
import time

import torch
from torch import nn


class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return torch.full((6,), float(index % 3)), index % 3


def build_dataset(path, split):
    return Slow()


def build_model():
    return nn.Linear(6, 3)
"""

DEAD = """
import torch
from torch import nn


def build_model():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))
    nn.init.constant_(model[0].bias, -1e4)
    return model
"""


def test_a_report_has_every_figure(bench):
    run = bench.train(trainingConfig={"epochs": 2, "reportEverySeconds": 0})
    last = run.of(Step)[-1]
    assert None not in last.model_dump().values()
    assert last.memory_bytes < last.memory_limit_bytes
    assert 0 <= last.data_wait_share < 1
    losses = [step.loss for step in run.of(Step)]
    assert last.loss_moving_average == pytest.approx(sum(losses) / len(losses))
    (*_, ends) = [step.loss_average for step in run.of(Step)]
    assert ends == pytest.approx(run.of(EpochCompleted)[-1].train_loss)


def test_a_row_says_where_the_time_of_its_epoch_went(bench):
    began = time.monotonic()
    run = bench.train(trainingConfig={"epochs": 2})
    rows = run.of(EpochCompleted)
    assert sum(row.seconds for row in rows) < time.monotonic() - began
    for row in rows:
        assert row.samples_per_second == pytest.approx(70 / (row.seconds - row.evaluation_seconds))
    assert [row.step for row in rows] == [5, 10]
    assert all(0 < row.data_wait_seconds < row.seconds for row in rows)
    assert all(0 < row.evaluation_seconds < row.seconds for row in rows)
    assert all(saved.seconds > 0 for saved in run.of(CheckpointSaved))


def test_a_loop_that_waits_for_its_data_says_so_in_its_row(bench):
    bench.write_model(SLOW)
    run = bench.train(
        dataConfig={"format": "modelFile", "numWorkers": 0}, trainingConfig={"epochs": 2, "reportEverySeconds": 0}
    )
    for row in run.of(EpochCompleted):
        assert 32 * 0.002 <= row.data_wait_seconds <= row.seconds - row.evaluation_seconds
    assert run.of(Step)[-1].data_wait_share > 0.5


def test_steps_between_two_reports_are_watched_too(bench):
    bench.write_model(DEAD)
    run = bench.train(dataConfig={"batchSize": 2}, trainingConfig={"epochs": 1, "reportEverySeconds": 3600})
    assert run.of(Step) == []
    assert [alert.evidence for alert in run.of(Alert) if alert.code == "dead_start"] == [{"step": 20, "gradNorm": 0.0}]


def test_what_monitors_saw_survives_a_stop_in_mid_epoch(bench, stopping_channel):
    def seen(folder: Path) -> dict:
        return load_snapshot(folder).state["reporting"]

    settings = {"epochs": 4, "reportEverySeconds": 0}
    whole = bench.train("whole", trainingConfig=settings)
    stop = Stop()
    cut = bench.train("cut", channel=stopping_channel(stop, "step", 12), stop=stop, trainingConfig=settings)
    rest = bench.train("rest", trainingConfig=settings, checkpointConfig={"resumeFrom": str(cut.run_folder)})
    final, expected = (Path(run.of(CheckpointSaved)[-1].path) for run in (rest, whole))
    assert final.name == expected.name
    after, before = seen(final), seen(expected)
    # The clock of the loader's alert is the only part that no two runs share.
    after["monitors"].pop("loader_bound"), before["monitors"].pop("loader_bound")
    assert after == before
    assert len(after["losses"]) == 20
