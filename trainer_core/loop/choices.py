"""What the request leaves open and the loop chooses."""

import math
import os

from schemas.request import TrainingRequest
from trainer_core.loop.saving import saved_choice

# Names of what a checkpoint's manifest says of what was found.
RATE, MICRO_BATCH, COMPILE = "learningRate", "microBatch", "compile"

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


def choose_micro_batch(request: TrainingRequest, batch_size: int, ranks: int) -> int:
    """Samples that a rank takes at a time: ``dataConfig.microBatchSize``, or its share of the batch. Where a size was to be
    found, a run that is resumed goes on with the one that its checkpoint was trained with."""
    asked = request.data_config.micro_batch_size or math.ceil(batch_size / ranks)
    wanted = request.training_config.size_search
    if wanted is None or wanted.action == "suggest":
        return asked
    return int(saved_choice(request.checkpoint_config, MICRO_BATCH) or asked)


def choose_workers(request: TrainingRequest, in_memory: bool, ranks: int) -> int:
    """``dataConfig.numWorkers``; absent: none for data in memory, else the cores that the ranks leave, at most 8."""
    if in_memory:
        return 0
    if request.data_config.num_workers is not None:
        return request.data_config.num_workers
    return min(8, max(0, len(os.sched_getaffinity(0)) // ranks - 1))
