"""Learning-rate schedules: the rate as a function of the definition, the step and the number of steps.

Each curve is a closed form of the recurrence that ``torch.optim.lr_scheduler`` follows, so that a resumed run, a
skipped step or a rate asked for twice cannot drift. Over whole runs both agree to about 1e-12, relatively. They
part where torch's recurrences lose digits: near the end of a cosine of many steps torch divides two small
differences, step after step (about 1e-7 at 100,000 steps), and after the last step, where torch's cosine would
rise again and OneCycleLR raises, the rate here stays.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from schemas.schedules import LARGEST_RATE, SCHEDULES, ScheduleEntry, find_schedule
from schemas.training import TrainingConfig
from trainer_core.arguments import Arguments, invalid
from trainer_core.epochs.best import Best

Curve = Callable[[int], float]

_POINTER = "/trainingConfig/schedulerArgs"
_WARMUP_SHARE = 0.1
_WARMUP_MOST = 2000


class Schedule:
    """Linear warm-up, then a curve.

    The warm-up is ``LinearLR(start_factor=1 / (n + 1), total_iters=n)``: never 0, and the full rate at step ``n``.
    A curve in steps begins after the warm-up and ends with the run (``SequentialLR``); a curve in epochs counts
    from the run's beginning, and the warm-up is a factor on it (two chained schedulers).
    """

    def __init__(self, curve: Curve, unit: str, warmup_steps: int) -> None:
        self._curve = curve
        self._unit = unit
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, epoch: int) -> float:
        """The rate for the optimizer step with index ``step`` in epoch ``epoch``, both from 0."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmup * self._curve(epoch if self._unit == "epoch" else max(0, step - self.warmup_steps))

    def observe(self, figure: float | None) -> None:
        """Hear the watched figure of an epoch that has ended. Only ReduceLROnPlateau listens."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: nothing, but for ReduceLROnPlateau."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


class PlateauSchedule(Schedule):
    """ReduceLROnPlateau: the rate times ``factor`` after more than ``patience`` epochs without improvement.

    Unlike torch's, a figure that is missing or NaN is neither good nor bad and uses up no patience, and a relative
    threshold is a share of the best figure's size (torch calls a constant negative figure an improvement).
    """

    def __init__(self, arguments: Arguments, learning_rate: float, warmup_steps: int) -> None:
        super().__init__(lambda _epoch: self._rate, "epoch", warmup_steps)
        self._rate = learning_rate
        self._mode: str = arguments["mode"]
        self._factor: float = arguments["factor"]
        self._patience: int = arguments["patience"]
        self._threshold: float = arguments["threshold"]
        self._relative = arguments["threshold_mode"] == "rel"
        self._cooldown: int = arguments["cooldown"]
        self._min_lr: float = arguments["min_lr"]
        self._eps: float = arguments["eps"]
        self._best: float | None = None
        self._bad_epochs = 0
        self._cooling = 0

    def observe(self, figure: float | None) -> None:
        """Judge the epoch, and lower the rate when patience has run out."""
        if figure is None or math.isnan(figure):
            return
        if self._improves(figure):
            self._best, self._bad_epochs = figure, 0
        else:
            self._bad_epochs += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._bad_epochs = 0
        if self._bad_epochs > self._patience:
            lower = max(self._rate * self._factor, self._min_lr)
            self._rate = lower if self._rate - lower > self._eps else self._rate
            self._cooling, self._bad_epochs = self._cooldown, 0

    def _improves(self, figure: float) -> bool:
        if self._best is None:
            return True
        sign = -1.0 if self._mode == "min" else 1.0
        margin = self._threshold * (abs(self._best) if self._relative else 1.0)
        bound = self._best + sign * margin
        return sign * figure > sign * bound

    def state(self) -> dict[str, Any]:
        """The rate and what it was judged by."""
        return {"rate": self._rate, "best": self._best, "badEpochs": self._bad_epochs, "cooling": self._cooling}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; an empty one, of another schedule, begins afresh."""
        if state:
            self._rate, self._best = state["rate"], state["best"]
            self._bad_epochs, self._cooling = state["badEpochs"], state["cooling"]


def build_schedule(training: TrainingConfig, learning_rate: float, total_steps: int) -> Schedule:
    """The schedule called ``trainingConfig.scheduler`` over ``total_steps`` optimizer steps.

    Raises Failure ``input_invalid`` for an unknown name and for unknown, missing and wrong arguments.
    """
    entry = _entry(training.scheduler)
    arguments = Arguments(entry, training.scheduler_args, _POINTER)
    warmup = _warmup_steps(entry, training, total_steps)
    if entry.name == "ReduceLROnPlateau":
        return PlateauSchedule(arguments, learning_rate, warmup)
    curve = _CURVES[entry.name](arguments, learning_rate, max(1, total_steps - warmup))
    return Schedule(curve, entry.unit, warmup)


