"""torch.compile: when it pays, that nothing else changes, and the way back."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from schemas.events import Alert, RunResolved, RunTuned
from trainer_core.channel import Channel
from trainer_core.loop.material import Surroundings, load
from trainer_core.loop.preparing.compiling import CompiledNetwork, compile_network
from trainer_core.loop.preparing.pay_back import Costs, expect, expected_to_pay
from trainer_core.loop.preparing.trial import Trial
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


def test_regular_sizes_are_compiled_whatever_was_called_before_and_a_short_last_batch_is_called_as_it_is():
    plain, compiled, regular = Counting(), [], {4}
    network = CompiledNetwork(plain, lambda x: compiled.append(len(x)), lambda: regular)
    with network.trying():
        network(torch.zeros(8, 2))
    for size in (4, 8, 3, 3, 8, 2, 2):
        network(torch.zeros(size, 2))
    regular.add(2)
    network(torch.zeros(2, 2))
    assert compiled == [8, 4, 8, 8, 2]
    assert plain.calls == [3, 3, 2, 2]


def test_the_size_is_that_of_the_first_tensor_that_has_one_whatever_its_name():
    plain, compiled = [], []

    class Named(nn.Module):
        def forward(self, scale: torch.Tensor, *, x: torch.Tensor) -> None:
            plain.append(len(x))

    network = CompiledNetwork(Named(), lambda _scale, *, x: compiled.append(len(x)), lambda: {4})
    for size in (4, 3):
        network(torch.tensor(2.0), x=torch.zeros(size, 2))
    assert (compiled, plain) == ([4], [3])


def test_each_regular_size_has_code_of_its_own(bench):
    """Not one for any size, which the second would be compiled to, and which the first one's batches would find then."""
    model, trial = parts(bench)
    torch._dynamo.reset()
    called = []

    def noting(graph: torch.fx.GraphModule, inputs: list) -> object:
        (x,) = (item for item in inputs if isinstance(item, torch.Tensor) and not isinstance(item, nn.Parameter))
        return lambda *given: called.append(x.shape[0]) or graph(*given)

    network = compile_network(model, "on", trial, 1000, backend=noting, regular=lambda: {16, 11}).network
    called.clear()
    for size in (11, 16, 11, 16):
        network(torch.randn(size, 6))
    assert called == [11, 16, 11, 16]


def test_the_rule_of_auto():
    assert not expected_to_pay(1_000, 0.1, 30)
    assert expected_to_pay(10_000, 0.1, 30)
    assert not expected_to_pay(10_000, 0.001, 30)
    assert not expected_to_pay(10_000, 0.1, 60)


def test_off_compiles_nothing_and_says_nothing(bench):
    run = bench.train(trainingConfig={"epochs": 1})
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == "off"
    assert not run.of(RunTuned)
    assert not {"compiled", "compile_failed"} & {alert.code for alert in run.of(Alert)}


def test_auto_measures_nothing_in_a_short_run_and_says_so(bench):
    run = bench.train(trainingConfig={"epochs": 1, "compile": "auto"})
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == "off"
    (tuned,) = run.of(RunTuned)
    assert (tuned.setting, tuned.used, tuned.measured) == ("/trainingConfig/compile", "off", [])
    assert tuned.reason == "The run has 5 passes, and to measure wants 400."


def test_auto_knows_how_long_a_run_of_micro_batches_is(bench):
    """70 samples in windows of 32, 4 at a time."""
    training = {"epochs": 3, "compile": "auto", "gradientAccumulation": 2}
    run = bench.train(trainingConfig=training, dataConfig={"microBatchSize": 4})
    assert "72 passes" in run.of(RunTuned)[0].reason


def test_where_bits_are_to_be_the_same_no_measurement_decides(bench):
    run = bench.train(trainingConfig={"epochs": 1, "compile": "auto", "deterministic": True})
    assert "deterministic" in run.of(RunTuned)[0].reason


@pytest.mark.parametrize("compiled", ["on", "off"])
def test_what_auto_decided_is_kept_over_a_resume(bench, compiled):
    with torch._dynamo.config.patch(disable=True):
        first = bench.train("first", trainingConfig={"epochs": 1, "compile": compiled})
        resume = {"resumeFrom": str(first.run_folder)}
        second = bench.train("second", trainingConfig={"epochs": 2, "compile": "auto"}, checkpointConfig=resume)
    assert second.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == compiled
    assert not second.of(RunTuned)


