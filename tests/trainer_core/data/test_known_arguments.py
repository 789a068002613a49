"""Arguments of a model that the data decide: by what a sample looks like, and nothing that nobody can tell."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from trainer_core.data.known_arguments import known_arguments

DIGITS = load_digits()


def known(load, folder: Path, x: np.ndarray, y: np.ndarray) -> dict[str, int]:
    np.savez(folder / "a.npz", x=x, y=y)
    return known_arguments(load("a.npz"))


def test_numbers_and_classes(load, tmp_path: Path):
    found = known(load, tmp_path, DIGITS.data.astype(np.float32), DIGITS.target)
    assert (found["num_classes"], found["in_features"], found["input_size"]) == (10, 64, 64)
    assert "in_channels" not in found


def test_pictures(load, tmp_path: Path):
    found = known(load, tmp_path, DIGITS.images[:, None].astype(np.float32), DIGITS.target)
    assert (found["num_classes"], found["in_channels"], found["image_size"]) == (10, 1, 8)
    assert "in_features" not in found


def test_regressed_values(load, tmp_path: Path):
    found = known(load, tmp_path, DIGITS.data.astype(np.float32), np.random.default_rng(0).normal(size=(1797, 3)))
    assert found["out_features"] == 3


def test_the_vocabulary_of_a_text_is_not_guessed(load, tmp_path: Path):
    found = known(load, tmp_path, DIGITS.data.astype(np.int64), DIGITS.target)
    assert "in_features" not in found
    assert found["num_classes"] == 10


def test_a_data_set_of_several_inputs_is_left_alone(load):
    model = (
        "import torch\nclass Set:\n    targets = [0, 1] * 5\n    def __len__(self): return 10\n"
        "    def __getitem__(self, i): return {'a': torch.ones(2), 'b': torch.ones(3)}, i % 2\n"
        "def build_dataset(path, split):\n    return Set() if split == 'train' else None\n"
    )
    assert known_arguments(load(".", model=model)).keys() >= {"num_classes"}
