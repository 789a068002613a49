"""Which memory a run has: what it does when a pass does not fit, and the sizes by which its batches may be cut."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer_core.loop.batches import Order
from trainer_core.loop.material import Surroundings
from trainer_core.loop.position import Position
from trainer_core.loop.recovery.memory import HalvingMemory, Kind, Memory, RestartingMemory
from trainer_core.loop.recovery.moment import Moment


def next_smaller(size: int, shares: Iterable[int], smallest: int) -> int | None:
    """Half of ``size``, or the largest number below it by which each of ``shares`` (samples of a batch) is cut so that no
    pass gets fewer than ``smallest``; None when there is none."""
    return largest_cut(size // 2, shares, smallest)


def largest_cut(size: int, shares: Iterable[int], smallest: int) -> int | None:
    """``size``, or the largest number below it by which each of ``shares`` is cut so that no pass gets fewer than
    ``smallest``; None when there is none."""
    return next(
        (
            smaller
            for smaller in range(size, smallest - 1, -1)
            if all((share % smaller or smaller) >= smallest for share in shares)
        ),
        None,
    )


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a batch in training sees its other samples."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def shares_of(order: Order, world: int) -> set[int]:
    """Samples that one of ``world`` ranks may get of an optimizer batch."""
    windows = {min(order.batch_size, order.samples), order.samples % order.batch_size or order.batch_size}
    return {max(1, share) for size in windows for share in (size // world, math.ceil(size / world))}


def build_memory(
    around: Surroundings, kind: Kind, size: int, model: nn.Module, order: Order, position: Position, moment: Moment
) -> Memory:
    """Memory for passes of ``size`` samples, or fewer where the run is known to need that."""
    if around.request.training_config.recovery.out_of_memory == "fail":
        return Memory(size)
    trains = kind == "micro_batch"
    normalises = trains and has_batch_norm(model)
    shares = shares_of(order, around.ranks.world) if normalises else ()
    measured: dict[str, Any] = {
        "kind": kind,
        "size": size,
        "limit": around.limits.micro_batch if trains else around.limits.evaluation_batch,
        "fitting": lambda size: next_smaller(size, shares, 2 if normalises else 1),
        "position": position,
        "equivalent": not normalises,
    }
    if around.ranks.world > 1:
        return RestartingMemory(**measured)
    return HalvingMemory(moment, around.channel, **measured)
