"""The largest size that fits is found with few questions, each asked once."""

import random

import pytest

from trainer_core.loop.tuning.growth import evenly, largest_fitting


@pytest.mark.parametrize("start", [1, 2, 16, 33, 1000])
def test_it_is_found_from_wherever_it_starts(start: int, chance: random.Random):
    for most in (1, 2, 7, 34, 100, chance.randrange(1, 5000)):
        for limit in {0, 1, most // 3, most - 1, most, most + 5, chance.randrange(most + 1)}:
            asked: list[int] = []

            def fits(size: int, limit: int = limit, asked: list[int] = asked) -> bool:
                asked.append(size)
                return size <= limit

            found = largest_fitting(fits, start, most)
            where = f"start {start}, most {most}, limit {limit}, asked {asked}"
            assert len(asked) == len(set(asked)), where
            assert len(asked) <= 2 * most.bit_length() + 2, where
            assert all(1 <= size <= most for size in asked), where
            if limit >= most or not limit:
                assert found == (most if limit else None), where
            else:
                assert found <= limit <= found + max(1, found // 16), where
                assert found in asked, where


def test_no_more_is_asked_than_a_sixteenth_wants():
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= 3000

    assert largest_fitting(fits, 1000, 4096) == 3000
    assert asked == [1000, 2000, 4000, 3000, 3500, 3250, 3125]


@pytest.mark.parametrize(
    ("size", "share", "even"), [(50, 128, 43), (64, 128, 64), (100, 100, 100), (1, 7, 1), (6, 7, 4)]
)
def test_passes_are_evenly_filled(size: int, share: int, even: int):
    assert evenly(size, share) == even
