"""Weights that a model begins from: what is taken, what is left, and what is said of both."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from schemas.events import Alert, CheckpointSaved, ModelLoaded
from schemas.model import PretrainedWeights
from trainer_core.failure import Failure
from trainer_core.loop.preparing.prefixes import best_prefixes
from trainer_core.loop.preparing.weights import alerts_of, load_weights


def network(classes: int = 3) -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), "head": nn.Linear(8, classes)})


@pytest.fixture
def file(tmp_path):
    """Weights of another network of the same kind, with five classes."""
    torch.manual_seed(1)
    state = network(classes=5).state_dict()
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    return path, state


def test_what_matches_by_name_and_shape_is_taken_and_a_head_of_another_shape_is_left(file):
    path, state = file
    model = network()
    head = model["head"].weight.detach().clone()
    report = load_weights(model, PretrainedWeights(path=str(path)))
    for name, tensor in model["backbone"].state_dict(prefix="backbone.").items():
        assert torch.equal(tensor, state[name]), name
    assert torch.equal(model["head"].weight, head)
    assert report.matched == 7
    assert report.wrong_shape.count == 2
    assert report.wrong_shape.first[0] in ("head.bias [5], in the model [3]", "head.weight [5, 8], in the model [3, 8]")
    assert (report.missing.count, report.unexpected.count) == (0, 0)
    (alert,) = alerts_of(report)
    assert alert.code == "weights_partly_loaded"
    assert "7 tensors come from weights.safetensors, 2 are left" in alert.message
    assert "head.weight" in alert.message


def test_missing_and_unexpected_tensors_are_counted_and_the_first_are_named(tmp_path):
    own = nn.ModuleList(nn.Linear(2, 2) for _ in range(30))
    state = {"0.weight": torch.ones(2, 2), **{f"other.{index}": torch.ones(1) for index in range(40)}}
    save_file(state, tmp_path / "w.safetensors")
    report = load_weights(own, PretrainedWeights(path=str(tmp_path / "w.safetensors")))
    assert (report.matched, report.missing.count, report.unexpected.count) == (1, 59, 40)
    assert len(report.missing.first) == len(report.unexpected.first) == 20
    assert "and 56 more" in alerts_of(report)[0].message


def test_all_weights_there_is_nothing_to_say(tmp_path):
    torch.save({"epoch": 3, "state_dict": network().state_dict()}, tmp_path / "w.pt")
    report = load_weights(network(), PretrainedWeights(path=str(tmp_path / "w.pt")))
    assert (report.matched, alerts_of(report)) == (9, [])


@pytest.mark.parametrize(("strip", "add"), [("module.", ""), ("", "backbone."), ("encoder.model.", "backbone.")])
def test_prefixes_are_suggested_and_then_match(tmp_path, strip, add):
    own = network()
    file = {strip + name.removeprefix(add): torch.randn_like(tensor.float()) for name, tensor in own.state_dict().items()
            if name.startswith(add)}  # fmt: skip
    path = tmp_path / "w.safetensors"
    save_file(file, path)
    with pytest.raises(Failure) as caught:
        load_weights(own, PretrainedWeights(path=str(path)))
    error = caught.value.error
    assert error.code == "input_invalid"
    assert error.fix[0].path == "/modelConfig/weights"
    assert (error.fix[0].value["stripPrefix"], error.fix[0].value["addPrefix"]) == (strip, add)
    report = load_weights(own, PretrainedWeights.model_validate(error.fix[0].value))
    assert report.matched == len(file)
    assert torch.equal(own["backbone"][0].weight, file[f"{strip}{'backbone.'.removeprefix(add)}0.weight"])


def test_names_with_nothing_in_common_have_no_prefix_to_suggest():
    assert best_prefixes({"a.weight": (3,)}, {"b.bias": (4,)}) is None


def test_strict_refuses_what_is_on_one_side_only_before_anything_is_taken(file):
    path, _ = file
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(Failure, match="2 of another shape") as caught:
        load_weights(model, PretrainedWeights(path=str(path), strict=True))
    assert (caught.value.error.fix[0].path, caught.value.error.fix[0].value) == ("/modelConfig/weights/strict", False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Marked:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_of_python_objects_is_refused_and_not_executed(tmp_path):
    torch.save({"model": Marked(tmp_path / "executed")}, tmp_path / "w.pt")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Marked(tmp_path / "executed")))
    for name in ("w.pt", "w.pkl"):
        with pytest.raises(Failure, match="Python objects"):
            load_weights(network(), PretrainedWeights(path=str(tmp_path / name)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.safetensors", b"no such thing", "is no safetensors file"),
        ("w.pt", b"PK\x03\x04cut short", "cannot be read"),
        ("w.bin", b"", "cannot be read"),
        ("absent.pt", None, "does not exist"),
    ],
)
def test_what_is_no_file_of_weights_is_told(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Failure, match=said) as caught:
        load_weights(network(), PretrainedWeights(path=str(tmp_path / name)))
    assert (caught.value.error.code, caught.value.error.place.pointer) == ("input_invalid", "/modelConfig/weights")


def test_a_dict_without_tensors_and_a_folder_without_weights_are_told(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    for path, said in ((tmp_path / "w.pt", "no dict of tensors"), (tmp_path, "no checkpoint or run")):
        with pytest.raises(Failure, match=said):
            load_weights(network(), PretrainedWeights(path=str(path)))


def test_lazy_modules_take_their_shape_from_the_file(tmp_path):
    torch.save({"0.weight": torch.ones(3, 5), "0.bias": torch.zeros(3)}, tmp_path / "w.pt")
    model = nn.Sequential(nn.LazyLinear(3))
    assert load_weights(model, PretrainedWeights(path=str(tmp_path / "w.pt"))).matched == 2
    assert model[0].weight.shape == (3, 5)


def test_a_run_begins_from_another_ones_checkpoint_or_folder_and_says_so(bench):
    first = bench.train("first", trainingConfig={"epochs": 2})
    newest = first.of(CheckpointSaved)[-1].path
    for name, path in (("a", newest), ("b", str(first.run_folder)), ("c", str(first.run_folder / "best"))):
        run = bench.train(name, modelConfig={"weights": path}, trainingConfig={"epochs": 1, "learningRate": 1e-30})
        said = run.of(ModelLoaded)[0].weights
        assert (said.matched, said.missing.count) == (4, 0)
        assert all((run.weights()[key] == value).all() for key, value in first.weights().items())


def test_a_resumed_run_does_not_read_them(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    gone = {"weights": str(bench.folder / "gone.pt")}
    resumed = bench.train("first", modelConfig=gone, checkpointConfig={"resumeFrom": str(first.run_folder)})
    assert "weights_superseded" in [alert.code for alert in resumed.of(Alert)]
    assert resumed.of(ModelLoaded)[0].weights is None
