"""The request that is recommended where nothing was learnt lets a sound model learn a batch by heart, whatever was asked for."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from app.gate.patches import apply
from app.review.facts import Facts
from app.review.recommending import recommend
from app.review.summarizing import summarize
from schemas.events import EpochCompleted, RunResolved
from schemas.request import TrainingRequest
from tests.trainer_core.conftest import Bench, Run
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

MLP = """
from torch import nn

def build_model():
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 2))
"""
CONVOLUTIONS = """
from torch import nn

def build_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )
"""
TRANSFORMER = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(50, 32), nn.Parameter(0.02 * torch.randn(24, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.body(self.embed(x) + self.place).mean(1))
"""
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "plain SGD": {"optimizer": "SGD"},
    "SGD with momentum": {"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9}},
    "Adam": {"optimizer": "Adam"},
    "AdamW": {"optimizer": "AdamW"},
}


def samples(kind: str) -> tuple[str, Any, Any]:
    """A model of the kind, and real data for it, or sequences whose classes are drawn by lot."""
    if kind == "mlp":
        cancer = load_breast_cancer()
        scaled = (cancer.data - cancer.data.mean(0)) / cancer.data.std(0)
        return MLP, scaled.astype(np.float32), cancer.target
    if kind == "convolutions":
        digits = load_digits()
        return CONVOLUTIONS, (digits.images[:, None] / 16).astype(np.float32), digits.target
    generator = np.random.default_rng(0)
    return TRANSFORMER, generator.integers(0, 50, (400, 24)), generator.integers(0, 3, 400)


def learn_by_heart(bench: Bench, kind: str, training: dict[str, Any]) -> Run:
    """What follows a run of ``training`` that had learnt nothing."""
    source, x, y = samples(kind)
    bench.write_model(source)
    np.savez(bench.folder / "data.npz", x=x, y=y)
    data = {"trainPath": str(bench.folder / "data.npz"), "valPath": None, "batchSize": 128}
    before = bench.train("before", dataConfig=data, trainingConfig={"epochs": 5, "limitTrainBatches": 1} | training)
    flat = {"metrics": {"valMcc": 0.0}, "val_loss": 0.69, "train_loss": 0.69}
    rows = [row.model_copy(update=flat) for row in before.of(EpochCompleted)]
    facts = Facts("succeeded", rows, 5, before.of(RunResolved)[0].resolved)
    (advice,) = [each for each in recommend(facts, summarize(facts)) if each.code == "overfit_one_batch"]
    request = TrainingRequest.model_validate(apply(facts.resolved, advice.patch))
    channel = Channel()
    train(bench.assignment("by-heart").model_copy(update={"request": request}), channel, Stop())
    return Run(channel.said, bench.folder / "runs" / "by-heart")


@pytest.mark.torture("large")
@pytest.mark.parametrize("kind", ["mlp", "convolutions", "transformer"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_sound_model_learns_one_batch_by_heart(bench, kind, optimizer):
    """Also after a rate that was far too low, a schedule that ran out, and a batch that is too large."""
    steps = {"scheduler": "StepLR", "schedulerArgs": {"step_size": 1}, "learningRate": 1e-6}
    run = learn_by_heart(bench, kind, OPTIMIZERS[optimizer] | steps)
    rows = run.of(EpochCompleted)
    assert len(rows) == 500
    assert rows[-1].val_loss < rows[0].val_loss / 10
    assert rows[-1].val_accuracy == 1.0
