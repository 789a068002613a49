"""Ranks that each hold a part of the model train what one process trains, and their checkpoints are anybody's."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.assignment import Assignment
from trainer_core.channel import Channel
from trainer_core.engines.native import train, train_rank
from trainer_core.launch import launch
from trainer_core.loop.recovery.restart import PassLimits
from trainer_core.stop import Stop

# Blocks that are gathered one by one, a parameter of which one of two ranks holds nothing, rows that do not divide, and no
# answer for an input of 1e30.
MODEL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(15, 15), nn.LayerNorm(15)

    def forward(self, x):
        return x + self.norm(torch.tanh(self.layer(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 15), nn.Linear(15, 3)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.first(x + 0.0 * x.square())
        for block in self.blocks:
            x = block(x)
        return self.last(x) * self.factor


def build_model():
    return Net()
"""


def weights(folder: Path, checkpoint: str) -> dict[str, np.ndarray]:
    return load_file(folder / checkpoint / "model.safetensors")


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def said(assignment: Assignment, kind: str) -> list[dict]:
    lines = (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()
    return [line["data"] for line in map(json.loads, lines) if line["type"] == kind]


def test_sharded_ranks_train_the_model_of_one_and_go_on_from_any_checkpoint(bench):
    """From one process to two, from two to two and from two to one; with accumulation, recomputed blocks, an average, uneven
    shares, a batch that is not finite, and a last batch of validation that only one rank sees."""
    bench.write_model(MODEL)
    bench.write_data(train=71, validation=17)
    rows = dict(np.load(bench.folder / "train.npz"))
    rows["x"][5, 2] = 1e30
    np.savez(bench.folder / "train.npz", **rows)
    changes = {
        "dataConfig": {"batchSize": 10, "evalBatchSize": 8},
        "trainingConfig": {
            "epochs": 3,
            "gradientAccumulation": 2,
            "gradientClipping": 0.5,
            "gradientCheckpointing": True,
            "weightAveraging": {"method": "ema"},
            "strategy": "fsdp",
        },
        "checkpointConfig": {"saveEverySteps": 1, "keepLast": 99},
    }

    def go_on(name: str, ranks: int, start: Path, **more: dict) -> Assignment:
        further = {**changes, **more, "checkpointConfig": {**changes["checkpointConfig"], "resumeFrom": str(start)}}
        assignment = bench.assignment(name, ("cpu",) * ranks, **further)
        if ranks > 1:
            # As after a want of memory: a share of 6 takes two passes, and one of 5 as many; a last batch of one is
            # evaluated in one pass, and the other rank's in three.
            limits = PassLimits(micro_batch=5, evaluation_batch=3)
            ending = launch(ranks, train_rank, assignment, limits, stop=Stop())
        else:
            ending = train(assignment, Channel(), Stop())
        assert ending.state == "succeeded"
        return assignment

    run = bench.train("one", **changes)
    one = run.run_folder
    final = weights(one, "step-00000012")
    two = go_on("two", 2, one / "step-00000003")
    folder = Path(two.run_folder)
    assert largest_difference(final, weights(folder, "step-00000012")) <= 1e-5
    assert [entry["action"] for entry in said(two, "recovery")] == ["batch_left_out"] * 3
    mine = [data.to_json() for data in run.said if data.event_type == "epoch.completed"]
    for a, b in zip(mine, said(two, "epoch.completed"), strict=True):
        assert b["valAccuracy"] == a["valAccuracy"]
        assert b["valLoss"] == pytest.approx(a["valLoss"], abs=1e-5)
    (resolved,) = said(two, "run.resolved")
    assert resolved["chosen"]["/trainingConfig/devices"] == 2
    assert resolved["resolved"]["trainingConfig"]["strategy"] == "fsdp"
    (loaded,) = said(two, "model.loaded")
    assert (loaded["name"], loaded["parameters"]) == ("Net", sum(tensor.size for tensor in final.values()))

    formats = ["safetensors", "torch_export"]
    again = go_on("again", 2, folder / "step-00000007", exportConfig={"formats": formats})
    assert largest_difference(weights(folder, "step-00000012"), weights(Path(again.run_folder), "step-00000012")) == 0
    # By the first rank, and as one process would.
    assert [(made["format"], made["status"]) for made in said(again, "export.completed")] == [
        (name, "exported") for name in formats
    ]
    *_, best = [Path(saved["path"]).name for saved in said(again, "checkpoint.saved") if saved["isBest"]]
    kept, exported = weights(Path(again.run_folder), best), load_file(f"{again.run_folder}/export/model.safetensors")
    assert largest_difference(kept, exported) == 0
    alone = go_on("alone", 1, folder / "step-00000007")
    assert largest_difference(final, weights(Path(alone.run_folder), "step-00000012")) <= 1e-5
