"""What stands before the names of one model's tensors and not before those of another."""

from collections import Counter
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

# Pairs of names looked at: enough for every prefix there is, and soon done for a model of thousands of tensors.
_PAIRS = 20_000
_CANDIDATES = 8


def renamed(name: str, strip: str, add: str) -> str:
    """``name`` with ``strip`` taken from its beginning, where it stands there, and then ``add`` before it."""
    return add + name.removeprefix(strip)


def best_prefixes(file: Shapes, own: Shapes) -> tuple[str, str, int] | None:
    """What to take from the names in ``file`` and what to put before them so that most agree with ``own`` in name and
    shape, and how many do then; None when none would."""
    by_ending: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in own.items():
        by_ending.setdefault((name.rsplit(".", 1)[-1], shape), []).append(name)
    seen: Counter[tuple[str, str]] = Counter()
    pairs = 0
    for name, shape in file.items():
        for other in by_ending.get((name.rsplit(".", 1)[-1], shape), ()):
            seen[_unlike(name, other)] += 1
            pairs += 1
        if pairs > _PAIRS:
            break
    counted = [(_agreeing(file, own, *prefixes), prefixes) for prefixes, _ in seen.most_common(_CANDIDATES)]
    count, (strip, add) = max(counted, default=(0, ("", "")), key=lambda pair: pair[0])
    return (strip, add, count) if count else None


def _unlike(name: str, other: str) -> tuple[str, str]:
    """The beginnings of both, up to the dot from which on they are alike."""
    left, right = name.split("."), other.split(".")
    alike = 0
    while alike < min(len(left), len(right)) and left[-1 - alike] == right[-1 - alike]:
        alike += 1
    beginnings = (steps[: len(steps) - alike] for steps in (left, right))
    strip, add = ("".join(f"{step}." for step in steps) for steps in beginnings)
    return strip, add


def _agreeing(file: Shapes, own: Shapes, strip: str, add: str) -> int:
    return sum(own.get(renamed(name, strip, add)) == shape for name, shape in file.items())
