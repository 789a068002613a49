"""Whether compiling a model is expected to pay within a run."""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import nn

from trainer_core.failure import Failure
from trainer_core.loop.preparing.trial import Trial


@dataclass(frozen=True)
class Costs:
    """What compiling costs: ``seconds`` to begin with, and for each module that computes. What it brings: at the least
    ``share`` of a pass; auto wants ``wanted`` times the cost back. Runs of fewer than ``passes`` are not even measured: to
    measure takes four of them. What was compiled is kept where a pass takes ``kept`` of the time or less.

    Estimates on the careful side. On a CPU (one core of a cloud machine, torch 2.13) compiling took 5 to 16 s, and a small
    convolutional net gained 8 %, while an MLP and a transformer lost a third and almost half of their speed: hence the trial.
    """

    seconds: float = 20.0
    seconds_a_module: float = 0.3
    share: float = 0.1
    wanted: float = 2.0
    passes: int = 400
    kept: float = 0.98

    def of(self, model: nn.Module) -> float:
        """Seconds that compiling ``model`` is expected to take."""
        return self.seconds + self.seconds_a_module * sum(
            1 for module in model.modules() if not list(module.children())
        )


USUAL = Costs()


@dataclass(frozen=True)
class Expectation:
    """What speaks ``against`` compiling, as the end of a sentence, None when nothing does; and the ``seconds`` of a pass."""

    against: str | None
    seconds: float = 0.0


def expect(model: nn.Module, trial: Trial, passes: int, costs: Costs, barrier: str | None = None) -> Expectation:
    """Whether a run of ``passes`` is expected to get back what compiling costs. What can be told without a measurement is told
    without one, and nothing of the compiler is imported."""
    against = barrier or _short(passes, costs) or _no_compiler(trial.device)
    if against is not None:
        return Expectation(against)
    try:
        trial.run(model)
        seconds = trial.seconds(model)
    except Failure:
        # What does not fit into memory is the first batch's to tell.
        return Expectation("a pass could not be tried")
    whole, cost = passes * seconds, costs.of(model)
    if expected_to_pay(passes, seconds, cost, costs):
        return Expectation(None, seconds)
    return Expectation(
        f"the run's {passes:,} passes of {seconds * 1e3:.3g} ms take {whole:.3g} s; {costs.share:.0%} of that are less than "
        f"{costs.wanted:g} times the {cost:.3g} s that compiling is expected to take",
        seconds,
    )


def expected_to_pay(passes: int, seconds_a_pass: float, cost: float, costs: Costs = USUAL) -> bool:
    """Whether the share that compiling is expected to save of a run is a multiple of its ``cost`` in seconds."""
    return passes * seconds_a_pass * costs.share >= costs.wanted * cost


def _short(passes: int, costs: Costs) -> str | None:
    return f"the run has {passes:,} passes, and to measure wants {costs.passes:,}" if passes < costs.passes else None


def _no_compiler(device: torch.device) -> str | None:
    """Why nothing could be compiled on ``device``, as far as a look at the disk tells."""
    names = (
        [os.environ.get("CXX"), "g++", "clang++"] if device.type == "cpu" else [os.environ.get("CC"), "gcc", "clang"]
    )
    if not any(name and shutil.which(name) for name in names):
        return f"there is no compiler ({', '.join(name for name in names if name)}) on this machine"
    if device.type == "cuda" and find_spec("triton") is None:
        return "triton is not installed"
    return None
