"""The held-out share: its size, its classes, and that it is the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.data import DataConfig
from trainer_core.data.split import hold_out
from trainer_core.failure import Failure

CONFIG = DataConfig(train_path="data")


def classes_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@given(st.lists(st.integers(2, 60), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_every_sample_is_on_one_side_and_no_class_leaves_training(counts, share, seed):
    classes = classes_of(*counts)
    split = hold_out(len(classes), CONFIG.model_copy(update={"val_split": share}), seed, classes)
    assert sorted([*split.train, *split.validation]) == list(range(len(classes)))
    assert len(split.validation) >= 1
    assert set(classes[split.train]) == set(range(len(counts)))


def test_each_class_gives_its_share():
    classes = classes_of(100, 50, 10)
    split = hold_out(160, CONFIG, 0, classes)
    assert np.bincount(classes[split.validation]).tolist() == [20, 10, 2]
    assert [alert.code for alert in split.warnings] == ["no_validation_data"]
    assert "32 of 160 samples are held out, stratified by class" in split.warnings[0].message


def test_the_seed_decides():
    classes = classes_of(30, 30)
    same = [hold_out(60, CONFIG, 1, classes).validation.tolist() for _ in range(2)]
    assert same[0] == same[1] != hold_out(60, CONFIG, 2, classes).validation.tolist()


def test_a_class_with_one_sample_makes_it_random_and_is_said():
    split = hold_out(11, CONFIG, 0, classes_of(10, 1))
    assert [alert.code for alert in split.warnings] == ["no_validation_data", "split_not_stratified"]
    assert split.warnings[1].evidence == {"classNumbers": ["1"]}


@pytest.mark.parametrize("classes", [None, classes_of(8, 2)])
def test_numbers_and_whoever_asks_for_it_get_a_random_split(classes):
    config = CONFIG if classes is None else CONFIG.model_copy(update={"split_method": "random"})
    split = hold_out(10, config, 0, classes)
    assert len(split.validation) == 2
    assert [alert.evidence["method"] for alert in split.warnings] == ["at random"]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_split(count):
    with pytest.raises(Failure, match="cannot be split") as caught:
        hold_out(count, CONFIG, 0, None)
    assert caught.value.error.code == "data_invalid"
