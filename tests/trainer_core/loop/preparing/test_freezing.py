"""Frozen parameters stay as they are, and so do the statistics of frozen normalisation."""

import numpy as np
import pytest
import torch
from torch import nn

from app.gate.patches import apply
from schemas.events import ModelLoaded
from trainer_core.failure import Failure
from trainer_core.loop.evaluation import evaluating
from trainer_core.loop.preparing.freezing import freeze

MODEL = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.neck = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))
"""


def network() -> nn.Module:
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.BatchNorm1d(8, affine=False)),
            "head": nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3)),
        }
    )


@pytest.mark.parametrize("pattern", ["backbone", "backbone.*", "back*"])
def test_a_pattern_of_a_module_freezes_all_below_it_and_its_statistics(pattern):
    model = network()
    assert freeze(model, [pattern]) == ["backbone.0.weight", "backbone.0.bias", "backbone.1.weight", "backbone.1.bias"]
    assert [name for name, item in model.named_parameters() if item.requires_grad] == [
        "head.0.weight",
        "head.0.bias",
        "head.1.weight",
        "head.1.bias",
    ]
    training = {name: module.training for name, module in model.named_modules()}
    assert not training["backbone.1"]
    assert not training["backbone.2"]
    assert training["backbone.0"]
    assert training["head.1"]
    with evaluating(model):
        assert not model["head"].training
    assert {name: module.training for name, module in model.named_modules()} == training


def test_normalisation_of_which_a_part_is_trained_goes_on_counting():
    model = network()
    freeze(model, ["backbone.1.weight"])
    assert model["backbone"][1].training


def test_a_tied_parameter_is_frozen_by_either_name():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    freeze(model, ["b"])
    assert not model["a"].weight.requires_grad
    assert model["a"].bias.requires_grad


def test_no_pattern_changes_nothing():
    model = network()
    assert freeze(model, []) == []
    assert all(item.requires_grad for item in model.parameters())


def test_a_pattern_that_fits_nothing_is_refused_with_a_near_name_as_fix():
    with pytest.raises(Failure, match=r"'bakbone\.\*' fits no parameter of the model\. Near it: backbone") as caught:
        freeze(network(), ["head.1", "bakbone.*"])
    error = caught.value.error
    assert (error.code, error.place.pointer) == ("input_invalid", "/modelConfig/freeze/1")
    assert error.fix[0].value == "backbone"
    freeze(network(), [error.fix[0].value])


@pytest.mark.parametrize(
    ("patterns", "left"),
    [(["*"], []), (["backbone", "head"], ["backbone"]), (["backbone", "*.bias", "head"], ["backbone"])],
    ids=["one", "by modules", "two of three"],
)
def test_nothing_left_to_train_is_refused_with_the_patterns_to_leave_out(patterns, left):
    """Those of what stands nearest to the output."""
    with pytest.raises(Failure, match="leaves no parameter to train: of 8, ") as caught:
        freeze(network(), patterns)
    error = caught.value.error
    assert error.place.pointer == "/modelConfig/freeze"
    assert all(repr(pattern) in error.next_move for pattern in patterns if pattern not in left)
    mended = apply({"modelConfig": {"freeze": patterns}}, error.fix)["modelConfig"].get("freeze", [])
    assert mended == left
    model = network()
    freeze(model, mended)
    assert list(model.parameters())[-1].requires_grad


def test_a_model_file_that_freezes_all_by_itself_is_told_so():
    model = network().requires_grad_(False)
    with pytest.raises(Failure, match="The model file gives no parameter requires_grad=True") as caught:
        freeze(model, ["backbone"])
    assert caught.value.error.fix is None


def test_a_run_trains_the_rest_alone(bench):
    bench.write_model(MODEL)
    run = bench.train(modelConfig={"freeze": ["backbone"]}, trainingConfig={"epochs": 3})
    said = run.of(ModelLoaded)[0]
    assert (said.parameters, said.trainable_parameters) == (56 + 16 + 16 + 27, 16 + 27)
    assert said.frozen.count == 4
    torch.manual_seed(3)
    namespace: dict = {}
    exec(MODEL, namespace)
    begun = namespace["Net"]().state_dict()
    weights = run.weights()
    for name, tensor in begun.items():
        same = np.array_equal(weights[name], tensor.numpy())
        assert same == name.startswith("backbone"), name


def test_another_frozen_set_does_not_go_on_from_a_checkpoint(bench):
    bench.write_model(MODEL)
    first = bench.train("first", modelConfig={"freeze": ["backbone"]}, trainingConfig={"epochs": 1})
    resume = {"resumeFrom": str(first.run_folder)}
    with pytest.raises(Failure) as caught:
        bench.train("first", checkpointConfig=resume, modelConfig={"freeze": ["neck"]})
    assert caught.value.error.code == "checkpoint_incompatible"
    assert "freeze" in caught.value.error.next_move


def test_a_resumed_run_with_frozen_parts_is_the_uninterrupted_one_to_the_bit(bench):
    bench.write_model(MODEL)
    freezing = {"freeze": ["backbone"]}
    groups = [{"match": "head", "learningRateFactor": 3.0}]
    whole = bench.train("whole", modelConfig=freezing, trainingConfig={"epochs": 4, "parameterGroups": groups})
    cut = {"epochs": 4, "parameterGroups": groups}
    path = str(whole.run_folder / "epoch-0003")
    resumed = bench.train("again", modelConfig=freezing, trainingConfig=cut, checkpointConfig={"resumeFrom": path})
    for name, array in whole.weights().items():
        assert np.array_equal(array, resumed.weights()[name]), name


@pytest.mark.parametrize("method", ["ema", "swa"])
def test_averaged_weights_have_the_frozen_statistics_too(bench, method):
    bench.write_model(MODEL)
    averaging = {"epochs": 2, "weightAveraging": {"method": method}}
    run = bench.train(modelConfig={"freeze": ["backbone"]}, trainingConfig=averaging)
    weights = run.weights()
    assert not weights["backbone.1.running_mean"].any()
    assert (weights["backbone.1.running_var"] == 1).all()
    assert weights["neck.running_mean"].any()
