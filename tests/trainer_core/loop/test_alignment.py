"""Which outputs and targets fit together, and how they are then read."""

import pytest
import torch
from torch import Tensor

from trainer_core.failure import Failure
from trainer_core.loop.alignment import align_classes, align_values, count_scores, one_tensor


def numbered(*shape: int) -> Tensor:
    """Each element another number."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


def classes(*shape: int) -> Tensor:
    """Each element another class."""
    return numbered(*shape).long()


@pytest.mark.parametrize(
    ("output", "targets", "scores_stand"),
    [
        ((4, 3), (4,), 1),
        ((4, 3), (4, 1), 1),
        ((4, 1), (4,), 1),
        ((1, 1), (1, 1), 1),
        ((2, 5, 3), (2, 5), 2),
        # Both readings fit: a sequence.
        ((3, 3, 3), (3, 3), 2),
        ((2, 3, 5), (2, 5), 1),
        ((2, 3, 4, 5), (2, 4, 5), 1),
        ((2, 4, 5, 3), (2, 4, 5), 3),
        # Both fit: an image.
        ((2, 4, 4, 4), (2, 4, 4), 1),
        ((2, 3, 1), (2, 1), 1),
        ((2, 1, 3), (2, 1), 2),
    ],
)
def test_scores_and_classes_are_read_sample_by_sample(output, targets, scores_stand):
    scores, numbers = align_classes(numbered(*output), classes(*targets))
    assert torch.equal(scores, numbered(*output).movedim(scores_stand, -1).reshape(-1, output[scores_stand]))
    assert torch.equal(numbers, classes(*targets).reshape(-1))
    assert count_scores(numbered(*output), classes(*targets)) == output[scores_stand]


def test_what_fits_as_it_stands_is_not_touched():
    output, targets = numbered(4, 3), classes(4)
    scores, numbers = align_classes(output, targets)
    assert scores is output
    assert numbers is targets


@pytest.mark.parametrize(
    ("output", "targets", "said"),
    [
        ((4, 3), (5,), r"shape \(4, 3\) do not fit targets of shape \(5\), torch.int64: classification wants"),
        ((4, 3), (4, 2), r"\(4, 3\) do not fit targets of shape \(4, 2\)"),
        ((4,), (4, 1), "classification wants"),
        ((), (4,), "classification wants"),
        ((3,), (), "classification wants"),
        ((2, 3, 4, 5), (2, 4), "classification wants"),
        ((4,), (4,), "one number for each target"),
        ((4, 2), (4, 2), "one number for each target"),
    ],
)
def test_what_does_not_fit_is_refused(output, targets, said):
    with pytest.raises(Failure, match=said) as caught:
        align_classes(numbered(*output), classes(*targets))
    assert caught.value.error.code == "model_invalid"
    assert count_scores(numbered(*output), classes(*targets)) is None


@pytest.mark.parametrize(("highest", "task"), [(1, "binary"), (2, "regression")])
def test_one_output_for_each_target_is_answered_by_the_task_that_is_meant(highest, task):
    with pytest.raises(Failure) as caught:
        align_classes(numbered(2, 2), torch.tensor([[0, 1], [1, highest]]))
    assert [(patch.path, patch.value) for patch in caught.value.error.fix] == [("/trainingConfig/task", task)]


def test_amounts_are_no_classes():
    with pytest.raises(Failure, match="class indices must be whole numbers"):
        align_classes(numbered(4, 3), torch.ones(4))
    assert count_scores(numbered(4, 3), torch.ones(4)) is None
    assert count_scores({"logits": numbered(4, 3)}, classes(4)) is None
    assert count_scores(numbered(4, 3), [0, 1, 2, 3]) is None


@pytest.mark.parametrize(
    ("output", "targets", "fits"),
    [
        ((4,), (4,), True),
        ((4, 1), (4,), True),
        ((4,), (4, 1), True),
        ((1, 3), (1, 3, 1), True),
        # The first dimension is that of the samples, whatever its size.
        ((1, 4), (4,), False),
        ((1, 4), (4, 1), False),
        ((4, 2), (4,), False),
        ((4,), (5,), False),
        ((4, 2, 3), (4, 3, 2), False),
    ],
)
def test_values_fit_up_to_dimensions_of_one(output, targets, fits):
    if not fits:
        with pytest.raises(Failure, match="up to dimensions of size 1"):
            align_values(numbered(*output), classes(*targets))
        return
    values, wanted = align_values(numbered(*output), classes(*targets))
    assert torch.equal(values, numbered(*output).reshape(targets))
    assert torch.equal(wanted, numbered(*targets))


def test_one_tensor_of_real_numbers_is_wanted():
    for value in ([torch.ones(1)], None):
        with pytest.raises(Failure, match=f"The outputs are a {type(value).__name__}, and"):
            one_tensor(value, "outputs")
    with pytest.raises(Failure, match="The outputs are complex numbers"):
        one_tensor(torch.ones(2, dtype=torch.complex64), "outputs")
    for kind, read in [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
    ]:
        assert one_tensor(torch.ones(2, dtype=kind), "outputs").dtype == read
