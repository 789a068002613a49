"""On a GPU a training step and its figures never wait for the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from schemas.losses import Task
from schemas.metrics import METRICS
from schemas.training import TrainingConfig
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.gradients import Gradients
from trainer_core.loop.losses import build_loss
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.optimizers import build_optimizer
from trainer_core.loop.precision import build_precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@contextmanager
def waiting_raises() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("clip_by", ["norm", "value"])
@pytest.mark.parametrize(
    ("task", "loss", "arguments"),
    [
        ("classification", "cross_entropy", {"weight": [1.0, 2.0, 3.0]}),
        ("classification", "focal", {"alpha": [1.0, 2.0, 3.0]}),
        ("binary", "bce", {"pos_weight": 2.0}),
        ("regression", "huber", {}),
    ],
)
def test_a_step_waits_for_nothing(task: Task, loss: str, arguments: dict[str, object], clip_by: str) -> None:
    device = torch.device("cuda")
    document = {"loss": loss, "lossArgs": arguments, "clipBy": clip_by, "precision": "bf16"}
    training = TrainingConfig.model_validate(document)
    outputs = 3 if task == "classification" else 1
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, outputs)).to(device)
    optimizer = build_optimizer(model, training, 0.01, device)
    assert optimizer.param_groups[0]["fused"] is True
    precision, clipping = build_precision(training, device), build_clipping(training)
    criterion, figures = build_loss(training, task, None, device), build_figures(task, device, None)
    gradients = Gradients(model.parameters())
    inputs, targets = torch.randn(16, 4, device=device), torch.randint(2, (16,), device=device)

    def step() -> None:
        with precision.autocast():
            output = model(inputs)
            loss_sum, count = criterion(output, targets)
        figures.update(output, targets, loss_sum, count)
        precision.backward(loss_sum, 1 / len(inputs))
        precision.unscale(optimizer)
        gradients.make_mean(len(inputs), count)
        clipping.clip(gradients)
        precision.step(optimizer)
        assert not precision.skipped()
        gradients.clear()

    step()
    with waiting_raises():
        step()
    assert figures.compute("train")["trainLoss"] > 0


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_the_figures_of_an_evaluation_wait_for_nothing_until_they_are_asked_for(task: Task) -> None:
    device = torch.device("cuda")
    names = tuple(entry.name for entry in METRICS if task in entry.tasks)
    figures = build_figures(task, device, None, names)
    outputs = torch.randn(16, 12 if task == "classification" else 1, device=device)
    targets, one = torch.randint(2, (16,), device=device), torch.ones((), device=device)
    # Larger than what is counted together, so that each batch is counted at once.
    outputs, targets = outputs.repeat(2**13, 1), targets.repeat(2**13)
    figures.update(outputs, targets, one, one)
    with waiting_raises():
        figures.update(outputs, targets, one, one)
    found = figures.compute("val")
    figures.reset()
    assert "valR2" in found or "valAuroc" in found
