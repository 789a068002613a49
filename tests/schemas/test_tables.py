"""Names of losses and schedules: every spelling finds its entry and no spelling finds two."""

import pytest

from schemas.losses import LOSSES, find_loss
from schemas.metrics import better_direction
from schemas.optimizers import OPTIMIZERS, find_optimizer
from schemas.schedules import SCHEDULES, find_schedule


@pytest.mark.parametrize("entry", SCHEDULES, ids=lambda entry: entry.name)
def test_schedule_is_found_by_every_spelling(entry):
    for spelling in (entry.name, *entry.aliases):
        assert find_schedule(spelling) is entry
        assert find_schedule(spelling.upper()) is entry
    assert set(entry.required) <= set(entry.argument_names)


@pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.name)
def test_loss_is_found_by_every_spelling(entry):
    for spelling in (entry.name, *entry.aliases):
        assert find_loss(spelling) is entry
        assert find_loss(spelling.upper()) is entry


@pytest.mark.parametrize("entry", OPTIMIZERS, ids=lambda entry: entry.name)
def test_optimizer_is_found_in_any_case(entry):
    assert find_optimizer(entry.name.lower()) is entry
    assert find_optimizer(entry.name.upper()) is entry


def test_what_does_not_exist_is_not_found():
    assert (find_schedule("cosinus"), find_loss("hinge"), find_optimizer("LBFGS")) == (None, None, None)


@pytest.mark.parametrize(
    ("monitor", "direction"),
    [("valLoss", "min"), ("valAccuracy", "max"), ("valRmse", "min"), ("valR2", "max"), ("trainLoss", "min")],
)
def test_direction_of_a_monitor(monitor, direction):
    assert better_direction(monitor) == direction
