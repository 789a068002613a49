"""What a sample draws depends on seed, epoch and index alone."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainer_core.data.draws import Draws, drawing

DRAWING: list[Callable[[], float]] = [
    random.random,
    np.random.rand,
    lambda: float(np.random.normal()),
    lambda: float(torch.rand(())),
]


def states() -> tuple[object, ...]:
    numpy = np.random.get_state()
    return random.getstate(), numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()


def read(draw: Callable[[], float], places: list[int], epoch: int = 3, seed: int = 7) -> list[float]:
    """Draws of new readers, as each process has its own."""
    with drawing(seed, epoch):
        return Draws().read(lambda place: place + draw(), places)


@pytest.mark.parametrize("draw", DRAWING, ids=["python", "numpy", "normal", "torch"])
def test_neighbours_order_and_what_was_drawn_before_change_nothing(draw: Callable[[], float]):
    whole = dict(zip(range(8), read(draw, list(range(8))), strict=True))
    draw()
    before = states()
    for places in ([5], [7, 2], [0, 1, 2, 3]):
        assert read(draw, places) == [whole[place] for place in places]
    assert states() == before, "the model draws from the same generators"
    assert len({value - place for place, value in whole.items()}) == 8
    assert read(draw, [5], epoch=4) != [whole[5]]
    assert read(draw, [5], seed=8) != [whole[5]]


def test_an_item_that_draws_is_noticed_when_it_comes():
    """The third part is the first to draw."""

    def item(place: int) -> float:
        return place + random.random() if place >= 6 else place

    draws = Draws()
    with drawing(7, 3):
        parts = [draws.read(item, places) for places in ([0, 1, 2], [3, 4, 5], [6, 7, 8])]
        assert parts[:2] == [[0, 1, 2], [3, 4, 5]]
        assert parts[2] == [Draws().read(item, [place])[0] for place in (6, 7, 8)]


def test_items_that_are_read_together_draw_by_the_first():
    with drawing(7, 3):
        both = [
            Draws().read_together(lambda places: [place + random.random() for place in places], [4, 9]) for _ in "ab"
        ]
    assert both[0] == both[1]


def test_outside_of_a_run_nothing_is_seeded():
    random.seed(1)
    first = Draws().read(lambda place: random.random(), [0, 0])
    random.seed(1)
    assert first == [random.random(), random.random()]
