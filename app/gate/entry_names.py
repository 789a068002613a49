"""What a name of an optimizer, schedule or loss that is in no table may mean, and what to say where it means none of it."""

import re
from collections.abc import Callable, Sequence

from app.gate.spellings import closest, normal
from schemas.arguments import Entry
from schemas.optimizers import LEFT_OUT, RELATIVES

# How people call what they have written themselves: such a name says nothing of what it is near to.
_OWN = re.compile(r"(?:my|own|our|custom|users?)[_-]?(?=[A-Za-z])", re.IGNORECASE)
_CUTOFF = 0.6
_LEFT_OUT = {normal(name): f"{why}." for name, why in LEFT_OUT.items()}
_RELATIVES = {normal(name): relative for name, relative in RELATIVES.items()}
_HINTS = {
    "optimizer": "Only classes of torch.optim are taken.",
    "scheduler": "Only these schedules are taken.",
    "loss": "A loss of your own is loss(output, targets) in the model file: leave this out then.",
}


def meant(name: str, names: Sequence[str], find: Callable[[str], Entry | None]) -> str | None:
    """The one of ``names``, as ``find`` finds them, that ``name`` may mean: the end of a path (torch.optim.Adam), what is said to
    be one's own (MyAdam), the relative of an optimizer that torch does not have, or the nearest spelling; None where it is
    none of them."""
    last = re.split(r"[.:/]", name[:200].rstrip(".:/"))[-1]
    word, bare = normal(last), _OWN.sub("", last, count=1)
    for candidate in (last, _RELATIVES.get(word) or "", bare):
        entry = find(candidate)
        if entry is not None and entry.name in names:
            return entry.name
    is_other = bare != last or word in _RELATIVES or word in _LEFT_OUT
    return None if is_other else closest(last, names, _CUTOFF)


def hint(key: str, name: str, default: str | None) -> str:
    """What to say of the value ``name`` of ``key``, which means nothing in its table; ``default`` takes its place."""
    why = _LEFT_OUT.get(normal(name), _HINTS[key])
    return f" {why}" if default is None else f" {why} Left out, it is {default}."
