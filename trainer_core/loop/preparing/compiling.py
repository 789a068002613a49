"""``torch.compile`` of the training pass, where it pays, and the way back where it fails or does not."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from schemas.events import Alert, RunTuned
from trainer_core.failure import Failure
from trainer_core.loop.preparing.pay_back import USUAL, Costs, expect
from trainer_core.loop.preparing.trial import Trial

Mode = Literal["off", "on", "auto"]

SETTING = "/trainingConfig/compile"


class CompiledNetwork(nn.Module):
    """Calls ``model`` compiled for batches of the ``regular`` sizes, and as it is for another: the short last batch of an
    epoch compiles nothing. Parameters and state are ``model``'s own.

    Which sizes these are, and which code is called for one, hangs on nothing that was called before: a run that is resumed
    would else differ in its last bits from one that was not.
    """

    def __init__(self, model: nn.Module, compiled: Callable[..., Any], regular: Callable[[], Collection[int]]) -> None:
        super().__init__()
        self.model = model
        self._compiled = compiled
        self._regular = regular
        self._tried: set[int] = set()
        self._trying = False

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Batches that are seen meanwhile are as regular ones look like, also where their samples do not stand along the first
        axis of a tensor."""
        self._trying = True
        try:
            yield
        finally:
            self._trying = False

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What ``model`` gives."""
        tensors = [item for item in (*inputs, *named.values()) if isinstance(item, Tensor) and item.ndim]
        size = len(tensors[0]) if tensors else 0
        if self._trying:
            self._tried.add(size)
        if size not in self._tried and size not in self._regular():
            return self.model(*inputs, **named)
        for tensor in tensors:
            # Else the second size would be compiled for any size, and take the place of the first one's code.
            torch._dynamo.mark_static(tensor, 0)
        return self._compiled(*inputs, **named)


@dataclass(frozen=True)
class Compilation:
    """The network to call in training, whether it is compiled, and what to say of that."""

    network: nn.Module
    on: bool = False
    alerts: list[Alert] = field(default_factory=list)
    tuned: list[RunTuned] = field(default_factory=list)


def compile_network(
    model: nn.Module,
    mode: Mode,
    trial: Trial,
    passes: int,
    *,
    backend: str = "inductor",
    costs: Costs = USUAL,
    barrier: str | None = None,
    agree: Callable[[bool], bool] = lambda own: own,
    regular: Callable[[], Collection[int]] = frozenset,
) -> Compilation:
    """``model``, compiled by ``backend`` when ``mode`` says so, for a run of ``passes`` forward and backward, of ``trial.size``
    samples and whatever other sizes are ``regular``.

    ``auto`` compiles where nothing stands against it (``barrier``) and the run is expected to be long enough (see
    ``expect``), and keeps what it compiled where a pass of it is faster. It is compiled here, by one pass; if that fails the
    run goes on with ``model`` as it is, and an alert says why. ``agree`` is whether all ranks say yes; all are asked alike.
    """
    if mode == "off":
        return Compilation(model)
    began, plain = time.monotonic(), 0.0
    if mode == "auto":
        expected = expect(model, trial, passes, costs, barrier)
        plain = expected.seconds
        if not agree(expected.against is None):
            return Compilation(model, tuned=[_decided("off", expected.against or _ELSEWHERE, began)])
    compiled: Any = torch.compile(model, backend=backend)
    # Its call alone: the module around it would give every parameter a second name.
    network = CompiledNetwork(model, compiled.__call__, regular)
    began_compiling = time.monotonic()
    with network.trying():
        failure = _tried(trial, network)
    seconds = round(time.monotonic() - began_compiling, 1)
    if not agree(failure is None):
        alerts = [] if failure is None else [_failed(failure, "warning" if mode == "on" else "info")]
        tuned = [_decided("off", "the model could not be compiled", began)] if mode == "auto" else []
        return Compilation(model, alerts=alerts, tuned=tuned)
    message = f"The model is compiled (torch.compile, {backend}); that took {seconds:g} s."
    alerts = [Alert(code="compiled", level="info", message=message)]
    if mode == "on":
        return Compilation(network, True, alerts)
    faster = trial.seconds(network)
    measured = {"plainSeconds": plain, "compiledSeconds": faster, "compilingSeconds": seconds}
    words = (
        f"a pass takes {faster * 1e3:.3g} ms compiled and {plain * 1e3:.3g} ms as it is; compiling took {seconds:g} s"
    )
    if not agree(faster <= costs.kept * plain):
        torch.compiler.reset()
        return Compilation(model, tuned=[_decided("off", words, began, measured)])
    return Compilation(network, True, alerts, [_decided("on", words, began, measured)])


_ELSEWHERE = "another rank found that it does not pay"


def _decided(what: Mode, words: str, began: float, measured: dict[str, Any] | None = None) -> RunTuned:
    return RunTuned(
        setting=SETTING,
        found=what,
        used=what,
        reason=f"{words[0].upper()}{words[1:]}.",
        seconds=time.monotonic() - began,
        measured=[measured] if measured else [],
    )


def _tried(trial: Trial, network: nn.Module) -> Failure | None:
    """What one pass raised."""
    try:
        trial.run(network)
    except Failure as failure:
        return failure
    return None


def _failed(failure: Failure, level: Literal["info", "warning"]) -> Alert:
    text = failure.error.untrusted or failure.error.message
    return Alert(
        code="compile_failed",
        level=level,
        message="The model could not be compiled; it is trained as it is.",
        evidence={"untrusted": text[-1024:]},
        remedy='Set trainingConfig.compile to "off", or mend what the compiler names.',
    )
