"""One pass, tried out and undone."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from trainer_core.data.samples import Samples
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.forward import Forward
from trainer_core.loop.randomness import untouched
from trainer_core.loop.trees import as_tensors, map_tensors

_PASSES = 3


@dataclass(frozen=True)
class Trial:
    """One pass of ``size`` training samples forward and backward. Parameters, buffers, gradients and generators are
    afterwards as they were."""

    samples: Samples
    forward: Forward
    size: int
    device: torch.device

    def run(self, network: nn.Module) -> list[str]:
        """Take it once; the trainable parameters that got no gradient, by name. Raises Failure for whatever goes wrong."""
        inputs, targets = (
            map_tensors(lambda tensor: tensor.to(self.device), side)
            for side in as_tensors(self.samples.take(np.arange(self.size)))
        )
        try:
            with untouched(self.device), keeping_buffers(network):
                self.forward.backward(self.forward(network, inputs, targets).loss_sum)
            trained = (item for item in network.named_parameters() if item[1].requires_grad)
            return [name for name, parameter in trained if parameter.grad is None]
        finally:
            network.zero_grad(set_to_none=True)

    def seconds(self, network: nn.Module) -> float:
        """The shortest of a few. Raises as ``run`` does."""
        fastest = float("inf")
        for _ in range(_PASSES):
            began = time.perf_counter()
            self.run(network)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            fastest = min(fastest, time.perf_counter() - began)
        return fastest
