"""Losses: sum / count is torch's mean, however the batch is cut; what does not fit is refused, not broadcast."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.losses import LOSSES, Task
from schemas.training import TrainingConfig
from trainer_core.failure import Failure
from trainer_core.loop.losses import Loss, build_loss

CPU = torch.device("cpu")
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 3.0]


def build(task: Task, own: Any = None, **options: object) -> Loss:
    return build_loss(TrainingConfig.model_validate(options), task, own, CPU)


def mean(loss: Loss, output: Tensor, targets: Tensor) -> Tensor:
    total, count = loss(output, targets)
    assert total.shape == count.shape == ()
    assert not count.requires_grad
    return total / count


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHTS])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_cross_entropy_is_torchs_mean(smoothing: float, weight: list[float] | None, ignored: int) -> None:
    arguments = {"ignore_index": ignored} | ({"weight": weight} if weight else {})
    loss = build("classification", lossArgs=arguments, labelSmoothing=smoothing)
    logits = torch.randn(40, 4, requires_grad=True)
    targets = torch.randint(4, (40,))
    targets[:5] = ignored
    tensor = None if weight is None else torch.tensor(weight)
    expected = functional.cross_entropy(logits, targets, tensor, ignore_index=ignored, label_smoothing=smoothing)
    torch.testing.assert_close(mean(loss, logits, targets), expected)
    whole = functional.cross_entropy(logits, targets, tensor, None, ignored, None, "sum", smoothing)
    assert loss(logits, targets)[0].equal(whole)
    (ours,) = torch.autograd.grad(mean(loss, logits, targets), logits)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_sums_and_counts_of_uneven_parts_are_those_of_the_whole(name: str) -> None:
    arguments = {"weight": CLASS_WEIGHTS} if name == "cross_entropy" else {"alpha": CLASS_WEIGHTS}
    loss = build("classification", loss=name, lossArgs=arguments)
    logits, targets = torch.randn(20, 4), torch.randint(4, (20,))
    targets[[1, 2, 3, 9]] = -100
    parts = [loss(*pair) for pair in zip(logits.split([3, 1, 9, 7]), targets.split([3, 1, 9, 7]), strict=True)]
    whole = loss(logits, targets)
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).sum(), whole[0])
    torch.testing.assert_close(torch.stack([part[1] for part in parts]).sum(), whole[1])


def test_sequences_and_images_are_read_by_their_shape() -> None:
    loss = build("classification")
    sequence, tokens = torch.randn(2, 7, 4), torch.randint(4, (2, 7))
    expected = functional.cross_entropy(sequence.transpose(1, 2), tokens)
    torch.testing.assert_close(mean(loss, sequence, tokens), expected)
    torch.testing.assert_close(mean(loss, sequence.transpose(1, 2), tokens), expected)
    image, pixels = torch.randn(2, 4, 4, 4), torch.randint(4, (2, 4, 4))
    torch.testing.assert_close(mean(loss, image, pixels), functional.cross_entropy(image, pixels))


def test_probabilities_as_targets() -> None:
    logits, targets = torch.randn(6, 4), torch.rand(6, 4).softmax(1)
    loss = build("classification", labelSmoothing=0.2)
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(mean(loss, logits, targets), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_batch_that_is_all_masked_is_zero_and_counts_zero(name: str) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    total, count = build("classification", loss=name)(logits, torch.full((3,), -100))
    total.backward()
    assert total.item() == count.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_focal_is_the_papers_formula() -> None:
    logits, targets = torch.randn(50, 4), torch.randint(4, (50,))
    p = logits.softmax(1)[torch.arange(50), targets]
    alpha = torch.tensor(CLASS_WEIGHTS)[targets]
    expected = (-alpha * (1 - p) ** 1.5 * p.log()).mean()
    loss = build("classification", loss="FocalLoss", lossArgs={"gamma": 1.5, "alpha": CLASS_WEIGHTS})
    torch.testing.assert_close(mean(loss, logits, targets), expected)
    plain = build("classification", loss="focal", lossArgs={"gamma": 0})
    torch.testing.assert_close(mean(plain, logits, targets), functional.cross_entropy(logits, targets))


def test_one_alpha_of_two_classes_is_that_of_class_one() -> None:
    logits, targets = torch.randn(50, 2), torch.randint(2, (50,))
    one = build("classification", loss="focal", lossArgs={"alpha": 0.25})
    two = build("classification", loss="focal", lossArgs={"alpha": [0.75, 0.25]})
    torch.testing.assert_close(mean(one, logits, targets), mean(two, logits, targets))


def test_focal_has_a_gradient_where_the_model_is_certain() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    total, _ = build("classification", loss="focal", lossArgs={"gamma": 0.5})(logits, torch.tensor([0, 0]))
    total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("shapes", [((9,), (9,)), ((9, 1), (9,)), ((9,), (9, 1)), ((9, 3), (9, 3))])
@pytest.mark.parametrize(
    ("task", "name", "arguments", "theirs"),
    [
        ("binary", "bce", {"pos_weight": 3.0}, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))),
        ("binary", None, {}, nn.BCEWithLogitsLoss()),
        ("regression", None, {}, nn.MSELoss()),
        ("regression", "L1Loss", {}, nn.L1Loss()),
        ("regression", "huber", {"delta": 0.3}, nn.HuberLoss(delta=0.3)),
    ],
)
def test_losses_of_values_are_torchs_mean(
    task: Task, name: str | None, arguments: dict[str, object], theirs: nn.Module, shapes: tuple[tuple[int, ...], ...]
) -> None:
    output, targets = torch.randn(shapes[0]), torch.randint(2, shapes[1])
    expected = theirs(output.reshape(shapes[1]), targets.float())
    torch.testing.assert_close(mean(build(task, loss=name, lossArgs=arguments), output, targets), expected)


@pytest.mark.parametrize(
    ("task", "output", "targets"),
    [
        ("regression", (9,), (8,)),
        ("regression", (9, 3), (9,)),
        ("binary", (9, 2), (9,)),
        ("classification", (9,), (9,)),
        ("classification", (9, 3), (9, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(task: Task, output: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(Failure, match="do not fit targets") as caught:
        build(task)(torch.zeros(output), torch.zeros(targets, dtype=torch.int64))
    assert caught.value.error.code == "model_invalid"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, targets = torch.randn(4000, 4).to(dtype), torch.randint(4, (4000,))
    total, count = build("classification")(logits, targets)
    assert total.dtype == count.dtype == torch.float32
    torch.testing.assert_close(total, functional.cross_entropy(logits.float(), targets, reduction="sum"))


def test_the_model_files_own_loss_may_be_a_mean_or_a_pair() -> None:
    output, targets = torch.randn(6, 2), torch.randn(6, 2)
    own = build("regression", lambda output, targets: (output - targets).abs().mean())
    total, count = own(output, targets)
    assert (own.name, count.item()) == ("model file", 6)
    torch.testing.assert_close(total / count, (output - targets).abs().mean())
    pair = build("regression", lambda output, targets: ((output - targets).abs().sum(), 12))
    torch.testing.assert_close(mean(pair, output, targets), (output - targets).abs().mean())
    nested = build("regression", lambda output, targets: output.mean())
    assert nested(output, {"boxes": (targets, targets)})[1] == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_own_mean_in_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    """40,000 times the mean: half precision has no room for it, or no digits."""
    own = build("regression", lambda output, targets: (output * 0 + 3.001).mean().to(dtype))
    total, count = own(torch.zeros(40_000), torch.zeros(40_000))
    assert total.dtype == torch.float32
    assert (total / count).item() == pytest.approx(float(torch.tensor(3.001).to(dtype)), rel=1e-6)


@pytest.mark.parametrize("returned", [torch.zeros(3), 1.0, None])
def test_an_own_loss_that_is_no_scalar_is_refused(returned: object) -> None:
    with pytest.raises(Failure, match="The model file's loss returned") as caught:
        build("regression", lambda output, targets: returned)(torch.zeros(3), torch.zeros(3))
    assert "pair (sum, count)" in caught.value.error.next_move


def test_the_named_loss_comes_before_the_model_files_and_that_before_the_tasks() -> None:
    def own(output: Tensor, targets: Tensor) -> Tensor:
        return output.mean()

    assert build("regression", own, loss="l1").name == "l1"
    assert build("regression", own).name == "model file"
    assert [build(task).name for task in ("classification", "binary", "regression")] == ["cross_entropy", "bce", "mse"]


def test_every_loss_of_the_table_can_be_built() -> None:
    for entry in LOSSES:
        for task in entry.tasks:
            assert {build(task, loss=spelling).name for spelling in (entry.name, *entry.aliases)} == {entry.name}


@pytest.mark.parametrize(
    ("task", "document", "pointer", "says"),
    [
        ("regression", {"loss": "mean_squares"}, "/loss", "there are: cross_entropy"),
        ("regression", {"loss": "bce"}, "/loss", "take mse, l1, huber"),
        ("regression", {"loss": "huber", "lossArgs": {"delta": 0}}, "/lossArgs/delta", "greater than 0"),
        ("classification", {"lossArgs": {"weights": [1]}}, "/lossArgs/weights", "did you mean weight?"),
        ("classification", {"lossArgs": {"weight": [1, 2, "3"]}}, "/lossArgs/weight", "a list of at least one item"),
        ("classification", {"lossArgs": {"weight": [1, 2]}}, "/lossArgs/weight", "the model has 4 outputs"),
        (
            "classification",
            {"loss": "focal", "lossArgs": {"alpha": 0.25}},
            "/lossArgs/alpha",
            "the model has 4 outputs",
        ),
        ("classification", {"loss": "focal", "labelSmoothing": 0.1}, "/labelSmoothing", "for cross_entropy only"),
    ],
)
def test_wrong_definitions_are_refused_with_their_place(
    task: Task, document: dict[str, object], pointer: str, says: str
) -> None:
    with pytest.raises(Failure) as caught:
        build(task, **document)(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    error = caught.value.error
    assert error.code == "input_invalid"
    assert error.place is not None
    assert error.place.pointer == "/trainingConfig" + pointer
    assert says in error.message


def test_arguments_for_the_model_files_own_loss_are_refused() -> None:
    with pytest.raises(Failure, match="takes no lossArgs"):
        build("regression", lambda output, targets: output.mean(), lossArgs={"delta": 1})
    with pytest.raises(Failure, match="Label smoothing is for cross_entropy only"):
        build("classification", lambda output, targets: output.mean(), labelSmoothing=0.1)


def test_classes_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(Failure, match="class indices must be whole numbers"):
        build("classification")(torch.zeros(9, 3), torch.zeros(9))


@pytest.mark.parametrize("targets", [None, {}, "three"], ids=repr)
def test_the_mean_of_an_own_loss_needs_targets_that_can_be_counted(targets: object) -> None:
    with pytest.raises(Failure, match=f"Targets of type {type(targets).__name__} cannot be counted"):
        build("regression", lambda output, targets: output.mean())(torch.zeros(3), targets)
