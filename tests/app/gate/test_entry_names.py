"""What a name that is in no table is taken for: a near one where it means that, and none where it is the user's own."""

from pathlib import Path

import pytest

from app.gate.gate import Gate
from app.settings import Settings
from tests.app.workspace import changed, make_workspace


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(Settings(home=tmp_path / "home", workspace=make_workspace(tmp_path / "work")))


MEANT = [
    *[("optimizer", name, "Adam") for name in ("torch.optim.Adam", "adm", "OwnAdam", "Adam8bit")],
    *[("optimizer", name, "SGD") for name in ("optim.SGD", "sdg", "mySGD", "LARS", "torch.optim.sgd.SGD")],
    *[("optimizer", name, "AdamW") for name in ("adamw2", "AdaBelief", "LAMB", "adamw8bit", "fused_adam")],
    ("optimizer", "RMSpropTF", "RMSprop"),
    ("scheduler", "torch.optim.lr_scheduler.StepLR", "StepLR"),
    ("scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR", "cosine"),
    ("scheduler", "cosin", "cosine"),
    ("loss", "torch.nn.CrossEntropyLoss", "cross_entropy"),
    ("loss", "crossentropi", "cross_entropy"),
]
OWN = ["MyOptimizer", "MyProp", "MySuperOpt", "custom", "own", "models.MyOpt", "Lion", "Prodigy", "LBFGS", "Ranger"]


@pytest.mark.parametrize(("key", "name", "expected"), MEANT, ids=[name for _, name, _ in MEANT])
def test_a_name_that_means_one_of_the_table_is_led_to_it(gate, key, name, expected):
    (error, *_) = gate.examine(changed("trainingConfig", key, name), "paths").errors
    assert (error.pointer, error.suggestion) == (f"/trainingConfig/{key}", expected)


@pytest.mark.parametrize("name", OWN)
def test_an_optimizer_of_ones_own_is_like_no_other_and_what_takes_its_place_is_said(gate, name):
    found = gate.examine(changed("trainingConfig", "optimizer", name), "paths")
    (error,) = found.errors
    assert (error.suggestion, [move.op for move in error.fix]) == (None, ["remove"])
    assert error.message.endswith("Left out, it is AdamW.")
    assert ("torch.optim" in error.message) == (name != "LBFGS")
    assert "optimizer" not in found.suggested_input["trainingConfig"]


def test_a_loss_of_ones_own_is_led_to_the_model_file(gate):
    (error,) = gate.examine(changed("trainingConfig", "loss", "MyLoss"), "paths").errors
    assert error.suggestion is None
    assert "loss(output, targets) in the model file" in error.message
