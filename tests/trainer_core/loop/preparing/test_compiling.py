"""torch.compile: when it pays, that nothing else changes, and the way back."""

import numpy as np
import pytest
import torch
from torch import nn

from schemas.events import Alert, RunResolved
from trainer_core.channel import Channel
from trainer_core.loop.material import Surroundings, load
from trainer_core.loop.preparing.compiling import CompiledNetwork, Trial, compile_network, expected_to_pay
from trainer_core.loop.ranks import Ranks
from trainer_core.stop import Stop


class Counting(nn.Module):
    """Counts its own calls, and gives the length of what it got."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        return x


def test_a_short_last_batch_is_called_as_it_is_and_a_size_that_comes_again_is_compiled():
    plain, compiled = Counting(), []
    network = CompiledNetwork(plain, lambda x: compiled.append(len(x)))
    network.admit(8)
    for size in (8, 8, 3, 8, 8, 3, 4, 4, 4, 8, 3, 4):
        network(torch.zeros(size, 2))
    assert compiled == [8, 8, 8, 8, 4, 4, 8, 4]
    assert plain.calls == [3, 3, 4, 3]


def test_the_rule_of_auto():
    assert not expected_to_pay(1_000, 0.1, 50)
    assert expected_to_pay(10_000, 0.1, 50)
    assert not expected_to_pay(10_000, 0.001, 50)
    assert not expected_to_pay(10_000, 0.1, 500)


@pytest.mark.parametrize(("mode", "chosen"), [("off", "off"), ("auto", "off")])
def test_off_and_auto_on_a_cpu_compile_nothing(bench, mode, chosen):
    run = bench.train(trainingConfig={"epochs": 1, "compile": mode})
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == chosen
    assert not {"compiled", "compile_failed"} & {alert.code for alert in run.of(Alert)}


def parts(bench) -> tuple[nn.Module, Trial]:
    """The model of a run and a trial of 16 samples with it."""
    around = Surroundings(bench.assignment(), torch.device("cpu"), Ranks(), Channel(), Stop())
    material = load(around)
    return material.model, Trial(material.data.train, material.forward, 16, around.device)


def test_a_short_last_batch_makes_no_second_graph_and_numbers_and_names_are_the_models(bench):
    (model, trial), (plain, _) = parts(bench), parts(bench)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch._dynamo.reset()
    graphs = []

    def counting(graph: torch.fx.GraphModule, _inputs: list) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compilation = compile_network(model, "on", trial, 1000, backend=counting)
    assert compilation.on
    assert [alert.code for alert in compilation.alerts] == ["compiled"]
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for size in (16, 16, 16, 6) * 5:
        x = torch.randn(size, 6)
        for network in (compilation.network, plain):
            network(x).square().mean().backward()
    assert len(graphs) == 1
    for left, right in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(left.grad, right.grad)


def test_what_cannot_be_compiled_is_trained_as_it_is(bench):
    model, trial = parts(bench)
    torch._dynamo.reset()

    def refusing(_graph: torch.fx.GraphModule, _inputs: list) -> None:
        raise RuntimeError("no such instruction")

    compilation = compile_network(model, "on", trial, 1000, backend=refusing)
    assert compilation.network is model
    assert not compilation.on
    (alert,) = compilation.alerts
    assert (alert.code, alert.level) == ("compile_failed", "warning")
    assert "no such instruction" in alert.evidence["untrusted"]


def test_a_run_calls_what_was_compiled_and_says_so(bench):
    """Torch's own switch lets torch.compile give back what it was given: all but the compiler is as ever."""
    with torch._dynamo.config.patch(disable=True):
        run = bench.train(trainingConfig={"epochs": 2, "compile": "on"})
    assert "compiled" in [alert.code for alert in run.of(Alert)]
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == "on"
    plain = bench.train("plain", trainingConfig={"epochs": 2})
    assert list(run.weights()) == list(plain.weights())
    for name, array in plain.weights().items():
        assert np.array_equal(array, run.weights()[name]), name
