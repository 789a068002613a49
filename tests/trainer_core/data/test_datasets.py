"""Data that the model file makes: arrays, or a data set with a collate of its own."""

from pathlib import Path

import numpy as np
import pytest

ARRAYS = """
import numpy as np
def build_dataset(path, split):
    if split == "val" and "no-val" in path:
        return None
    count = 40 if split == "train" else 10
    return np.arange(count * 2.0).reshape(count, 2), np.arange(count) % 4
"""

SET = """
import numpy as np
class Squares:
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        if index == 13:
            raise OSError("unlucky")
        return np.array([index, index], dtype=np.float32), index % 2
def build_dataset(path, split):
    return Squares(20 if split == "train" else 5)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    """Somewhere for trainPath to point at."""
    (tmp_path / "data").mkdir()
    (tmp_path / "no-val").mkdir()


def test_a_pair_of_arrays(load, codes):
    data = load("data", model=ARRAYS)
    assert data.format == "modelFile"
    assert data.train.arrays[0].shape == (40, 2)
    assert len(data.validation) == 10
    assert "no_validation_data" not in codes(data)


def test_none_for_val_means_that_a_part_is_held_out(load, codes):
    data = load("no-val", model=ARRAYS)
    assert (len(data.train), len(data.validation)) == (32, 8)
    assert np.bincount(data.validation.arrays[1]).tolist() == [2, 2, 2, 2]
    assert "no_validation_data" in codes(data)


def test_settings_that_these_data_left_without_effect_are_named(load):
    arrays, held_out, several = load("data", model=ARRAYS), load("no-val", model=ARRAYS), load("data", model=SET)
    assert [idle.name for idle in arrays.idle] == [
        "dataConfig.numWorkers",
        "dataConfig.valSplit",
        "dataConfig.splitMethod",
    ]
    assert [idle.name for idle in held_out.idle] == ["dataConfig.numWorkers"]
    assert [idle.name for idle in several.idle] == ["dataConfig.valSplit", "dataConfig.splitMethod"]


def test_another_format_that_is_asked_for_wins(load, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.ones((10, 3)), y=np.arange(10) % 2)
    assert load("a.npz", model=ARRAYS, format="npz").train.arrays[0].shape == (8, 3)


def test_asked_for_and_not_there(refuse):
    error = refuse("data", format="modelFile")
    assert error.code == "model_invalid"
    assert "defines no build_dataset" in error.message


def test_a_data_set_is_read_when_it_is_taken(load):
    data = load("data", model=SET)
    assert (len(data.train), len(data.validation), data.task) == (20, 5, "classification")
    assert data.train.arrays is None
    inputs, targets = data.train.take(np.array([3, 1]))
    assert inputs.tolist() == [[3, 3], [1, 1]]
    assert targets.tolist() == [1, 1]


def test_an_exception_of_the_data_set_has_its_line(load, tmp_path: Path):
    from trainer_core.failure import Failure

    data = load("data", model=SET)
    with pytest.raises(Failure) as caught:
        data.train.take(np.array([12, 13]))
    error = caught.value.error
    assert (error.code, error.place.line) == ("data_invalid", 10)
    assert "OSError while reading samples" in error.message
    assert "unlucky" in error.untrusted


def test_the_file_collates(load):
    model = SET + "def collate(items):\n    return [item[0] * 2 for item in items], [item[1] for item in items]\n"
    inputs, targets = load("data", model=model).train.take(np.array([2]))
    assert inputs[0].tolist() == [4, 4]
    assert targets == [0]


def test_tensors_are_collated_by_torch(load):
    import torch

    model = SET.replace("import numpy as np", "import numpy as np\nimport torch").replace(
        "return np.array([index, index], dtype=np.float32), index % 2",
        "return torch.full((2,), float(index)), index % 2",
    )
    inputs, targets = load("data", model=model).train.take(np.array([4]))
    assert torch.equal(inputs, torch.tensor([[4.0, 4.0]]))
    assert targets.dtype == torch.int64


def test_getitems_reads_a_whole_batch(load):
    model = SET.replace(
        "class Squares:",
        "class Squares:\n    def __getitems__(self, indices):\n        return [self[i] for i in indices]\n",
    )
    assert len(load("data", model=model).train.take(np.array([2, 4]))[1]) == 2


def test_a_data_set_that_shows_its_targets_is_split_by_class(load):
    model = SET.replace(
        "self.count = count", "self.count = count\n        self.targets = [i % 2 for i in range(count)]"
    )
    model = model.replace(
        'return Squares(20 if split == "train" else 5)', "return Squares(20) if split == 'train' else None"
    )
    data = load("data", model=model)
    assert data.classes == ("0", "1")
    assert sorted(data.validation.take(np.arange(4))[1].tolist()) == [0, 0, 1, 1]
    assert data.profile["classCounts"]["train"] == {"0": 10, "1": 10}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("3", "returned a int"),
        ("None", "returned a NoneType"),
        ("(np.ones(3), np.ones(2))", "'x' has 3 samples and 'y' 2"),
        ("(np.ones(3), np.ones(3)) if split == 'train' else Squares(3)", "arrays for one split and a data set"),
        ("(np.ones(3), 'ab')", "no samples"),
        ("Squares(0)", "is empty"),
        ("1 / 0", "ZeroDivisionError while building the train data"),
    ],
)
def test_what_is_no_data_is_refused(refuse, tmp_path: Path, returned, message):
    model = SET[: SET.index("def build_dataset")] + f"def build_dataset(path, split):\n    return {returned}\n"
    error = refuse("data", model=model)
    assert error.code == ("data_empty" if "empty" in message else "data_invalid")
    assert message in error.message
    assert error.place.path == str(tmp_path / "data_model.py")
