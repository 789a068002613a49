"""A prepared model on two ranks is the one on a single rank."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

MODEL = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.inner(self.norm(x)).tanh()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

def build_model():
    return Net()
"""


def test_two_ranks_train_the_prepared_model_of_one(bench):
    bench.write_model(MODEL)
    begun = bench.train("begun", trainingConfig={"epochs": 1, "seed": 9})
    changes = {
        "dataConfig": {"batchSize": 10},
        "modelConfig": {"weights": str(begun.run_folder), "freeze": ["stem", "blocks.0.norm"]},
        "trainingConfig": {
            "epochs": 2,
            "gradientAccumulation": 2,
            "optimizer": "SGD",
            "learningRate": 0.2,
            "parameterGroups": [{"match": "blocks", "learningRateFactor": 0.1}],
            "gradientCheckpointing": True,
        },
    }
    one = bench.train("one", **changes)
    assignment = bench.assignment("two", ("cpu", "cpu"), **changes)
    assert train(assignment, Channel(), Stop()).state == "succeeded"
    folder = Path(assignment.run_folder)
    weights = load_file(folder / (folder / "latest").read_text().strip() / "model.safetensors")
    before = begun.weights()
    for name, tensor in one.weights().items():
        assert np.abs(tensor - weights[name]).max() <= 1e-6, name
        still = name.startswith(("stem", "blocks.0.norm", "unused"))
        assert np.array_equal(weights[name], before[name]) == still, name
