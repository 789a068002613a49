"""Counting batches together changes no figure."""

import pytest
import torch

from trainer_core.loop.metrics.class_figures import ClassFigures
from trainer_core.loop.metrics.deferred import TOGETHER, Deferred
from trainer_core.loop.metrics.figures import Figures
from trainer_core.loop.metrics.value_figures import ValueFigures
from trainer_core.loop.ranks import Ranks

CPU = torch.device("cpu")


class Counting(ClassFigures):
    """Counts how often it is given a batch."""

    updates = 0

    def update(self, *batch):
        self.updates += 1
        super().update(*batch)


def batches(shapes):
    generator = torch.Generator().manual_seed(1)
    for shape in shapes:
        output = torch.randn(shape, generator=generator)
        targets = torch.randint(0, shape[-1], shape[:-1], generator=generator)
        yield output, targets, output.sum(), torch.tensor(float(targets.numel()))


SHAPES = {
    "one form": [(4, 3)] * 50,
    "a short last batch": [(4, 3)] * 9 + [(1, 3)],
    "sequences of several lengths": [(2, 5, 3), (2, 5, 3), (2, 7, 3), (2, 7, 3), (2, 5, 3)],
    "some too large to wait": [(4, 3), (TOGETHER // 3 + 1, 3), (4, 3)],
    "more than may wait": [(TOGETHER // 30, 3)] * 25,
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_figures_are_those_of_batches_one_by_one(shapes):
    direct, deferred = ClassFigures(CPU, -100), Deferred(ClassFigures(CPU, -100), CPU)
    for batch in batches(shapes):
        direct.update(*batch)
        deferred.update(*batch)
    assert deferred.compute("val") == pytest.approx(direct.compute("val"), rel=1e-6)
    assert deferred.state()["counts"].equal(direct.state()["counts"])


def test_small_batches_are_counted_together():
    inner = Counting(CPU, -100)
    deferred = Deferred(inner, CPU)
    for batch in batches([(4, 3)] * 50):
        deferred.update(*batch)
    deferred.compute("train")
    assert inner.updates == 1


def test_an_output_whose_memory_is_written_again_is_counted_as_it_was():
    memory, deferred = torch.zeros(1, 2), Deferred(ClassFigures(CPU, -100), CPU)
    for number in range(2):
        memory.zero_()[0, number] = 1
        deferred.update(memory, torch.tensor([number]), torch.tensor(0.0), torch.tensor(1.0))
    assert deferred.compute("train")["trainAccuracy"] == 1.0


def test_values_of_two_forms_are_counted_apart():
    deferred, direct = (Deferred(ValueFigures(CPU), CPU), ValueFigures(CPU))
    for figures in (deferred, direct):
        figures.update(torch.ones(3, 1), torch.arange(3.0), torch.tensor(2.0), torch.tensor(3.0))
        figures.update(torch.ones(2), torch.arange(2.0), torch.tensor(1.0), torch.tensor(2.0))
    assert deferred.compute("train") == pytest.approx(direct.compute("train"))


def saved(figures: Figures) -> dict[str, float]:
    restored = Deferred(ClassFigures(CPU, -100), CPU)
    restored.restore(figures.state())
    return restored.compute("train")


def test_a_checkpoint_holds_what_waits_and_a_reset_forgets_it():
    deferred = Deferred(ClassFigures(CPU, -100), CPU)
    for batch in batches([(4, 3)] * 3):
        deferred.update(*batch)
    assert saved(deferred) == deferred.compute("train") != {}
    deferred.update(torch.ones(2, 3), torch.zeros(2).long(), torch.tensor(1.0), torch.tensor(2.0))
    deferred.reset()
    assert deferred.compute("train") == {}


def test_a_reason_to_leave_figures_out_comes_through():
    deferred = Deferred(ClassFigures(CPU, -100), CPU)
    deferred.update(torch.ones(2, 3), torch.ones(5).long(), torch.tensor(1.0), torch.tensor(2.0))
    deferred.merge(Ranks())
    deferred.compute("train")
    assert "do not fit" in deferred.omitted
