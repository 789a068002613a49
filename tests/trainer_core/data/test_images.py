"""Folders of images: classes, sizes, modes, what is in memory and what is not, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from schemas.data import Preprocessing
from trainer_core.data import images
from trainer_core.data.pictures import LazyImages, choose_transform, measure_channels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 scanned digits of scikit-learn, in ``train``: a folder per class."""
    folder = tmp_path_factory.mktemp("digits")
    scans = load_digits()
    for index in range(200):
        pixels = (scans.images[index] * 15).astype(np.uint8)
        save(folder / "train" / str(scans.target[index]) / f"{index:04d}.png", pixels)
    return folder


def test_real_scans_become_standardized_arrays(load, digits: Path, tmp_path: Path):
    (tmp_path / "train").symlink_to(digits / "train")
    data = load("train")
    inputs, targets = data.train.arrays
    assert inputs.shape == (160, 1, 8, 8)
    assert (inputs.dtype, targets.dtype) == (np.float32, np.int64)
    assert data.classes == tuple("0123456789")
    assert (data.task, data.format) == ("classification", "imageFolder")
    assert inputs.mean() == pytest.approx(0, abs=1e-5)
    assert inputs.std() == pytest.approx(1, abs=1e-4)
    assert data.preprocessing["mode"] == "L"
    assert data.preprocessing["size"] == [8, 8]
    assert [idle.name for idle in data.idle] == ["dataConfig.numWorkers"]
    assert sum(data.profile["classCounts"]["validation"].values()) == 40


def test_preprocessing_repeats_the_transform_on_a_file(load, tmp_path: Path):
    rng = np.random.default_rng(0)
    for index in range(6):
        save(tmp_path / "train" / "ab"[index % 2] / f"{index}.png", rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    data = load("train", valPath="train")
    recipe = data.preprocessing
    raw = np.asarray(Image.open(tmp_path / "train" / "a" / "0.png").convert(recipe["mode"]), dtype=np.float64)
    by_hand = (raw / recipe["divisor"] - recipe["mean"]) / recipe["std"]
    np.testing.assert_allclose(data.validation.take(np.array([0]))[0][0].transpose(1, 2, 0), by_hand, atol=1e-5)


def test_pixels_are_between_0_and_1_when_not_standardized(load, tmp_path: Path):
    save(tmp_path / "train" / "a" / "1.png", grey(0))
    save(tmp_path / "train" / "b" / "1.png", grey(255))
    data = load("train", valPath="train", preprocessing={"standardize": False})
    assert data.train.arrays[0].min() == 0
    assert data.train.arrays[0].max() == 1
    assert data.train.arrays[0].shape == (2, 1, 4, 6)


def test_one_colour_image_makes_all_of_them_colour(load, tmp_path: Path):
    save(tmp_path / "train" / "a" / "1.png", grey(3))
    save(tmp_path / "train" / "b" / "1.png", np.zeros((4, 6, 3), dtype=np.uint8))
    assert load("train", valPath="train").train.arrays[0].shape == (2, 3, 4, 6)
    grey_only = load("train", valPath="train", preprocessing={"imageMode": "L"})
    assert grey_only.train.arrays[0].shape == (2, 1, 4, 6)


def test_the_most_common_size_is_taken_and_said(load, tmp_path: Path, codes):
    for index in range(3):
        save(tmp_path / "train" / "a" / f"{index}.png", grey(index, 5, 7))
    save(tmp_path / "train" / "b" / "1.png", grey(9, 8, 8))
    data = load("train", valPath="train")
    assert data.train.arrays[0].shape == (4, 1, 5, 7)
    assert "image_sizes_differ" in codes(data)
    chosen = load("train", valPath="train", preprocessing={"imageSize": [2, 3]})
    assert chosen.train.arrays[0].shape == (4, 1, 2, 3)
    assert "image_sizes_differ" not in codes(chosen)


def test_sixteen_bit_grey_keeps_its_range(load, tmp_path: Path):
    save(tmp_path / "train" / "a" / "1.png", np.full((4, 6), 65535, dtype=np.uint16))
    save(tmp_path / "train" / "b" / "1.png", np.full((4, 6), 257 * 128, dtype=np.uint16))
    inputs = load("train", valPath="train", preprocessing={"standardize": False}).train.arrays[0]
    np.testing.assert_allclose(inputs[:, 0, 0, 0], [1, 128 / 255], atol=1e-6)


def test_classes_are_numbered_by_the_training_folder(load, refuse, tmp_path: Path):
    for name in ("ant", "bee", "cat"):
        save(tmp_path / "train" / name / "1.png", grey(1))
    save(tmp_path / "val" / "cat" / "1.png", grey(1))
    assert load("train", valPath="val").validation.arrays[1].tolist() == [2]
    save(tmp_path / "val" / "dog" / "1.png", grey(1))
    error = refuse("train", valPath="val")
    assert "dog are not among the training classes ant, bee, cat" in error.message
    assert "cat, dog" in error.message
    assert error.place.pointer == "/dataConfig/valPath"


def test_a_binary_task_has_float_targets(load, tmp_path: Path):
    save(tmp_path / "train" / "no" / "1.png", grey(1))
    save(tmp_path / "train" / "yes" / "1.png", grey(1))
    data = load("train", valPath="train", training={"task": "binary"})
    assert data.train.arrays[1].dtype == np.float32
    assert data.train.arrays[1].tolist() == [0, 1]


def test_files_that_are_no_images_are_skipped_and_said(load, tmp_path: Path):
    for name in "ab":
        save(tmp_path / "train" / name / "1.png", grey(1))
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "train" / "a" / ".DS_Store").write_text("x")
    (tmp_path / "train" / ".hidden").mkdir()
    data = load("train", valPath="train")
    alert = next(alert for alert in data.warnings if alert.code == "files_skipped")
    assert alert.evidence == {"files": 1}
    assert len(data.train) == 2


