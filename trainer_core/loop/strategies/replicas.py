"""One process with several GPUs, the older way: the model is copied to each of them in every pass (DataParallel)."""

from collections.abc import Callable

import torch
from torch import nn

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.loop.ranks import Ranks, Rehearse


class Replicas(Ranks):
    """One process, whose training passes are shared out over its GPUs; loss, optimizer and evaluation are on the first."""

    strategy = "dp"

    def __init__(self, devices: list[str]) -> None:
        """Raises Failure ``device_unavailable`` unless all ``devices`` are GPUs."""
        other = next((name for name in devices if torch.device(name).type != "cuda"), None)
        if other is not None:
            raise Failure(
                "device_unavailable",
                f"trainingConfig.strategy dp runs on GPUs, and this run has {other}.",
                next_move='Set trainingConfig.strategy to "ddp", as the fix does.',
                place=Place(pointer="/trainingConfig/strategy"),
                fix=[PatchOperation(op="add", path="/trainingConfig/strategy", value="ddp")],
            )
        self.devices = len(devices)
        self._indices = [torch.device(name).index for name in devices]

    def wrap(self, network: nn.Module, uses_all: Callable[[], bool], rehearse: Rehearse) -> nn.Module:
        return nn.DataParallel(network, device_ids=self._indices)
