"""Figures: equal to scikit-learn's on whole sets, however these are cut, masked and spread over ranks."""

import math
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

from schemas.losses import Task
from schemas.metrics import usual_metrics
from trainer_core.failure import Failure
from trainer_core.loop.metrics.file_figures import FileFigures
from trainer_core.loop.metrics.metrics import Figures, build_figures
from trainer_core.loop.ranks import Ranks

CPU = torch.device("cpu")


class Table:
    """Where ranks, each in a thread of its own, lay down what they have and take what all have."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=30)
        self.places: list[Any] = [None] * world


class Seated(Ranks):
    """One of several ranks in this process."""

    def __init__(self, table: Table, index: int) -> None:
        self._table = table
        self.index = index

    def gather(self, thing: Any) -> list[Any]:
        self._table.barrier.wait()
        self._table.places[self.index] = thing
        self._table.barrier.wait()
        return list(self._table.places)

    def sum(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(torch.stack(self.gather(tensor.clone())).sum(0))


def merge_all(ranks: list[Figures]) -> None:
    """Merge the figures of all ranks, at the same time as real ones do."""
    table = Table(len(ranks))
    with ThreadPoolExecutor(len(ranks)) as threads:
        merged = [threads.submit(figures.merge, Seated(table, index)) for index, figures in enumerate(ranks)]
        for one in merged:
            one.result()


def observe(figures: Figures, output: Any, targets: Any) -> None:
    figures.update(output, targets, torch.tensor(2.0 * len(targets)), torch.tensor(float(len(targets))))


def build(task: Task, metrics: Any = None, **options: int) -> Figures:
    return build_figures(task, CPU, metrics, tuple(usual_metrics(task, 0)), **options)


def digits() -> tuple[Tensor, Tensor]:
    """Noisy scores of the 1,797 digits: some 80 % right."""
    targets = torch.from_numpy(load_digits().target).long()
    noise = torch.randn(len(targets), 10, generator=torch.Generator().manual_seed(0))
    return noise + 3 * torch.nn.functional.one_hot(targets, 10), targets


def diabetes() -> tuple[Tensor, Tensor]:
    """Progression of 442 patients, far from 0, and a noisy guess."""
    targets = torch.from_numpy(load_diabetes().target).double() + 1e6
    return targets + 40 * torch.randn(len(targets), generator=torch.Generator().manual_seed(0)), targets


def test_classification_equals_scikit_learn() -> None:
    scores, targets = digits()
    figures = build("classification")
    for part in torch.arange(len(targets)).split(100):
        observe(figures, scores[part], targets[part])
    found = figures.compute("val")
    predicted = scores.argmax(1)
    assert found["valLoss"] == 2.0
    assert found["valAccuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted), rel=1e-12)
    expected = sklearn_metrics.f1_score(targets, predicted, average="macro")
    assert found["valF1"] == pytest.approx(expected, rel=1e-12)
    assert set(figures.compute("train")) == {"trainLoss", "trainAccuracy"}


def test_f1_is_over_the_classes_that_occur() -> None:
    figures = build("classification")
    scores, targets = torch.eye(5)[[0, 0, 3]], torch.tensor([0, 1, 3])
    observe(figures, scores, targets)
    expected = sklearn_metrics.f1_score(targets, [0, 0, 3], average="macro")
    assert figures.compute("val")["valF1"] == pytest.approx(expected)


def test_ignored_targets_and_sequences() -> None:
    figures = build("classification", ignore_index=1)
    scores = torch.eye(3)[torch.tensor([[0, 1, 2], [0, 0, 0]])]
    observe(figures, scores, torch.tensor([[0, 1, 2], [2, 1, 0]]))
    assert figures.compute("val")["valAccuracy"] == 3 / 4
    masked = build("classification")
    observe(masked, torch.eye(3), torch.full((3,), -100))
    assert masked.compute("val") == {"valLoss": 2.0}
    foreign = build("classification")
    observe(foreign, torch.eye(3)[[0, 0, 1, 2]], torch.tensor([-1, 0, 2, 7]))
    assert foreign.compute("val")["valAccuracy"] == 1 / 2, "what is no class of the model counts neither way"


def test_of_probabilities_as_targets_the_most_probable_class_is_meant() -> None:
    figures, expected = build("classification"), build("classification")
    scores, targets = digits()
    probable = torch.nn.functional.one_hot(targets, 10) * 0.5 + 0.05
    observe(figures, scores, probable)
    observe(expected, scores, targets)
    assert figures.compute("val") == expected.compute("val")


def test_binary_is_cut_at_logit_zero() -> None:
    figures = build("binary")
    logits, targets = torch.tensor([[-2.0], [0.1], [3.0], [-0.1]]), torch.tensor([0, 1, 0, 1])
    observe(figures, logits, targets)
    found = figures.compute("val")
    assert found["valAccuracy"] == 0.5
    assert found["valF1"] == pytest.approx(sklearn_metrics.f1_score(targets, [0, 1, 1, 0]))


def test_regression_equals_scikit_learn_far_from_zero() -> None:
    values, targets = diabetes()
    figures = build("regression")
    for part in torch.arange(len(targets)).split(30):
        observe(figures, values[part, None], targets[part])
    found = figures.compute("train")
    assert found["trainR2"] == pytest.approx(sklearn_metrics.r2_score(targets, values), rel=1e-9)
    assert found["trainMae"] == pytest.approx(sklearn_metrics.mean_absolute_error(targets, values), rel=1e-12)
    expected = sklearn_metrics.root_mean_squared_error(targets, values)
    assert found["trainRmse"] == pytest.approx(expected, rel=1e-12)


def test_r2_of_several_outputs_is_their_mean() -> None:
    targets = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 100.0, 0.01])
    values = targets * 0.9 + 0.001
    figures = build("regression")
    for part in torch.arange(50).split(7):
        observe(figures, values[part], targets[part])
    expected = sklearn_metrics.r2_score(targets, values)
    assert figures.compute("val")["valR2"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_ranks_together_equal_one_process(task: Task, samples: int, world: int) -> None:
    scores, targets = digits() if task == "classification" else diabetes()
    scores, targets = scores[:samples], targets[:samples]
    alone, ranks = build(task), [build(task) for _ in range(world)]
    observe(alone, scores, targets)
    for index, figures in enumerate(ranks):
        if len(part := targets[index::world]):
            observe(figures, scores[index::world], part)
    merge_all(ranks)
    for figures in ranks:
        assert figures.compute("val") == pytest.approx(alone.compute("val"), rel=1e-12)


def test_what_is_not_defined_is_left_out() -> None:
    assert build("classification").compute("val") == {}
    assert build("regression").compute("val") == {}
    constant = build("regression")
    observe(constant, torch.zeros(3), torch.ones(3))
    assert set(constant.compute("val")) == {"valLoss", "valMae", "valRmse"}
    assert constant.omitted.endswith("the held-out targets do not vary")
    broken = build("regression")
    broken.update(torch.tensor([math.nan]), torch.ones(1), torch.tensor(math.nan), torch.tensor(1.0))
    assert broken.compute("val") == {}
    varied = build("regression")
    observe(varied, torch.tensor([math.nan, 1.0]), torch.arange(2.0))
    assert varied.compute("val") == {"valLoss": 2.0}
    assert varied.omitted.endswith("an output is not finite")


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_training_figures_go_on_from_their_state(task: Task) -> None:
    scores, targets = digits() if task == "classification" else (torch.randn(1797), torch.randint(2, (1797,)))
    straight, first, second = (build_figures(task, CPU) for _ in range(3))
    observe(first, scores[:900], targets[:900])
    second.restore(first.state())
    observe(second, scores[900:], targets[900:])
    for part in (slice(0, 900), slice(900, None)):
        observe(straight, scores[part], targets[part])
    assert second.compute("train") == straight.compute("train")
    second.reset()
    assert second.compute("train") == {}


def test_a_state_is_a_copy() -> None:
    figures = build("binary")
    state = figures.state()
    observe(figures, torch.zeros(2), torch.zeros(2))
    assert not state["loss"].any()


def test_outputs_that_fit_no_figure_are_counted_in_the_loss_alone() -> None:
    figures = build("classification")
    observe(figures, {"boxes": torch.zeros(2)}, torch.zeros(2))
    assert figures.compute("val") == {"valLoss": 2.0}
    assert "dict" in figures.omitted


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_outputs_of_another_width_are_counted_in_the_loss_alone(task: Task) -> None:
    """No figure is one of a part of the batches, nor one that mixes both widths."""
    figures = build(task)
    for width in (3, 4):
        targets = torch.arange(3) if task == "classification" else torch.ones(3, width)
        observe(figures, torch.zeros(3, width), targets)
    assert figures.compute("val") == {"valLoss": 2.0}
    assert "4 wide here and 3" in figures.omitted


def test_the_model_files_metrics_see_all_outputs_at_once() -> None:
    def metrics(outputs: Tensor, targets: Tensor) -> dict[str, object]:
        size = float(len(outputs))
        return {"f1_macro": size, "auc": torch.tensor(0.5), "undefined": math.nan, "top5": len(targets)}

    figures = build("classification", metrics)
    scores, targets = digits()
    for part in torch.arange(50).split(20):
        observe(figures, scores[part], targets[part])
    figures.merge(Ranks())
    found = figures.compute("val")
    assert (found["valF1Macro"], found["valAuc"], found["valTop5"]) == (50.0, 0.5, 50.0)
    assert "valUndefined" not in found
    assert {"valLoss", "valAccuracy", "valF1"} < set(found)
    figures.reset()
    assert figures.compute("val") == {}


def test_metrics_of_nested_outputs() -> None:
    def metrics(outputs: dict[str, Tensor], targets: Tensor) -> dict[str, float]:
        return {"rows": float(len(outputs["logits"]) + len(targets))}

    figures = build("classification", metrics)
    for _ in range(2):
        observe(figures, {"logits": torch.zeros(3, 2)}, torch.zeros(3))
    assert figures.compute("val")["valRows"] == 12.0


def test_too_many_outputs_leave_the_model_files_metrics_out() -> None:
    figures = FileFigures(build("regression"), lambda outputs, targets: {"own": 1.0}, CPU, most_elements=10)
    for _ in range(3):
        observe(figures, torch.zeros(2), torch.arange(2.0))
    assert "valOwn" not in figures.compute("val")
    assert "more than 10 numbers" in figures.omitted


def test_outputs_that_differ_in_shape_leave_the_model_files_metrics_out() -> None:
    figures = FileFigures(build("regression"), lambda outputs, targets: {"own": 1.0}, CPU)
    for width in (2, 3):
        figures.update(torch.ones(1, width), torch.ones(1, width), torch.tensor(1.0), torch.tensor(1.0))
    assert figures.compute("val") == {"valLoss": 1.0}
    assert "differ in shape" in figures.omitted


@pytest.mark.parametrize("returned", [0.5, {"own": "good"}, {"own": torch.zeros(2)}, {"5th": 1.0}])
def test_metrics_that_return_no_figures_are_refused(returned: object) -> None:
    figures = build("regression", lambda outputs, targets: returned)
    observe(figures, torch.zeros(2), torch.zeros(2))
    with pytest.raises(Failure, match="metrics\\(\\) of the model file returned") as caught:
        figures.compute("val")
    assert caught.value.error.code == "model_invalid"
