"""Every metric equals scikit-learn's function of the same name: with ties, missing classes, ragged batches, several ranks."""

import math
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from schemas.losses import Task
from schemas.metrics import METRICS, MetricName, metric_named
from trainer_core.estimators.metrics import CLASSES, VALUES, Judged
from trainer_core.loop.metrics.class_figures import BinaryFigures, ClassFigures
from trainer_core.loop.metrics.metrics import Figures, build_figures
from trainer_core.loop.metrics.score_figures import ScoreFigures
from trainer_core.loop.metrics.score_store import BINS
from trainer_core.loop.ranks import Ranks

CPU = torch.device("cpu")
BATCH = 4


class Seated(Ranks):
    """One of several ranks, each in a thread of this process."""

    def __init__(self, barrier: threading.Barrier, places: list, index: int) -> None:
        self._barrier, self._places = barrier, places
        self.index, self.world = index, len(places)

    def gather(self, thing):
        self._barrier.wait()
        self._places[self.index] = thing
        self._barrier.wait()
        return list(self._places)

    def sum(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(torch.stack(self.gather(tensor.clone())).sum(0))


def merge_all(ranks: list[Figures]) -> None:
    """Merge as processes would, all at the same time."""
    barrier, places = threading.Barrier(len(ranks), timeout=30), [None] * len(ranks)
    with ThreadPoolExecutor(len(ranks)) as threads:
        merged = [threads.submit(one.merge, Seated(barrier, places, index)) for index, one in enumerate(ranks)]
        for one in merged:
            one.result()


def names_of(task: Task) -> tuple[MetricName, ...]:
    return tuple(entry.name for entry in METRICS if task in entry.tasks)


def feed(figures: Figures, outputs: Tensor, targets: Tensor, step: int = BATCH) -> Figures:
    for part in torch.arange(len(targets)).split(step):
        figures.update(outputs[part], targets[part], torch.tensor(1.0), torch.tensor(1.0))
    return figures


def measure(task: Task, outputs: Tensor, targets: Tensor, world: int = 1, **options: int) -> dict[str, float]:
    """All metrics of ``task``; whole batches are dealt to the ranks, as an evaluation does."""
    ranks = [build_figures(task, CPU, None, names_of(task), **options) for _ in range(world)]
    for number, part in enumerate(torch.arange(len(targets)).split(BATCH)):
        feed(ranks[number % world], outputs[part], targets[part])
    if world > 1:
        merge_all(ranks)
    found = [figures.compute("val") for figures in ranks]
    assert all(other == found[0] for other in found)
    return {name: value for name, value in found[0].items() if name != "valLoss"}


def expected(judged: Judged, task: Task) -> dict[str, float]:
    """The same through scikit-learn."""
    functions = VALUES if task == "regression" else CLASSES
    found = {metric_named(name).row_name: functions[name](judged) for name in names_of(task)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def drawn(task: Task, number: int, ties: bool, classes: int = 12) -> tuple[Tensor, Tensor, Judged]:
    """Outputs of which about half are right, targets, and both as scikit-learn takes them."""
    generator = torch.Generator().manual_seed(number)
    if task == "regression":
        targets = torch.randn(number, 3, generator=generator) * torch.tensor([1.0, 100.0, 0.01]) + 7
        outputs = targets * 0.9 + torch.randn(number, 3, generator=generator)
        outputs = (outputs * 2).round() / 2 if ties else outputs
        return outputs, targets, Judged(targets.double().numpy(), outputs.double().numpy())
    # Of the classes some never occur.
    targets = torch.randint(0, 2 if task == "binary" else classes - 3, (number,), generator=generator)
    if task == "binary":
        outputs = torch.randn(number, 1, generator=generator) + 1.5 * targets[:, None]
        outputs = (outputs * 2).round() / 2 if ties else outputs
        positive = outputs[:, 0].double().sigmoid()
        scores = torch.stack((1 - positive, positive), dim=1)
        predicted = (outputs[:, 0] > 0).long()
        return outputs, targets, Judged(targets.numpy(), predicted.numpy(), scores.numpy(), True, finds_one=True)
    outputs = torch.randn(number, classes, generator=generator)
    outputs += 1.5 * torch.nn.functional.one_hot(targets, classes)
    outputs = outputs.round() if ties else outputs
    # Sums in another order would tell scores apart that are the same.
    scores = outputs.double().softmax(dim=1).numpy().round(12)
    scores /= scores.sum(axis=1, keepdims=True)
    scores = scores.round(11)
    return outputs, targets, Judged(targets.numpy(), outputs.argmax(1).numpy(), scores, True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_every_metric_equals_scikit_learn(task: Task, ties: bool) -> None:
    outputs, targets, judged = drawn(task, 301, ties)
    wanted = expected(judged, task)
    assert set(wanted) == {metric_named(name).row_name for name in names_of(task)}
    assert measure(task, outputs, targets) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_any_number_of_samples_on_any_number_of_ranks(task: Task, world: int) -> None:
    for number in range(1, 2 * BATCH * world + 2):
        outputs, targets, judged = drawn(task, number, ties=False)
        assert measure(task, outputs, targets, world) == pytest.approx(expected(judged, task), abs=1e-6), number


def test_binary_areas_are_those_of_the_raw_logits() -> None:
    outputs, targets, _ = drawn("binary", 200, ties=True)
    found = measure("binary", outputs, targets)
    assert found["valAuroc"] == pytest.approx(sklearn_metrics.roc_auc_score(targets, outputs), abs=1e-12)
    wanted = sklearn_metrics.average_precision_score(targets, outputs)
    assert found["valAveragePrecision"] == pytest.approx(wanted, abs=1e-12)


def test_a_sure_model_is_still_ranked() -> None:
    """Probabilities in float32 end at 1; the ranking must not."""
    outputs = torch.tensor([[0.0, 18.0 + step] for step in range(6)])
    targets = torch.tensor([0, 0, 0, 1, 1, 1])
    assert measure("classification", outputs, targets)["valAuroc"] == 1.0


def test_what_is_ignored_is_in_no_metric() -> None:
    outputs, targets, _ = drawn("classification", 60, ties=False)
    kept = torch.arange(60) % 3 > 0
    masked = torch.where(kept, targets, -100)
    assert measure("classification", outputs, masked) == pytest.approx(
        measure("classification", outputs[kept], targets[kept]), abs=1e-12
    )
    assert measure("classification", outputs, torch.full_like(targets, -100)) == {}


def test_sequences_are_measured_token_by_token() -> None:
    outputs, targets, _ = drawn("classification", 60, ties=False)
    rows = measure("classification", outputs.reshape(12, 5, -1), targets.reshape(12, 5))
    assert rows == pytest.approx(measure("classification", outputs, targets), abs=1e-12)


def test_targets_of_one_class_leave_out_what_they_cannot_tell() -> None:
    left = {"valAuroc", "valAveragePrecision", "valMcc"}
    outputs, targets, _ = drawn("binary", 20, ties=False)
    figures = feed(build_figures("binary", CPU, None, names_of("binary")), outputs, torch.zeros_like(targets))
    found = figures.compute("val")
    assert found["valAccuracy"] > 0
    assert not left & found.keys()
    assert all(map(math.isfinite, found.values()))
    assert all(name in figures.omitted for name in left)
    assert "one class" in figures.omitted
    figures.reset()
    feed(figures, outputs, targets)
    assert left < figures.compute("val").keys()
    assert figures.omitted == ""


def test_outputs_that_are_no_numbers_have_no_area() -> None:
    outputs, targets, _ = drawn("binary", 20, ties=False)
    outputs[3] = math.nan
    figures = feed(build_figures("binary", CPU, None, names_of("binary")), outputs, targets)
    assert "valAuroc" not in figures.compute("val")
    assert "not finite" in figures.omitted


def test_more_guesses_than_classes_are_no_metric() -> None:
    outputs, targets, _ = drawn("classification", 20, ties=False, classes=5)
    figures = feed(build_figures("classification", CPU, None, ("top_5_accuracy", "top_3_accuracy")), outputs, targets)
    found = figures.compute("val")
    assert "valTop3Accuracy" in found
    assert "valTop5Accuracy" not in found
    assert "5 classes" in figures.omitted


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("task", ["classification", "binary"])
def test_too_many_scores_are_counted_in_bins_and_it_is_said(task: Task, world: int) -> None:
    outputs, targets, _ = drawn(task, 600, ties=False)
    names: tuple[MetricName, ...] = ("roc_auc", "average_precision")
    exact = measure(task, outputs, targets)
    # Room for the bins of all classes, and just not for all scores: the last batch is one too many.
    classes = outputs.shape[1]
    room = 2 * classes * BINS
    outputs, targets = outputs.repeat(room // 600 // classes + 1, 1), targets.repeat(room // 600 // classes + 1)
    kind = BinaryFigures if task == "binary" else ClassFigures
    ranks: list[Figures] = [ScoreFigures(kind(CPU, -100), CPU, names, room) for _ in range(world)]
    for index, figures in enumerate(ranks):
        feed(figures, outputs[index::world], targets[index::world], 500)
    merge_all(ranks)
    for figures in ranks:
        found = figures.compute("val")
        assert found["valAuroc"] == pytest.approx(exact["valAuroc"], abs=1e-3)
        assert found["valAveragePrecision"] == pytest.approx(exact["valAveragePrecision"], abs=5e-3)
        assert f"more than {room:,} scores" in figures.omitted
    assert ranks[0].compute("val") == ranks[-1].compute("val")


def test_scores_beyond_the_bins_are_in_the_outermost() -> None:
    """And in none of another class: what a sure model ranks perfectly stays so."""
    targets = torch.arange(3).repeat(4 * BINS)
    outputs = 100.0 * torch.nn.functional.one_hot(targets, 3)
    figures = feed(ScoreFigures(ClassFigures(CPU, -100), CPU, ("roc_auc",), 6 * BINS), outputs, targets)
    assert figures.compute("val")["valAuroc"] == 1.0
    assert "bins" in figures.omitted


def test_bins_that_are_too_many_themselves_leave_the_areas_out() -> None:
    outputs, targets, _ = drawn("classification", 50, ties=False)
    figures = feed(ScoreFigures(ClassFigures(CPU, -100), CPU, ("roc_auc",), 10), outputs, targets)
    figures.merge(Ranks())
    assert "valAuroc" not in figures.compute("val")
    assert "valAuroc" in figures.omitted


def test_the_moments_of_far_values_lose_no_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(101, 1, generator=generator, dtype=torch.float64) + 1e7
    outputs = targets + 1e4 + 0.3 * torch.randn(101, 1, generator=generator, dtype=torch.float64)
    found = measure("regression", outputs, targets)
    wanted = sklearn_metrics.explained_variance_score(targets, outputs)
    assert found["valExplainedVariance"] == pytest.approx(wanted, abs=1e-6)


def test_targets_that_do_not_vary_are_not_explained() -> None:
    figures = feed(build_figures("regression", CPU, None, names_of("regression")), torch.randn(9), torch.ones(9))
    found = figures.compute("val")
    assert not {"valR2", "valExplainedVariance"} & found.keys()
    assert "valR2 and valExplainedVariance: the held-out targets do not vary" in figures.omitted


@pytest.mark.parametrize("task", ["classification", "binary"])
def test_training_computes_no_more_than_accuracy(task: Task) -> None:
    outputs, targets, _ = drawn(task, 20, ties=False)
    assert feed(build_figures(task, CPU), outputs, targets).compute("train").keys() == {"trainLoss", "trainAccuracy"}