def watched_figure(training: TrainingConfig, best: Best, validates: bool) -> str:
    """The figure that ReduceLROnPlateau watches: that of the best epoch where both mean the same way, else the loss."""
    if training.scheduler_args.get("mode", "min") == best.mode:
        return best.monitor
    return "valLoss" if validates else "trainLoss"


def _entry(name: str) -> ScheduleEntry:
    entry = find_schedule(name)
    if entry is None:
        names = ", ".join(entry.name for entry in SCHEDULES)
        raise invalid("/trainingConfig/scheduler", f"There is no schedule {name!r}; there are: {names}.")
    return entry


def _warmup_steps(entry: ScheduleEntry, training: TrainingConfig, total_steps: int) -> int:
    if training.warmup_steps is not None and training.warmup_ratio is not None:
        raise invalid("/trainingConfig/warmupRatio", "warmupSteps and warmupRatio are both given: give one.")
    asked = training.warmup_steps
    if training.warmup_ratio is not None:
        asked = int(training.warmup_ratio * total_steps)
    if asked is not None:
        return min(asked, total_steps)
    return min(int(_WARMUP_SHARE * total_steps), _WARMUP_MOST) if entry.default_warmup else 0


def _constant(_arguments: Arguments, rate: float, _total: int) -> Curve:
    return lambda _step: rate


def _linear(arguments: Arguments, rate: float, total: int) -> Curve:
    """LinearLR from 1 to ``end_factor``."""
    end: float = arguments["end_factor"]
    return lambda step: rate * (1 + (end - 1) * min(step, total) / total)


def _polynomial(arguments: Arguments, rate: float, total: int) -> Curve:
    power: float = arguments["power"]
    return lambda step: rate * (1 - min(step, total) / total) ** power


def _half_cosine(share: float) -> float:
    """(1 + cos(pi * share)) / 2, from 1 to 0, without cancellation near 0."""
    return math.sin(math.pi * (1 - share) / 2) ** 2


def _cosine(arguments: Arguments, rate: float, total: int) -> Curve:
    low: float = arguments["eta_min"]
    return lambda step: low + (rate - low) * _half_cosine(min(step, total) / total)


def _warm_restarts(arguments: Arguments, rate: float, _total: int) -> Curve:
    first: int = arguments["T_0"]
    multiple: int = arguments["T_mult"]
    low: float = arguments["eta_min"]

    def curve(epoch: int) -> float:
        length = first
        if multiple == 1:
            epoch %= length
        while epoch >= length:
            epoch -= length
            length *= multiple
        return low + (rate - low) * _half_cosine(epoch / length)

    return curve


def _one_cycle(arguments: Arguments, rate: float, total: int) -> Curve:
    """Up to ``max_lr`` (the learning rate when absent), down, and on to almost nothing (Smith and Topin 2018)."""
    top: float = arguments["max_lr"] or rate
    peak: float = arguments["pct_start"] * total - 1
    start: float = top / arguments["div_factor"]
    end: float = start / arguments["final_div_factor"]
    is_cosine = arguments["anneal_strategy"] == "cos"
    last = float(total - 1)
    phases = [(peak, start, top), (last, top, end)]
    if arguments["three_phase"]:
        phases = [(peak, start, top), (2 * peak, top, start), (last, start, end)]

    def curve(step: int) -> float:
        begin = 0.0
        position = min(float(step), last)
        for finish, first, final in phases:
            if position <= finish or finish == last:
                share = (position - begin) / (finish - begin) if finish > begin else 1.0
                return final + (first - final) * (_half_cosine(share) if is_cosine else 1 - share)
            begin = finish
        raise AssertionError("the last phase ends with the run")

    return curve


def _steps(arguments: Arguments, rate: float, _total: int) -> Curve:
    size: int = arguments["step_size"]
    gamma: float = arguments["gamma"]
    return lambda epoch: _decayed(rate, gamma, epoch // size)


def _milestones(arguments: Arguments, rate: float, _total: int) -> Curve:
    milestones: list[int] = sorted(arguments["milestones"])
    gamma: float = arguments["gamma"]
    return lambda epoch: _decayed(rate, gamma, bisect_right(milestones, epoch))


def _exponential(arguments: Arguments, rate: float, _total: int) -> Curve:
    gamma: float = arguments["gamma"]
    return lambda epoch: _decayed(rate, gamma, epoch)


def _decayed(rate: float, gamma: float, times: int) -> float:
    """rate * gamma ** times; a gamma above 1 ends at the largest rate that a request may name, not beyond all numbers."""
    room = math.log(max(LARGEST_RATE / rate, 1.0))
    return rate * math.pow(gamma, times) if times * math.log(gamma) <= room else max(rate, LARGEST_RATE)


_CURVES: dict[str, Callable[[Arguments, float, int], Curve]] = {
    "constant": _constant,
    "linear": _linear,
    "polynomial": _polynomial,
    "cosine": _cosine,
    "CosineAnnealingWarmRestarts": _warm_restarts,
    "OneCycleLR": _one_cycle,
    "StepLR": _steps,
    "MultiStepLR": _milestones,
    "ExponentialLR": _exponential,
}
