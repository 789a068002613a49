"""Arguments of optimizers, schedules and losses: what type each takes, as torch spells them."""

from app.gate.request_schema import Schema

_NUMBER: Schema = {"type": "number"}
_NOT_NEGATIVE: Schema = {"type": "number", "minimum": 0}
_POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
_WHOLE: Schema = {"type": "integer", "minimum": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SWITCH: Schema = {"type": "boolean"}
_SHARE: Schema = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_PAIR: Schema = {"type": "array", "items": _NOT_NEGATIVE, "minItems": 2, "maxItems": 2}

OPTIMIZER_ARGUMENTS: dict[str, Schema] = {
    **dict.fromkeys(("maximize", "amsgrad", "decoupled_weight_decay", "nesterov", "centered"), _SWITCH),
    **dict.fromkeys(("rho", "lr_decay", "initial_accumulator_value", "lambd", "alpha", "t0", "d"), _NOT_NEGATIVE),
    **dict.fromkeys(("momentum", "momentum_decay"), _NOT_NEGATIVE),
    **dict.fromkeys(("dampening", "beta2_decay"), _NUMBER),
    **dict.fromkeys(("etas", "step_sizes"), _PAIR),
    "betas": {"type": "array", "items": _SHARE, "minItems": 2, "maxItems": 2},
    "ns_coefficients": {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3},
    "ns_steps": _WHOLE,
    "adjust_lr_fn": {"type": "string", "enum": ["original", "match_rms_adamw"]},
}

SCHEDULE_ARGUMENTS: dict[str, Schema] = {
    **dict.fromkeys(("gamma", "factor", "max_lr", "div_factor", "final_div_factor"), _POSITIVE),
    **dict.fromkeys(("end_factor", "eta_min", "min_lr", "eps", "threshold", "power"), _NOT_NEGATIVE),
    **dict.fromkeys(("T_0", "T_mult", "step_size"), _WHOLE),
    **dict.fromkeys(("patience", "cooldown"), _COUNT),
    "milestones": {"type": "array", "items": _WHOLE, "minItems": 1},
    "pct_start": {"type": "number", "minimum": 0, "maximum": 1},
    "anneal_strategy": {"type": "string", "enum": ["cos", "linear"]},
    "three_phase": _SWITCH,
    "mode": {"type": "string", "enum": ["min", "max"]},
    "threshold_mode": {"type": "string", "enum": ["rel", "abs"]},
}

LOSS_ARGUMENTS: dict[str, Schema] = {
    "ignore_index": {"type": "integer"},
    "gamma": _NOT_NEGATIVE,
    "delta": _POSITIVE,
}

# Arguments that torch has and the loop owns, or that the request says elsewhere.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "lr": ("trainingConfig", "learningRate"),
    "learning_rate": ("trainingConfig", "learningRate"),
    "weight_decay": ("trainingConfig", "weightDecay"),
    "label_smoothing": ("trainingConfig", "labelSmoothing"),
    "warmup_steps": ("trainingConfig", "warmupSteps"),
    "num_warmup_steps": ("trainingConfig", "warmupSteps"),
    "warmup_ratio": ("trainingConfig", "warmupRatio"),
}
OWNED: dict[str, str] = {
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), "the training loop chooses it"),
    **dict.fromkeys(("T_max", "total_iters", "total_steps", "steps_per_epoch"), "the schedule spans the whole run"),
    **dict.fromkeys(("epochs", "num_training_steps", "max_steps"), "the schedule spans the whole run"),
    **dict.fromkeys(("last_epoch", "verbose"), "the training loop keeps it"),
    **dict.fromkeys(("reduction", "size_average", "reduce"), "the training loop takes the mean over samples"),
}
