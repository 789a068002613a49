"""DataParallel: what is wrapped, what is refused, and, on two GPUs, that it trains what one device trains."""

import numpy as np
import pytest
import torch
from torch import nn

from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.failure import Failure
from trainer_core.loop.strategies.replicas import Replicas
from trainer_core.stop import Stop


def test_the_model_is_wrapped_for_its_gpus_and_stays_the_one_that_is_saved():
    ranks, model = Replicas(["cuda:0", "cuda:1"]), nn.Linear(2, 1)
    network = ranks.wrap(model, lambda: True, lambda _network: None)
    assert isinstance(network, nn.DataParallel)
    assert network.module is model
    assert (ranks.world, ranks.devices, ranks.first) == (1, 2, True)


def test_on_cpus_it_is_refused_with_the_way_that_works(bench):
    with pytest.raises(Failure, match="runs on GPUs, and this run has cpu") as caught:
        train(bench.assignment("run", ("cpu", "cpu"), trainingConfig={"strategy": "dp"}), Channel(), Stop())
    assert caught.value.error.fix is not None
    assert caught.value.error.fix[0].value == "ddp"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="DataParallel wants two GPUs")
def test_two_gpus_train_the_model_of_one(bench):
    from safetensors.numpy import load_file

    found = []
    for name, devices in (("one", ("cuda:0",)), ("two", ("cuda:0", "cuda:1"))):
        assignment = bench.assignment(name, devices, trainingConfig={"strategy": "dp", "optimizer": "SGD"})
        assert train(assignment, Channel(), Stop()).state == "succeeded"
        folder = bench.folder / "runs" / name
        found.append(load_file(folder / (folder / "latest").read_text().strip() / "model.safetensors"))
    one, two = found
    assert all(np.abs(one[key] - two[key]).max() <= 1e-5 for key in one)
