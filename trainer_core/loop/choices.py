"""What the request leaves open and the worker chooses, and the request with all of it filled in."""

import os
from typing import Any

from schemas.request import TrainingRequest

# Parameters above which a batch of 32 is halved, and halved again for each factor of four.
_LARGE = 100_000_000


def choose_batch_size(request: TrainingRequest, parameters: int, ranks: int) -> int:
    """``dataConfig.batchSize``; absent: 32, halved for every factor of 4 beyond 100 million ``parameters``, and at least
    one sample for each rank."""
    if request.data_config.batch_size is not None:
        return request.data_config.batch_size
    size = 32
    while size > 1 and parameters > _LARGE:
        size //= 2
        parameters //= 4
    return max(size, ranks)


def choose_workers(request: TrainingRequest, in_memory: bool, ranks: int) -> int:
    """``dataConfig.numWorkers``; absent: none for data in memory, else the cores that the ranks leave, at most 8."""
    if in_memory:
        return 0
    if request.data_config.num_workers is not None:
        return request.data_config.num_workers
    return min(8, max(0, len(os.sched_getaffinity(0)) // ranks - 1))


def fill_in(request: TrainingRequest, choices: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request as JSON with every one of ``choices`` (JSON pointer -> value) set, and those that it had left open."""
    resolved: dict[str, Any] = request.to_json()
    chosen = {}
    for pointer, value in choices.items():
        *folders, name = pointer.removeprefix("/").split("/")
        place = resolved
        for folder in folders:
            place = place.setdefault(folder, {})
        if name not in place or place[name] != value:
            chosen[pointer] = value
        place[name] = value
    return resolved, chosen
