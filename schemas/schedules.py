"""Learning-rate schedules by name: other spellings, arguments, and which arguments are required."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduleEntry:
    """One schedule. Arguments are spelt as in torch.optim.lr_scheduler; step counts are optimizer steps
    unless ``unit`` says epochs."""

    name: str
    aliases: tuple[str, ...]
    unit: str
    arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    default_warmup: bool = False


SCHEDULES = (
    ScheduleEntry("constant", ("none", "constantlr"), "step"),
    ScheduleEntry("linear", ("linearlr",), "step", ("end_factor",), default_warmup=True),
    ScheduleEntry("polynomial", ("polynomiallr", "poly"), "step", ("power",), default_warmup=True),
    ScheduleEntry("cosine", ("cosineannealing", "cosineannealinglr"), "step", ("eta_min",), default_warmup=True),
    ScheduleEntry(
        "CosineAnnealingWarmRestarts", ("cosinewarmrestarts",), "epoch", ("T_0", "T_mult", "eta_min"), ("T_0",)
    ),
    ScheduleEntry(
        "OneCycleLR",
        ("onecycle",),
        "step",
        ("max_lr", "pct_start", "anneal_strategy", "div_factor", "final_div_factor", "three_phase"),
    ),
    ScheduleEntry("StepLR", ("step",), "epoch", ("step_size", "gamma"), ("step_size",)),
    ScheduleEntry("MultiStepLR", ("multistep",), "epoch", ("milestones", "gamma"), ("milestones",)),
    ScheduleEntry("ExponentialLR", ("exponential", "exp"), "epoch", ("gamma",), ("gamma",)),
    ScheduleEntry(
        "ReduceLROnPlateau",
        ("plateau", "reducelronplateau"),
        "epoch",
        ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"),
    ),
)


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def find_schedule(name: str) -> ScheduleEntry | None:
    """The schedule called ``name`` or one of its other spellings, in any case; None when there is none."""
    return next((entry for entry in SCHEDULES if _key(name) in {_key(entry.name), *map(_key, entry.aliases)}), None)
