"""What a sample draws: numbers that depend on (seed, epoch, index) alone, in whichever process it is read, beside whichever
others, before or after a resume."""

import ctypes
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_MASK = (1 << 64) - 1
# 624 numbers of 32 bits, and where among them it is (Matsumoto and Nishimura 1998).
_MERSENNE_BYTES = 4 * 625
_occasion: ContextVar[tuple[int, int] | None] = ContextVar("occasion", default=None)


@contextmanager
def drawing(seed: int, epoch: int) -> Iterator[None]:
    """Samples that are read inside draw for this ``epoch`` of a run with this ``seed``."""
    token = _occasion.set((seed, epoch))
    try:
        yield
    finally:
        _occasion.reset(token)


class Draws:
    """Reads items of a data set that may draw from Python's, NumPy's and torch's own generators, and leaves these as they were:
    the model draws from them as well.

    To seed three generators takes longer than many an item: that is done before each item only once one was seen to draw, and
    until then the generators are looked at after each part (2 microseconds an item in parts of 64).
    """

    def __init__(self) -> None:
        self._seen = False

    def read(self, item: Callable[[int], T], places: Sequence[int]) -> list[T]:
        """``item`` of each of ``places``. Outside ``drawing`` they draw from the generators as they stand."""
        occasion = _occasion.get()
        if occasion is None or not places:
            return [item(place) for place in places]
        before, memory = _states(), _numpy_memory()
        if not self._seen:
            items = [item(place) for place in places]
            if _same(before, memory, few=len(places) == 1):
                return items
            self._seen = True
        try:
            return [self._alone(item, place, occasion) for place in places]
        finally:
            _put_back(before)

    def read_together(self, items: Callable[[list[int]], T], places: list[int]) -> T:
        """``items`` of all ``places``, which the data set reads in one go: they draw for all of them, by the first."""
        return self.read(lambda _: items(places), places[:1])[0] if places else items(places)

    @staticmethod
    def _alone(item: Callable[[int], T], place: int, occasion: tuple[int, int]) -> T:
        _seed(occasion, place)
        return item(place)


def _seed(occasion: tuple[int, int], place: int) -> None:
    number = _mixed(*occasion, place)
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(number)


def _mixed(*numbers: int) -> int:
    """One number of 64 bits for several, each of which changes about half of them (SplitMix64, Steele et al. 2014)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return mixed


def _states() -> tuple[Any, Any, Any]:
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), None if torch is None else torch.get_rng_state()


def _put_back(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if states[2] is not None:
        sys.modules["torch"].set_rng_state(states[2])


def _numpy_memory() -> bytes:
    """NumPy's state as it lies in memory: its own way to it takes 70 microseconds, this one."""
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if not isinstance(generator, np.random.MT19937):
        return b""
    return ctypes.string_at(generator.ctypes.state_address, _MERSENNE_BYTES)


def _same(states: tuple[Any, Any, Any], memory: bytes, few: bool) -> bool:
    """Whether nobody has drawn since. A normal deviate that NumPy had in store leaves no trace in its memory, which matters
    where ``few`` are drawn."""
    torch = sys.modules.get("torch")
    numpy: Any = np.random.get_state() if few else states[1]
    return (
        states[0] == random.getstate()
        and memory == _numpy_memory()
        and (torch is None or states[2] is None or bytes(states[2].numpy()) == bytes(torch.get_rng_state().numpy()))
        and states[1][3:] == numpy[3:]
    )