def test_what_a_request_says_of_compiling_goes_before_its_checkpoint(bench):
    with torch._dynamo.config.patch(disable=True):
        first = bench.train("first", trainingConfig={"epochs": 1})
        resume = {"resumeFrom": str(first.run_folder)}
        second = bench.train("second", trainingConfig={"epochs": 2, "compile": "on"}, checkpointConfig=resume)
    assert second.of(RunResolved)[0].resolved["trainingConfig"]["compile"] == "on"


def test_fewer_samples_than_a_pass_may_have_are_tried(bench):
    bench.write_data(train=10)
    with torch._dynamo.config.patch(disable=True):
        run = bench.train(trainingConfig={"epochs": 1, "compile": "on"})
    assert "compiled" in [alert.code for alert in run.of(Alert)]


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


# Compiling is free, so that a run of any length is expected to pay.
FREE = Costs(seconds=0.0, seconds_a_module=0.0, passes=0)


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Awkward(nn.Module):
    """Takes a while, but not where it is compiled."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            spin(0.02)
        return self.model(x)


def slow(graph: torch.fx.GraphModule, _inputs: list) -> object:
    """A backend whose code is slow."""

    def call(*inputs: object) -> object:
        spin(0.02)
        return graph(*inputs)

    return call


@pytest.mark.alone
@pytest.mark.parametrize("pays", [True, False])
def test_auto_keeps_what_is_faster(bench, pays):
    """The trial of a pass decides, and leaves no trace."""
    model, trial = parts(bench)
    model = Awkward(model) if pays else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch._dynamo.reset()
    compilation = compile_network(model, "auto", trial, 100_000, backend="eager" if pays else slow, costs=FREE)
    assert compilation.on == pays
    assert (compilation.network is model) == (not pays)
    (tuned,) = compilation.tuned
    assert (tuned.used, tuned.found) == (("on", "on") if pays else ("off", "off"))
    (measured,) = tuned.measured
    assert (measured["compiledSeconds"] < measured["plainSeconds"]) == pays
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_auto_compiles_only_where_all_ranks_do(bench):
    model, trial = parts(bench)
    compilation = compile_network(model, "auto", trial, 100_000, costs=FREE, agree=lambda own: False)
    assert (compilation.on, compilation.network is model) == (False, True)
    assert "nother rank" in compilation.tuned[0].reason


@pytest.mark.parametrize("votes", [[True, False], [True, True, False]], ids=["could not be compiled", "is no faster"])
def test_what_is_compiled_is_kept_only_where_it_is_on_all_ranks(bench, votes: list[bool]):
    model, trial = parts(bench)
    left = iter(votes)
    compilation = compile_network(
        model,
        "auto",
        trial,
        100_000,
        backend="eager",
        costs=replace(FREE, kept=1e9),
        agree=lambda own: own and next(left),
    )
    assert (compilation.on, compilation.network is model, compilation.alerts) == (False, True, [])
    assert compilation.tuned[0].used == "off"
    assert list(left) == []


def test_what_auto_cannot_compile_is_no_warning(bench):
    model, trial = parts(bench)
    torch._dynamo.reset()

    def refusing(_graph: torch.fx.GraphModule, _inputs: list) -> None:
        raise RuntimeError("no such instruction")

    compilation = compile_network(model, "auto", trial, 100_000, backend=refusing, costs=FREE)
    assert [alert.level for alert in compilation.alerts] == ["info"]
    assert compilation.tuned[0].used == "off"


def test_without_a_compiler_nothing_is_measured(bench, monkeypatch):
    model, trial = parts(bench)
    monkeypatch.setenv("PATH", str(bench.folder))
    monkeypatch.delenv("CXX", raising=False)
    expected = expect(model, trial, 100_000, FREE)
    assert expected.seconds == 0
    assert "no compiler (g++, clang++)" in expected.against


def test_a_long_run_of_short_passes_is_weighed(bench):
    model, trial = parts(bench)
    expected = expect(model, trial, 1000, Costs())
    assert expected.seconds > 0
    assert "1,000 passes" in expected.against
    assert expect(model, trial, 10**9, Costs()).against is None
