"""A run that was interrupted and resumed ends with the weights, to the bit, of one that was not."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from schemas.events import (
    Alert,
    CheckpointSaved,
    EpochCompleted,
    EpochStarted,
    EventData,
    RunFinalizing,
    RunRestored,
    Step,
)
from schemas.optimizers import OPTIMIZERS
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.stop import Stop

# Dropout draws from the generator, accumulation and the short last batch shape the window, plateau and patience count, and
# every step is clipped: a norm that is rounded otherwise shows.
TRAINING = {
    "epochs": 4,
    "gradientClipping": 0.05,
    "gradientAccumulation": 2,
    "optimizer": "AdamW",
    "scheduler": "cosine",
    "reportEverySeconds": 0,
}
DROPOUT = {"args": {"dropout": 0.3}}


def assert_same_weights(first, second):
    mine, others = first.weights(), second.weights()
    assert mine.keys() == others.keys()
    for name, tensor in mine.items():
        assert np.array_equal(tensor, others[name]), name


def figures(run):
    return [(row.epoch, row.train_loss, row.val_loss, row.train_accuracy) for row in run.of(EpochCompleted)]


def test_from_an_epochs_end(bench):
    whole = bench.train("whole", trainingConfig=TRAINING, modelConfig=DROPOUT, checkpointConfig={"keepLast": 10})
    resumed = bench.train(
        "resumed",
        trainingConfig=TRAINING,
        modelConfig=DROPOUT,
        checkpointConfig={"resumeFrom": str(whole.run_folder / "epoch-0002")},
    )
    assert_same_weights(whole, resumed)
    assert figures(resumed) == figures(whole)[2:]
    restored = resumed.of(RunRestored)[0]
    assert (restored.epoch, restored.step) == (2, 6)
    assert [row.epoch for row in restored.history] == [1, 2]
    assert not [alert for alert in resumed.of(Alert) if alert.code != "small_data"]


def test_from_the_middle_of_an_epoch(bench):
    asked = {"saveEverySteps": 1, "keepLast": 100}
    whole = bench.train("whole", trainingConfig=TRAINING, modelConfig=DROPOUT, checkpointConfig=asked)
    step = next(item for item in whole.of(CheckpointSaved) if item.kind == "step" and item.step == 5)
    assert step.epoch == 2
    resumed = bench.train(
        "resumed", trainingConfig=TRAINING, modelConfig=DROPOUT, checkpointConfig={**asked, "resumeFrom": step.path}
    )
    assert_same_weights(whole, resumed)
    assert figures(resumed) == figures(whole)[1:], "running training figures are kept in mid-epoch too"
    assert resumed.of(Step)[0].step == 6


DRAWING = """
import random

import numpy as np
import torch
from torch import nn


class Noisy(nn.Module):
    def forward(self, x):
        return x + random.random() + np.random.normal() if self.training else x


def build_model():
    first = nn.Linear(6, 8)
    nn.init.uniform_(first.weight, -random.random(), np.random.rand())
    return nn.Sequential(first, Noisy(), nn.Linear(8, 3))
"""


def test_draws_from_python_and_numpy_are_those_of_the_seed_and_go_on(bench, stopping_channel):
    """In the model's making and in its passes."""
    bench.write_model(DRAWING)
    whole, again = (bench.train(name, trainingConfig=TRAINING) for name in ("whole", "again"))
    assert_same_weights(whole, again)
    stop = Stop()
    stopped = bench.train("stopped", trainingConfig=TRAINING, stop=stop, channel=stopping_channel(stop, "step", 5))
    resumed = bench.train("resumed", trainingConfig=TRAINING, checkpointConfig={"resumeFrom": str(stopped.run_folder)})
    assert_same_weights(whole, resumed)


def test_after_a_request_to_stop(bench, stopping_channel):
    whole = bench.train("whole", trainingConfig=TRAINING, modelConfig=DROPOUT)
    stop = Stop()
    stopped = bench.train(
        "stopped", trainingConfig=TRAINING, modelConfig=DROPOUT, stop=stop, channel=stopping_channel(stop, "step", 8)
    )
    assert stopped.ending.state == "stopped"
    last = stopped.of(CheckpointSaved)[-1]
    assert (last.kind, last.epoch, last.step) == ("cancel", 3, 9)
    resumed = bench.train(
        "resumed",
        trainingConfig=TRAINING,
        modelConfig=DROPOUT,
        checkpointConfig={"resumeFrom": str(stopped.run_folder)},
    )
    assert_same_weights(whole, resumed)
    assert figures(resumed) == figures(whole)[2:]


