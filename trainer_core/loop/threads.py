"""With how many CPU threads a rank computes: measured on the run's own first batch.

More threads are not always faster: on a busy machine with two cores a small network was seen to train 3 to 9 times
slower with two threads than with one, because each short operation ends with all threads waiting for the slowest.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from trainer_core.data.samples import Samples
from trainer_core.failure import Failure
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.forward import Forward, shortage
from trainer_core.loop.randomness import untouched
from trainer_core.loop.trees import as_tensors

# Seconds of one pass beyond which all cores pay without asking.
_LONG = 1.0
# Twice the threads must be this much faster to be worth it: they are also twice as exposed to other work.
_WORTH = 1.15
_PASSES = 3


def fastest_number(one_pass: Callable[[], object], most: int) -> int:
    """1, 2, 4, ... or ``most`` threads: the number from which more did not make ``one_pass`` worthwhile faster.

    Leaves torch set to it. Takes about three passes for each number tried.
    """
    best, fastest = 1, _seconds(one_pass, 1)
    while best < most:
        if fastest > _LONG:
            best = most
            break
        more = min(2 * best, most)
        seconds = _seconds(one_pass, more)
        if seconds * _WORTH > fastest:
            break
        best, fastest = more, seconds
    torch.set_num_threads(best)
    return best


def _seconds(one_pass: Callable[[], object], threads: int) -> float:
    """The shortest of a few passes; the first with new threads is only for them to start."""
    torch.set_num_threads(threads)
    fastest = float("inf")
    for _ in range(_PASSES):
        began = time.perf_counter()
        one_pass()
        fastest = min(fastest, time.perf_counter() - began)
        if fastest > _LONG:
            break
    return fastest


def measure(model: nn.Module, samples: Samples, forward: Forward, size: int) -> int:
    """The number of threads for passes of ``size`` samples forward and backward, or of as many as memory permits: what does
    not fit is the first batch's to tell. Parameters, buffers, gradients and generators are afterwards as they were."""
    before = torch.get_num_threads()
    while size:
        try:
            return _measure(model, samples, forward, size)
        except (Failure, RuntimeError, MemoryError) as error:
            if shortage(error) is None:
                raise
        torch.set_num_threads(before)
        size //= 2
    return before


def _measure(model: nn.Module, samples: Samples, forward: Forward, size: int) -> int:
    inputs, targets = as_tensors(samples.take(np.arange(min(size, len(samples)))))

    def one_pass() -> None:
        forward.backward(forward(model, inputs, targets).loss_sum)

    try:
        with untouched(torch.device("cpu")), keeping_buffers(model):
            return fastest_number(one_pass, torch.get_num_threads())
    finally:
        model.zero_grad(set_to_none=True)
