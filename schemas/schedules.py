"""Learning-rate schedules by name: other spellings, arguments, and what each has to do with the warm-up."""

from dataclasses import dataclass
from typing import Literal

from schemas.arguments import Argument, Entry, find
from schemas.kinds import Choice, Number, Several, Switch, Whole


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """One schedule. Arguments are spelt as in torch.optim.lr_scheduler; step counts are optimizer steps
    unless ``unit`` says epochs."""

    unit: Literal["step", "epoch"] = "step"
    default_warmup: bool = False


# As of a request's learningRate.
LARGEST_RATE = 1000.0

_RATE = Number(above=0, maximum=LARGEST_RATE)
_LOWEST_RATE = Number(minimum=0, maximum=LARGEST_RATE)
_POSITIVE = Number(above=0)
# Torch takes any; a rate divided by a smaller one would soon be no number.
_DIVISOR = Number(minimum=0.001)
_GAMMA = Argument("gamma", _POSITIVE, 0.1)
_ETA_MIN = Argument("eta_min", _LOWEST_RATE, 0.0)


def _third(epochs: int) -> int:
    return max(1, epochs // 3)


def _half_and_three_quarters(epochs: int) -> list[int]:
    return sorted({max(1, epochs // 2), max(1, epochs * 3 // 4)})


SCHEDULES = (
    ScheduleEntry("constant", ("none", "constantlr")),
    ScheduleEntry(
        "linear",
        ("linearlr",),
        # Torch's own default, 1, would be no decay.
        (Argument("end_factor", Number(minimum=0, maximum=1), 0.0),),
        default_warmup=True,
    ),
    ScheduleEntry(
        "polynomial",
        ("polynomiallr", "poly"),
        (Argument("power", Number(minimum=0), 1.0),),
        default_warmup=True,
    ),
    ScheduleEntry("cosine", ("cosineannealing", "cosineannealinglr"), (_ETA_MIN,), default_warmup=True),
    ScheduleEntry(
        "CosineAnnealingWarmRestarts",
        ("cosinewarmrestarts",),
        (Argument("T_0", Whole(minimum=1), proposed=_third), Argument("T_mult", Whole(minimum=1), 1), _ETA_MIN),
        unit="epoch",
    ),
    ScheduleEntry(
        "OneCycleLR",
        ("onecycle",),
        (
            # Absent: the learning rate.
            Argument("max_lr", _RATE),
            Argument("pct_start", Number(minimum=0, maximum=1), 0.3),
            Argument("anneal_strategy", Choice(("cos", "linear")), "cos"),
            Argument("div_factor", _DIVISOR, 25.0),
            Argument("final_div_factor", _DIVISOR, 1e4),
            Argument("three_phase", Switch(), False),
        ),
    ),
    ScheduleEntry(
        "StepLR", ("step",), (Argument("step_size", Whole(minimum=1), proposed=_third), _GAMMA), unit="epoch"
    ),
    ScheduleEntry(
        "MultiStepLR",
        ("multistep",),
        (Argument("milestones", Several(Whole(minimum=1)), proposed=_half_and_three_quarters), _GAMMA),
        unit="epoch",
    ),
    ScheduleEntry(
        "ExponentialLR",
        ("exponential", "exp"),
        (Argument("gamma", _POSITIVE, proposed=lambda _epochs: 0.95),),
        unit="epoch",
    ),
    ScheduleEntry(
        "ReduceLROnPlateau",
        ("plateau", "reducelronplateau"),
        (
            Argument("mode", Choice(("min", "max")), "min"),
            Argument("factor", Number(above=0, below=1), 0.1),
            Argument("patience", Whole(minimum=0), 10),
            Argument("threshold", Number(minimum=0), 1e-4),
            Argument("threshold_mode", Choice(("rel", "abs")), "rel"),
            Argument("cooldown", Whole(minimum=0), 0),
            Argument("min_lr", _LOWEST_RATE, 0.0),
            Argument("eps", Number(minimum=0), 1e-8),
        ),
        unit="epoch",
    ),
)


def find_schedule(name: str) -> ScheduleEntry | None:
    """The schedule called ``name`` or one of its other spellings, in any case; None when there is none."""
    return find(SCHEDULES, name)