def test_before_an_epoch_is_judged_there_is_no_best(bench, stopping_channel):
    """Stopped twice in its first epoch, and the checkpoint that it went on from is kept no longer."""
    changes = {"trainingConfig": TRAINING, "checkpointConfig": {"saveEverySteps": 1, "keepLast": 1}}
    for _ in range(2):
        stop = Stop()
        run = bench.train("run", **changes, stop=stop, channel=stopping_channel(stop, "step", 1))
        assert run.ending.state == "stopped"
        [weights] = [each.path for each in run.ending.artifacts if each.name == "model.safetensors"]
        assert weights == f"{run.of(CheckpointSaved)[-1].path}/model.safetensors"
        changes["checkpointConfig"]["resumeFrom"] = str(run.run_folder)


@pytest.mark.parametrize(
    "scheduler", [{"scheduler": "plateau", "schedulerArgs": {"patience": 0}}, {"scheduler": "OneCycleLR"}]
)
def test_schedules_go_on(bench, scheduler):
    training = {**TRAINING, **scheduler, "learningRate": 0.3}
    whole = bench.train("whole", trainingConfig=training, checkpointConfig={"keepLast": 10})
    resumed = bench.train(
        "resumed", trainingConfig=training, checkpointConfig={"resumeFrom": str(whole.run_folder / "epoch-0003")}
    )
    assert_same_weights(whole, resumed)


