"""Tensor files are taken as they are, checked, and never unpickled."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.datasets import load_digits, load_iris

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype(np.float32)
Y = np.arange(30) % 3


def test_real_scans_are_not_scaled(load, tmp_path: Path):
    scans = load_digits()
    np.savez(tmp_path / "digits.npz", x=scans.images, y=scans.target)
    data = load("digits.npz")
    assert data.train.arrays[0].dtype == np.float32
    assert data.train.arrays[0].max() == 16
    assert data.classes == tuple("0123456789")
    assert len(data.validation) == 359
    assert data.profile["transform"] == "none: arrays are taken as they are"


def test_every_format_gives_the_same_samples(load, tmp_path: Path):
    import torch

    iris = load_iris()
    x, y = iris.data.astype(np.float32), iris.target
    np.savez(tmp_path / "a.npz", inputs=x, labels=y)
    save_file({"x": x, "y": y}, tmp_path / "a.safetensors")
    torch.save({"X": torch.tensor(x), "targets": torch.tensor(y)}, tmp_path / "a.pt")
    torch.save((torch.tensor(x), torch.tensor(y)), tmp_path / "pair.pt")
    loaded = [load(name) for name in ("a.npz", "a.safetensors", "a.pt", "pair.pt")]
    for data in loaded:
        np.testing.assert_array_equal(data.train.arrays[0], loaded[0].train.arrays[0])
        np.testing.assert_array_equal(data.validation.arrays[1], loaded[0].validation.arrays[1])


def test_bfloat16_becomes_float32(load, tmp_path: Path):
    import torch

    torch.save({"x": torch.tensor(X).bfloat16(), "y": torch.tensor(Y)}, tmp_path / "a.pt")
    assert load("a.pt").train.arrays[0].dtype == np.float32


def test_token_ids_stay_whole_and_pixels_in_bytes_are_suspected(load, tmp_path: Path, codes):
    np.savez(tmp_path / "tokens.npz", x=RNG.integers(0, 5000, (30, 7)).astype(np.int32), y=Y)
    data = load("tokens.npz")
    assert data.train.arrays[0].dtype == np.int64
    assert "integer_inputs" not in codes(data)
    np.savez(tmp_path / "pixels.npz", x=RNG.integers(0, 256, (30, 8, 8), dtype=np.uint8), y=Y)
    assert "integer_inputs" in codes(load("pixels.npz"))


def test_arrays_are_named_by_the_request(load, refuse, tmp_path: Path):
    np.savez(tmp_path / "a.npz", first=X, second=X + 1, answer=Y)
    data = load("a.npz", valPath="a.npz", features=["second"], target="answer")
    np.testing.assert_array_equal(data.train.arrays[0], X + 1)
    error = refuse("a.npz", target="anser", features=["first"])
    assert "it has first, second, answer" in error.message
    assert error.fix[0].value == "answer"
    assert "no target array under a usual name" in refuse("a.npz").message


def test_zeros_and_ones_in_floating_point_are_said(load, codes, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=X, y=np.eye(3)[Y])
    assert "target_looks_like_classes" in codes(load("a.npz"))
    assert "target_looks_like_classes" not in codes(load("a.npz", training={"task": "regression"}))
    np.savez(tmp_path / "b.npz", x=X, y=np.eye(3)[Y] * 2)
    assert "target_looks_like_classes" not in codes(load("b.npz"))


def test_a_share_for_each_class_is_a_target(load, refuse, tmp_path: Path):
    shares = np.eye(3)[Y] * 0.8 + 0.2 / 3
    np.savez(tmp_path / "a.npz", x=X, y=shares)
    data = load("a.npz", training={"loss": "cross_entropy"})
    assert (data.task, data.classes) == ("classification", ("0", "1", "2"))
    np.testing.assert_allclose(data.train.take(np.arange(24))[1].sum(axis=1), 1.0, rtol=1e-6)
    np.savez(tmp_path / "b.npz", x=X, y=shares * 2)
    assert "class numbers are" in refuse("b.npz", training={"loss": "cross_entropy"}).message


def test_several_inputs_are_named_and_those_left_out_are_said(load, refuse, codes, tmp_path: Path):
    mask = X > 0
    np.savez(tmp_path / "a.npz", ids=RNG.integers(0, 9, (30, 4)), mask=mask, labels=Y)
    data = load("a.npz", features=["mask", "ids"])
    inputs, _ = data.train.take(np.arange(3))
    assert {name: array.dtype for name, array in inputs.items()} == {"mask": np.bool_, "ids": np.int64}
    assert data.profile["inputs"]["ids"]["shape"] == [4]
    assert "arrays_left_out" not in codes(data)
    (warning,) = [alert for alert in load("a.npz", features=["ids"]).warnings if alert.code == "arrays_left_out"]
    assert "also holds mask" in warning.message
    assert refuse("a.npz").fix[0].value == ["ids", "mask"]
    np.savez(tmp_path / "short.npz", ids=X, mask=mask[:9], labels=Y)
    assert "'mask' has 9 samples" in refuse("short.npz", features=["ids", "mask"]).message
    np.savez(tmp_path / "narrow.npz", ids=X[:, :2], mask=mask, labels=Y)
    error = refuse("short.npz", valPath="narrow.npz", features=["ids"])
    assert "shape [4], a validation sample [2]" in error.message


@pytest.mark.parametrize(
    ("targets", "task", "wanted", "dtype"),
    [
        (Y, None, "classification", np.int64),
        (Y % 2 == 0, None, "classification", np.int64),
        (Y.astype(float), None, "regression", np.float32),
        (Y.astype(float), "classification", "classification", np.int64),
        ((Y % 2).astype(float), "binary", "binary", np.float32),
        (X[:, :2], None, "regression", np.float32),
        (np.array(["ant", "bee", "cat"])[Y], None, "classification", np.int64),
    ],
)
def test_the_task_follows_from_the_targets(load, tmp_path: Path, targets, task, wanted, dtype):
    np.savez(tmp_path / "a.npz", x=X, y=targets)
    data = load("a.npz", training={"task": task} if task else {})
    assert data.task == wanted
    assert data.train.arrays[1].dtype == dtype
    assert (data.classes is None) == (wanted == "regression")


def test_a_target_for_every_token_may_leave_some_out(load, tmp_path: Path):
    targets = RNG.integers(0, 5, (30, 7))
    targets[:, -1] = -100
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 9, (30, 7)), y=targets)
    data = load("a.npz")
    assert data.train.arrays[1].shape == (24, 7)
    assert data.classes == tuple("01234")


def broken(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "training", "row", "code", "message"),
    [
        ({"x": X, "y": Y[:29]}, {}, None, "data_invalid", "'x' has 30 samples and 'y' 29"),
        ({"x": broken(X, (7, 2), np.nan), "y": Y}, {}, 8, "data_not_finite", "'x' holds nan at index [7, 2]"),
        ({"x": X, "y": broken(X[:, 0], (3,), np.inf)}, {}, 4, "data_not_finite", "'y' holds inf at index [3]"),
        ({"x": X, "y": broken(Y, (5,), -1)}, {}, 6, "data_invalid", "holds -1 in row 6"),
        ({"x": X, "y": Y + 0.5}, {"task": "classification"}, 1, "data_invalid", "class numbers are 0, 1, 2"),
        ({"x": X, "y": Y}, {"task": "binary"}, 3, "data_invalid", "a binary target is 0 or 1"),
        ({"x": X, "y": Y * 0}, {}, None, "data_single_class", "one class only (0)"),
        ({"x": np.array([["a", "b"]] * 30), "y": Y}, {}, None, "data_invalid", "no samples of numbers"),
        ({"x": X[:0], "y": Y[:0]}, {}, None, "data_empty", "holds no sample"),
    ],
)
def test_arrays_that_are_refused_name_the_place(refuse, tmp_path: Path, arrays, training, row, code, message):
    np.savez(tmp_path / "a.npz", **arrays)
    error = refuse("a.npz", training=training)
    assert error.code == code
    assert message in error.message
    assert error.place.path == str(tmp_path / "a.npz")
    assert error.place.row == row


def test_validation_must_fit(refuse, tmp_path: Path):
    np.savez(tmp_path / "train.npz", x=X, y=Y)
    np.savez(tmp_path / "wide.npz", x=np.ones((3, 5)), y=Y[:3])
    assert "shape [4], a validation sample [5]" in refuse("train.npz", valPath="wide.npz").message
    np.savez(tmp_path / "more.npz", x=X, y=Y + 1)
    error = refuse("train.npz", valPath="more.npz")
    assert "Class 3 is not among those of the training samples" in error.message
    assert error.place.row == 3


def test_nothing_is_unpickled(refuse, tmp_path: Path):
    import torch

    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object), y=Y)
    assert "cannot be read as npz" in refuse("a.npz").message
    torch.save({"x": Path("danger")}, tmp_path / "a.pt")
    error = refuse("a.pt")
    assert "cannot be read as pt" in error.message
    assert "torch.save({'x': x, 'y': y}, path)" in error.next_move


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.safetensors"])
def test_a_file_that_is_something_else(refuse, tmp_path: Path, name):
    (tmp_path / name).write_bytes(b"something else altogether")
    error = refuse(name)
    assert (error.code, error.place.path) == ("data_unreadable", str(tmp_path / name))
