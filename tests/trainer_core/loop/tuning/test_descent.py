"""Where a loss falls fastest: found in noise, and not found where there is nothing but noise."""

import math
import random

import numpy as np
import pytest

from trainer_core.loop.tuning.descent import steepest


def curve(points: int = 100, middle: float = 60.0, noise: float = 0.0, seed: int = 0) -> list[float]:
    """A loss that falls from 2 to 1, fastest at ``middle``."""
    generator = np.random.default_rng(seed)
    clean = [2 - 1 / (1 + math.exp(-(x - middle) / 6)) for x in range(points)]
    return list(np.asarray(clean) + noise * generator.normal(size=points))


def test_it_is_where_the_slope_is_steepest():
    assert steepest(curve(middle=60), 100).index == 60
    assert steepest(curve(middle=33), 100).index == 33


def test_noise_moves_it_a_little(chance: random.Random):
    """In 99 of 100 curves: it is in all but one of some 3,000, so that of a thousand ten others are never met by chance."""
    seed = chance.randrange(2**32)
    found = [steepest(curve(noise=0.1, seed=seed + number), 100).index for number in range(1000)]
    far = [index for index in found if index is None or abs(index - 60) > 15]
    assert len(far) <= 10, far


def test_noise_alone_falls_nowhere(chance: random.Random):
    """One curve in a hundred may be mistaken: it is one in 300, so that 40 of 4,000 are never met by chance."""
    generator = np.random.default_rng(chance.randrange(2**32))
    curves = (generator.normal(1.0, 0.3, size=100) for _ in range(4000))
    assert sum(steepest(list(losses), 100).index is not None for losses in curves) <= 40


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param([1.0] * 100, id="flat"),
        pytest.param([1.0 + 0.01 * x for x in range(100)], id="rising"),
        pytest.param([1.0 - 0.00005 * x for x in range(100)], id="hardly falling"),
        pytest.param([-1.0 - 0.00005 * x for x in range(100)], id="negative, hardly falling"),
        pytest.param([1.0, 0.9, 0.8, 9.0], id="four points"),
    ],
)
def test_no_descent(losses: list[float]):
    assert steepest(losses, 100).index is None


def test_a_small_fall_without_noise_is_one():
    assert steepest([1.0 - 0.0003 * x for x in range(100)], 100).index is not None


def test_a_fall_is_told_from_noise_where_it_is_a_little_more(chance: random.Random):
    """By five standard errors of the difference of two means, where four are wanted: in 93 of 100 curves. It is in 98 of them,
    and would be in 84 if five were wanted, so that chance does not reach it from either side."""
    generator = np.random.default_rng(chance.randrange(2**32))
    fall = 5 * 0.3 * math.sqrt(2 / 11)
    clean = np.concatenate([np.full(40, 2.0), np.linspace(2.0, 2.0 - fall, 20), np.full(40, 2.0 - fall)])
    curves = (clean + 0.3 * generator.normal(size=100) for _ in range(1000))
    assert sum(steepest(list(losses), 100).index is not None for losses in curves) >= 930


@pytest.mark.parametrize(("points", "index"), [(15, None), (16, 7)])
def test_a_test_that_ended_early_is_judged_by_what_was_planned(points: int, index: int | None):
    """By a tenth of 100 points at a time, and then as many as are half of it."""
    losses = [2 - 1 / (1 + math.exp(-(x - 7) / 2)) for x in range(points)]
    assert steepest(losses, 100).index == index


def test_a_fall_from_a_peak_is_none():
    """It falls gently, goes through the roof, and comes down faster than it had ever fallen."""
    losses = [*curve(80, middle=40), *np.linspace(1, 8, 10), *np.linspace(8, 1.5, 10)]
    assert steepest(losses, 100).index == 40


def test_negative_losses():
    assert steepest([loss - 5 for loss in curve(middle=60)], 100).index == 60