def test_latest_is_the_newest_under_the_save_folder(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    runs = {"saveDir": str(first.run_folder.parent), "resumeFrom": "latest"}
    resumed = bench.train("second", checkpointConfig=runs)
    assert resumed.of(RunRestored)[0].path == first.of(CheckpointSaved)[-1].path
    assert [row.epoch for row in resumed.of(EpochCompleted)] == [2, 3]


def test_more_epochs_are_trained_and_said(bench):
    first = bench.train("first", trainingConfig={"epochs": 2})
    longer = bench.train("longer", trainingConfig={"epochs": 4}, checkpointConfig={"resumeFrom": str(first.run_folder)})
    assert [row.epoch for row in longer.of(EpochCompleted)] == [3, 4]
    alert = next(alert for alert in longer.of(Alert) if alert.code == "length_changed")
    assert alert.evidence == {"before": 10, "now": 20}


def test_patience_and_the_best_epoch_go_on(bench):
    training = {"epochs": 10, "learningRate": 1e-9, "earlyStopping": {"patience": 3, "minDelta": 0.1}}
    cut = bench.train("cut", trainingConfig={**training, "epochs": 3})
    resumed = bench.train("resumed", trainingConfig=training, checkpointConfig={"resumeFrom": str(cut.run_folder)})
    assert resumed.ending.state == "early_stopped"
    assert [row.epoch for row in resumed.of(EpochCompleted)] == [4]
    restored = resumed.of(RunRestored)[0]
    assert restored.best_epoch is not None
    assert Path(restored.best_path).parent == cut.run_folder


# Of a loss that falls the first is the largest.
FIRST_IS_BEST = {"monitor": "valLoss", "mode": "max", "keepLast": 9}


def best_first(bench):
    """A run whose first epoch is the best of all that come."""
    return bench.train("first", trainingConfig={"epochs": 2}, checkpointConfig=FIRST_IS_BEST)


def resumed_from(bench, folder: Path):
    return bench.train(
        "resumed", trainingConfig={"epochs": 3}, checkpointConfig={**FIRST_IS_BEST, "resumeFrom": str(folder)}
    )


def test_the_best_checkpoint_of_a_run_that_was_moved_is_found_there(bench):
    first = best_first(bench)
    moved = first.run_folder.rename(first.run_folder.with_name("moved"))
    resumed = resumed_from(bench, moved)
    assert resumed.of(RunRestored)[0].best_path == str(moved / "epoch-0001")
    assert str(moved / "epoch-0001/model.safetensors") in [item.path for item in resumed.ending.artifacts]


def test_a_best_checkpoint_that_is_gone_is_said_and_the_best_is_looked_for_anew(bench):
    first = best_first(bench)
    shutil.rmtree(first.run_folder / "epoch-0001")
    resumed = resumed_from(bench, first.run_folder)
    assert "best_checkpoint_gone" in {alert.code for alert in resumed.of(Alert)}
    assert [row.is_best for row in resumed.of(EpochCompleted)] == [True]
    assert resumed.of(RunRestored)[0].best_epoch is None
    assert resumed.run_folder in [Path(item.path).parents[1] for item in resumed.ending.artifacts]


def test_the_best_checkpoint_of_the_first_of_a_chain_of_runs_is_that_of_the_last(bench):
    first = best_first(bench)
    before = first
    for number in (3, 4):
        config = {**FIRST_IS_BEST, "resumeFrom": str(before.run_folder)}
        before = bench.train(f"to {number}", trainingConfig={"epochs": number}, checkpointConfig=config)
        assert before.of(RunRestored)[0].best_path == str(first.run_folder / "epoch-0001")
    assert str(first.run_folder / "epoch-0001/model.safetensors") in [item.path for item in before.ending.artifacts]


class Deleting(Channel):
    """Deletes ``folder`` when an epoch is trained."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def emit(self, data: EventData) -> None:
        super().emit(data)
        if isinstance(data, EpochCompleted):
            shutil.rmtree(self._folder)


def test_a_best_checkpoint_that_goes_while_another_run_trains_is_said_and_the_newest_is_the_result(bench):
    first = best_first(bench)
    best = first.run_folder / "epoch-0001"
    config = {**FIRST_IS_BEST, "resumeFrom": str(first.run_folder)}
    run = bench.train("on", trainingConfig={"epochs": 3}, checkpointConfig=config, channel=Deleting(best))
    assert run.ending.state == "succeeded"
    (said,) = (alert for alert in run.of(Alert) if alert.code == "best_checkpoint_gone")
    assert said.evidence["path"] == str(best)
    newest = Path(run.of(CheckpointSaved)[-1].path)
    assert newest / "model.safetensors" in [Path(item.path) for item in run.ending.artifacts]


def test_nothing_left_to_train_is_said(bench):
    done = bench.train("done", trainingConfig={"epochs": 1})
    again = bench.train("again", trainingConfig={"epochs": 1}, checkpointConfig={"resumeFrom": str(done.run_folder)})
    assert again.ending.state == "succeeded"
    assert "nothing_left_to_train" in {alert.code for alert in again.of(Alert)}
    assert not again.of(EpochCompleted)


def test_a_checkpoint_of_another_model(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    with pytest.raises(Failure, match=r"0.weight is \[16, 6\] in the checkpoint and \[8, 6\] in the model") as caught:
        bench.train(
            "second", modelConfig={"args": {"hidden": 8}}, checkpointConfig={"resumeFrom": str(first.run_folder)}
        )
    assert caught.value.error.code == "checkpoint_incompatible"


def test_a_checkpoint_of_another_optimizer(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    with pytest.raises(Failure, match="the optimizer AdamW; this one has SGD") as caught:
        bench.train(
            "second", trainingConfig={"optimizer": "sgd"}, checkpointConfig={"resumeFrom": str(first.run_folder)}
        )
    assert caught.value.error.code == "checkpoint_incompatible"


def test_other_batches_in_mid_epoch_are_refused(bench):
    first = bench.train("first", checkpointConfig={"saveEverySteps": 2, "keepLast": 100})
    middle = next(saved for saved in first.of(CheckpointSaved) if saved.kind == "step")
    with pytest.raises(Failure, match="middle of an epoch") as caught:
        bench.train("second", dataConfig={"batchSize": 8}, checkpointConfig={"resumeFrom": middle.path})
    assert caught.value.error.code == "checkpoint_incompatible"


def test_other_batches_from_an_epochs_end_are_trained_and_said(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    resume = {"resumeFrom": str(first.run_folder)}
    changes = {"dataConfig": {"batchSize": 35}, "trainingConfig": {"epochs": 2}}
    second = bench.train("second", checkpointConfig=resume, **changes)
    assert "order_changed" in {alert.code for alert in second.of(Alert)}
    assert [(row.epoch, row.step) for row in second.of(EpochCompleted)] == [(2, 4)], "steps of two epochs of this run"


KEEPS = """
import torch
from torch import nn


class Keeping(nn.Linear):
    def get_extra_state(self):
        return {"version": torch.tensor(1)}

    def set_extra_state(self, state):
        raise RuntimeError("of another version")


def build_model():
    return Keeping(6, 3)
"""


def test_a_state_that_the_model_does_not_take_back_is_refused(bench):
    bench.write_model(KEEPS)
    first = bench.train("first", trainingConfig={"epochs": 1})
    with pytest.raises(Failure, match="does not take back the state") as caught:
        bench.train("second", checkpointConfig={"resumeFrom": str(first.run_folder)})
    assert caught.value.error.code == "checkpoint_incompatible"
    assert "of another version" in caught.value.error.untrusted


def test_a_damaged_checkpoint_in_a_runs_folder_is_left_aside_and_said(bench):
    whole = bench.train("whole")
    newest = Path(whole.of(CheckpointSaved)[-1].path)
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    resumed = bench.train("resumed", checkpointConfig={"resumeFrom": str(whole.run_folder)})
    assert resumed.of(RunRestored)[0].epoch == 2
    assert "checkpoint_skipped" in {alert.code for alert in resumed.of(Alert)}
    assert_same_weights_of_epoch(resumed, whole, newest)


def assert_same_weights_of_epoch(resumed, whole, damaged: Path):
    """The epoch done again gives what was there before it was damaged."""
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-5] ^= 1
    restored = whole.run_folder / "mended"
    shutil.copytree(damaged, restored)
    (restored / "model.safetensors").write_bytes(content)
    mended = whole.weights("mended")
    for name, tensor in resumed.weights().items():
        assert np.array_equal(tensor, mended[name])


BIAS_FREE = """
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3, bias=False))
"""


@pytest.mark.parametrize("optimizer", [entry.name for entry in OPTIMIZERS])
def test_every_optimizer_goes_on_in_mid_epoch(bench, stopping_channel, optimizer):
    bench.write_model(BIAS_FREE)
    training = {"epochs": 2, "optimizer": optimizer, "learningRate": 0.01, "reportEverySeconds": 0}
    whole = bench.train("whole", trainingConfig=training)
    stop = Stop()
    stopped = bench.train("stopped", trainingConfig=training, stop=stop, channel=stopping_channel(stop, "step", 6))
    assert stopped.ending.state == "stopped"
    resumed = bench.train("resumed", trainingConfig=training, checkpointConfig={"resumeFrom": str(stopped.run_folder)})
    assert_same_weights(whole, resumed)
    assert figures(resumed) == figures(whole)[1:]


def test_from_the_last_step_of_an_epoch_its_row_names_the_rate(bench):
    saving = {"saveEverySteps": 1, "keepLast": 100}
    whole = bench.train("whole", trainingConfig=TRAINING, checkpointConfig=saving)
    last = next(saved for saved in whole.of(CheckpointSaved) if saved.kind == "step" and saved.step == 3)
    resumed = bench.train("resumed", trainingConfig=TRAINING, checkpointConfig={"resumeFrom": last.path})
    assert [row.learning_rate for row in resumed.of(EpochCompleted)] == [
        row.learning_rate for row in whole.of(EpochCompleted)
    ]


def test_the_best_is_not_the_newest(bench):
    """The file ``best`` of a run names the checkpoint to go on from."""
    upside_down = {"monitor": "valLoss", "mode": "max", "keepLast": 10}
    whole = bench.train("whole", checkpointConfig=upside_down, trainingConfig={"epochs": 3})
    best = next(Path(saved.path) for saved in reversed(whole.of(CheckpointSaved)) if saved.is_best)
    assert best.name != Path(whole.of(CheckpointSaved)[-1].path).name
    resumed = bench.train("resumed", checkpointConfig={"resumeFrom": str(whole.run_folder / "best")})
    assert resumed.of(RunRestored)[0].path == str(best)


def test_a_damaged_best_is_refused(bench):
    whole = bench.train("whole", trainingConfig={"epochs": 1})
    (whole.run_folder / (whole.run_folder / "best").read_text().strip() / "training.json").write_text("{}")
    with pytest.raises(Failure) as caught:
        bench.train("resumed", checkpointConfig={"resumeFrom": str(whole.run_folder / "best")})
    assert caught.value.error.code == "checkpoint_corrupt"


@pytest.mark.alone
def test_an_epoch_that_was_cut_takes_what_both_parts_took(bench, stopping_channel):
    """Half a second passes before the cut; what is left of the epoch takes some milliseconds."""
    stop = Stop()

    class Slow(stopping_channel):
        def emit(self, data):
            until = time.monotonic() + (0.5 if isinstance(data, Step) and data.step == 4 else 0)
            while time.monotonic() < until:
                pass
            super().emit(data)

    stopped = bench.train("stopped", trainingConfig=TRAINING, stop=stop, channel=Slow(stop, "step", 4))
    assert stopped.ending.state == "stopped"
    resumed = bench.train("resumed", trainingConfig=TRAINING, checkpointConfig={"resumeFrom": str(stopped.run_folder)})
    assert resumed.of(RunRestored)[0].epoch_seconds >= 0.5
    cut, whole, *_ = resumed.of(EpochCompleted)
    assert cut.epoch == 2
    assert cut.seconds >= 0.5 + cut.evaluation_seconds
    assert cut.samples_per_second <= 70 / 0.5
    assert whole.seconds < 0.5, "the next epoch begins at nothing"
    assert resumed.of(RunFinalizing)[0].seconds < 0.5, "the run's own time is that of this process"


@pytest.mark.parametrize("event", ["data.loaded", "model.loaded"])
def test_a_stop_before_the_first_step_trains_nothing(bench, stopping_channel, event):
    stop = Stop()
    run = bench.train("stopped", stop=stop, channel=stopping_channel(stop, event, 1))
    assert run.ending.state == "stopped"
    assert not run.of(EpochStarted)
    assert not run.of(CheckpointSaved)


def test_a_stop_before_anything_is_read(bench):
    stop = Stop()
    stop.requested = True
    run = bench.train("stopped", stop=stop)
    assert run.ending.state == "stopped"
    assert run.said == []


COUNTING = """
from pathlib import Path

