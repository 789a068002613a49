"""Two ranks train the model that one process trains; they stop, fail and end together."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.failure import Failure
from trainer_core.stop import Stop

TWO = ("cpu", "cpu")

# Runs an assignment as a worker does, in a process of its own.
WORKER = """
import sys
from pathlib import Path
from schemas.assignment import Assignment
from trainer_core.channel import FileChannel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

if __name__ == "__main__":
    assignment = Assignment.model_validate_json(Path(sys.argv[1]).read_bytes())
    stop = Stop()
    stop.listen()
    print(train(assignment, FileChannel(Path(assignment.attempt_folder) / "events.jsonl"), stop).state)
"""


def events(assignment) -> list[dict]:
    """Lines of the attempt's event file."""
    return [json.loads(line) for line in (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()]


def newest_weights(assignment) -> dict[str, np.ndarray]:
    """Weights of the checkpoint that ``latest`` names."""
    folder = Path(assignment.run_folder)
    return load_file(folder / (folder / "latest").read_text().strip() / "model.safetensors")


def wait_for_end(processes: list[int]) -> None:
    """Wait until every process has ended; fail after a minute."""
    for process in processes:
        end = select.poll()
        end.register(process, select.POLLIN)
        assert end.poll(60_000), "a process outlived its worker"
        os.close(process)


def test_two_ranks_train_the_model_of_one(bench):
    """With masked targets, an uneven last batch (70 samples, 35 to an optimizer batch in 3 + 3 micro-batches) and a
    last batch of validation that only one rank sees."""
    bench.write_data(train=71, validation=17)
    rows = dict(np.load(bench.folder / "train.npz"))
    bench.write_model(
        "import torch\nfrom torch import nn\n"
        "def build_model():\n    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))\n"
        "def loss(output, targets):\n"
        "    each = nn.functional.cross_entropy(output, targets, reduction='none')\n"
        "    weight = (targets > 0).float() + 0.25\n"
        "    return (each * weight).sum(), weight.sum()\n"
    )
    assert len(rows["y"]) == 71
    changes = {
        "dataConfig": {"batchSize": 10, "evalBatchSize": 8},
        "trainingConfig": {"epochs": 2, "gradientAccumulation": 3, "optimizer": "SGD", "learningRate": 0.5}
        | {"metrics": ["roc_auc", "average_precision", "log_loss", "top_2_accuracy"]},
    }
    one = bench.train("one", **changes)
    assignment = bench.assignment("two", TWO, **changes)
    ending = train(assignment, Channel(), Stop())
    assert ending.state == "succeeded"
    weights = newest_weights(assignment)
    for name, tensor in one.weights().items():
        assert np.abs(tensor - weights[name]).max() <= 1e-6, name
    mine = [data.to_json() for data in one.said if data.event_type == "epoch.completed"]
    theirs = [line["data"] for line in events(assignment) if line["type"] == "epoch.completed"]
    assert len(theirs) == 2
    for a, b in zip(mine, theirs, strict=True):
        assert b["valAccuracy"] == a["valAccuracy"]
        assert b["trainAccuracy"] == a["trainAccuracy"]
        assert {"valAuroc", "valTop2Accuracy"} < a["metrics"].keys()
        assert b["metrics"] == pytest.approx(a["metrics"], abs=1e-6)
        assert b["valLoss"] == pytest.approx(a["valLoss"], abs=1e-6)
        assert b["trainLoss"] == pytest.approx(a["trainLoss"], abs=1e-6)
    kinds = [line["type"] for line in events(assignment)]
    assert kinds.count("run.resolved") == kinds.count("run.finalizing") == 1, "only the first rank speaks"


def test_a_request_to_stop_ends_both_with_a_checkpoint_and_leaves_no_process(bench):
    """Also fewer samples in the last batch (1) than ranks: a rank without a share takes part."""
    bench.write_data(train=33, validation=10)
    assignment = bench.assignment("stopped", TWO, trainingConfig={"epochs": 100_000, "reportEverySeconds": 0})
    file, script = bench.folder / "assignment.json", bench.folder / "worker.py"
    file.write_text(assignment.model_dump_json(by_alias=True))
    script.write_text(WORKER)
    worker = subprocess.Popen(
        [sys.executable, str(script), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        children = wait_for_epoch(assignment, worker)
        worker.send_signal(signal.SIGTERM)
        state, _ = worker.communicate(timeout=100)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0
    assert state.strip() == "stopped"
    last = [line["data"] for line in events(assignment) if line["type"] == "checkpoint.saved"][-1]
    assert last["kind"] == "cancel"
    assert (Path(last["path"]) / "manifest.json").exists()
    assert len(children) >= 2
    wait_for_end(children)


def wait_for_epoch(assignment, worker: subprocess.Popen) -> list[int]:
    """Wait until a checkpoint is saved; the worker's children then, as descriptors (pidfd_open(2))."""
    path = Path(assignment.attempt_folder) / "events.jsonl"
    path.touch()
    said = ""
    with path.open() as file:
        while '"checkpoint.saved"' not in (said := said + file.read()):
            # Looked at between two waits for its end: who looks without a pause takes a processor from the ranks.
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.02)
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return [os.pidfd_open(int(pid)) for pid in children]


def test_a_failure_of_one_rank_comes_back_as_it_was(bench):
    bench.write_model(
        "import os\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        "        if self.training and os.environ['RANK'] == '1':\n            raise ValueError('rank one only')\n"
        "        return self.layer(x)\n"
    )
    with pytest.raises(Failure, match="ValueError while running the model") as caught:
        train(bench.assignment("failed", TWO), Channel(), Stop())
    assert caught.value.error.place.line == 9
    assert "rank one only" in caught.value.error.untrusted


def test_a_rank_that_crashes_is_lost_and_not_the_models_fault(bench):
    """The other one only hears that its peer is gone."""
    bench.write_model(
        "import os, signal\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n        self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += self.training\n"
        "        if self.calls == 3 and os.environ['RANK'] == '0':\n            os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        return self.layer(x)\n"
    )
    assignment = bench.assignment("lost", TWO, trainingConfig={"reportEverySeconds": 0})
    with pytest.raises(Failure, match="A rank of the run was lost") as caught:
        train(assignment, Channel(), Stop())
    assert caught.value.error.code == "worker_lost"
    steps = [event["data"] for event in events(assignment) if event["type"] == "step"]
    assert steps
    assert all("accuracy" not in step for step in steps), "nobody knows that of all ranks before the epoch's end"


def test_batch_norm_and_parameters_that_few_passes_use(bench):
    """Batch normalisation sees all ranks' samples; and where a pass is the first to leave a parameter out, the ranks start
    again, for the other one waits for its gradient."""
    bench.write_model(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))\n"
        "        self.seldom = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        "        large, output = x[:, :1] > 5, self.layers(x)\n"
        "        return output + large * self.seldom(x) if bool(large.any()) else output\n"
    )
    bench.write_data(train=40, validation=10)
    rows = dict(np.load(bench.folder / "train.npz"))
    # The two samples that are tried out.
    rows["x"][:2, 0] = 6.0
    np.savez(bench.folder / "train.npz", **rows)
    changes = {"dataConfig": {"batchSize": 15}, "trainingConfig": {"epochs": 2, "optimizer": "SGD"}}
    one = bench.train("one", **changes)
    assignment, channel = bench.assignment("two", TWO, **changes), Channel()
    assert train(assignment, channel, Stop()).state == "succeeded"
    weights = newest_weights(assignment)
    assert weights.keys() == one.weights().keys()
    for name, tensor in one.weights().items():
        assert np.abs(tensor - weights[name]).max() <= 1e-6, name
    (warned,) = (data for data in channel.said if data.event_type == "alert")
    assert warned.code == "unused_parameters"
    assert "seldom.weight, seldom.bias" in warned.message
    assert not [line for line in events(assignment) if line["data"].get("code") == "batch_norm_per_rank"]
