"""metrics.csv, from events."""

import pytest

from schemas.events import EpochCompleted, RunRestored
from schemas.result import EpochRow
from trainer_core.trackers.csv import MetricsTable, write_metrics
from trainer_core.trackers.event_log import EventLog

HEADER = (
    "epoch,trainLoss,valLoss,trainAccuracy,valAccuracy,learningRate,seconds,samplesPerSecond,"
    "step,dataWaitSeconds,evaluationSeconds"
)


@pytest.fixture
def scene(make_attempt):
    attempt = make_attempt()
    return attempt, MetricsTable(attempt.run_folder), EventLog(attempt.folder)


def test_one_row_per_epoch_and_nothing_where_nothing_was_measured(scene):
    attempt, table, log = scene
    attempt.say(EpochCompleted(epoch=1, train_loss=0.1, val_accuracy=1.0, seconds=2.5))
    table.take(log.read())
    attempt.say(EpochCompleted(epoch=2, train_loss=1e-9))
    table.take(log.read())
    assert attempt.metrics == f"{HEADER}\n1,0.1,,,1.0,,2.5,,,,\n2,1e-09,,,,,,,,,\n"


def test_a_figure_that_comes_later_gets_a_column(scene):
    attempt, table, log = scene
    attempt.say(EpochCompleted(epoch=1, metrics={"valF1": 0.5}))
    table.take(log.read())
    attempt.say(EpochCompleted(epoch=2, metrics={"valAuc": 0.25, "valF1": 0.5}))
    table.take(log.read())
    assert attempt.metrics == f"{HEADER},valF1,valAuc\n1,,,,,,,,,,,0.5,\n2,,,,,,,,,,,0.5,0.25\n"


def test_a_restored_run_begins_with_its_history(scene):
    attempt, table, log = scene
    attempt.run_folder.mkdir(parents=True)
    (attempt.run_folder / "metrics.csv").write_text("what an earlier attempt left, epoch 3 included")
    history = [EpochRow(epoch=1, train_loss=4.0), EpochRow(epoch=2, train_loss=3.0)]
    attempt.say(RunRestored(path="/c", epoch=2, step=20, history=history), EpochCompleted(epoch=3, train_loss=2.0))
    table.take(log.read())
    assert attempt.metrics == f"{HEADER}\n1,4.0,,,,,,,,,\n2,3.0,,,,,,,,,\n3,2.0,,,,,,,,,\n"


def test_a_batch_that_failed_is_written_once_when_it_is_given_again(scene):
    attempt, table, log = scene
    attempt.say(EpochCompleted(epoch=1, train_loss=4.0))
    table.take(log.read())
    attempt.say(EpochCompleted(epoch=2, train_loss=3.0), EpochCompleted(epoch=3, train_loss=2.0))
    lines = log.read()
    path = attempt.run_folder / "metrics.csv"
    aside = path.rename(path.with_suffix(".aside"))
    with pytest.raises(FileNotFoundError):
        table.take(lines)
    aside.write_bytes(aside.read_bytes() + b"2,3.0,,,")  # as a full disk leaves it
    aside.rename(path)
    table.take(lines)
    assert attempt.metrics == f"{HEADER}\n1,4.0,,,,,,,,,\n2,3.0,,,,,,,,,\n3,2.0,,,,,,,,,\n"


def test_the_table_of_an_earlier_attempt_stays_until_there_is_a_row(scene):
    attempt, table, _ = scene
    table.close("failed")
    assert attempt.metrics == f"{HEADER}\n"
    (attempt.run_folder / "metrics.csv").write_text("an earlier attempt")
    MetricsTable(attempt.run_folder).close("failed")
    assert attempt.metrics == "an earlier attempt"


def test_the_whole_table_comes_from_the_log_alone(make_attempt):
    attempt = make_attempt()
    attempt.run()
    write_metrics(attempt.folder, attempt.run_folder)
    rows = attempt.metrics.splitlines()
    assert rows[0] == f"{HEADER},valR2"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3"]