import torch
from torch import nn


class Noting(torch.utils.data.Dataset):
    def __len__(self):
        return 400

    def __getitem__(self, index):
        with Path(__file__).with_name("read.txt").open("a") as file:
            print(index, file=file)
        return torch.full((6,), float(index % 3)), index % 3


def build_dataset(path, split):
    return Noting()


def build_model():
    return nn.Linear(6, 3)
"""


class Counting(Channel):
    """Notes how many samples were read by the first event of each type."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = folder / "read.txt"
        self.read: dict[str, int] = {}

    def emit(self, data: EventData) -> None:
        super().emit(data)
        if data.event_type not in self.read:
            self.read[data.event_type] = len(self._file.read_text().splitlines()) if self._file.exists() else 0


@pytest.mark.parametrize("position", [2, 70])
def test_no_sample_before_the_place_of_a_resume_is_read(bench, position):
    """A resume costs the same wherever in an epoch it is: of the samples only those of the next batch are read."""
    bench.write_model(COUNTING)
    data = {"format": "modelFile", "numWorkers": 0, "valPath": None, "batchSize": 4}
    training = {"epochs": 1, "reportEverySeconds": 0}
    first = bench.train("first", dataConfig=data, trainingConfig={**training, "maxSteps": position})
    channel = Counting(bench.folder)
    resumed = bench.train(
        "resumed",
        channel=channel,
        dataConfig=data,
        trainingConfig={**training, "maxSteps": position + 2},
        checkpointConfig={"resumeFrom": first.of(CheckpointSaved)[-1].path},
    )
    assert [step.step for step in resumed.of(Step)] == [position + 1, position + 2]
    assert channel.read["step"] - channel.read["run.restored"] == 4