def test_damaged_images_are_named(refuse, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in "ab":
        whole = save(tmp_path / "train" / name / "1.png", rng.integers(0, 256, (40, 40), dtype=np.uint8))
    cut = tmp_path / "train" / "b" / "2.png"
    cut.write_bytes(whole.read_bytes()[:600])
    error = refuse("train", valPath="train")
    assert (error.code, error.place.path) == ("data_unreadable", str(cut))
    cut.write_bytes(b"no image at all")
    assert refuse("train", valPath="train").place.path == str(cut)


def test_folders_that_hold_no_classes(refuse, tmp_path: Path):
    (tmp_path / "train").mkdir()
    assert "has no class folders" in refuse("train").message
    save(tmp_path / "train" / "a" / "1.png", grey(1))
    assert "one class only (a)" in refuse("train").message
    (tmp_path / "train" / "b").mkdir()
    error = refuse("train")
    assert "holds no image" in error.message
    assert error.place.path == str(tmp_path / "train" / "b")


def test_a_folder_above_the_class_folders_is_recognised(refuse, tmp_path: Path):
    for split in ("test", "train"):
        for name in "ab":
            save(tmp_path / "data" / split / name / "1.png", grey(1))
    error = refuse("data")
    assert "holds folders (a, b) and no image of its own" in error.message
    assert error.fix[0].path == "/dataConfig/trainPath"
    assert error.fix[0].value == str(tmp_path / "data" / "test")


def test_class_folders_cannot_be_regressed(refuse, digits: Path, tmp_path: Path):
    (tmp_path / "train").symlink_to(digits / "train")
    assert "no numbers to regress" in refuse("train", training={"task": "regression"}).message


def test_images_that_do_not_fit_in_memory_are_the_same_images(digits: Path):
    """The same pixels, decoded when they are taken; a loader process may hold a copy of the samples."""
    listing = images.list_images(digits / "train", "/dataConfig/trainPath")
    transform, _ = choose_transform(listing.paths, Preprocessing())
    resident, recipe, _ = images._read([listing], transform, True, "classification")
    lazy = pickle.loads(
        pickle.dumps(LazyImages(listing.paths, listing.labels, measure_channels(listing.paths, transform)))
    )
    some = np.array([5, 0, 199])
    np.testing.assert_allclose(lazy.take(some)[0], resident[0].take(some)[0], atol=1e-4)
    np.testing.assert_array_equal(lazy.take(some)[1], resident[0].take(some)[1])
    np.testing.assert_allclose(lazy.transform.mean, recipe.mean, rtol=1e-6)
    assert lazy.arrays is None
    assert len(lazy) == 200
