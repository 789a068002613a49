"""Optimizers of torch.optim by name, with their usual learning rate and their arguments.

The service checks names and arguments against this table without importing torch; tests hold names and defaults against
``inspect.signature`` of torch's own classes, and the bounds against what they raise. Torch's switches that the training
loop owns (foreach, fused, capturable, differentiable) are left out.
"""

from dataclasses import dataclass

from schemas.arguments import Argument, Condition, Entry, find
from schemas.kinds import Choice, Either, Nothing, Number, Row, Switch, Whole

# Those of torch that are no choice here, and why.
LEFT_OUT = {
    "LBFGS": "LBFGS wants the loss evaluated several times a step, which this loop does not do",
    "SparseAdam": "SparseAdam wants sparse gradients",
}
# Optimizers that other libraries have, and torch's that works alike; None where none does, however near the spelling.
RELATIVES: dict[str, str | None] = {
    **dict.fromkeys(("AdaBelief", "AdEMAMix", "AdamP", "AdamW8bit", "FusedAdam", "LAMB", "FusedLAMB"), "AdamW"),
    **dict.fromkeys(("LARS", "SGDP", "SGDW", "SGDM", "Momentum", "MomentumSGD"), "SGD"),
    **dict.fromkeys(("Adan", "CAME", "Lion", "Lookahead", "Prodigy", "Ranger", "Shampoo", "SOAP", "Sophia")),
}


@dataclass(frozen=True)
class OptimizerEntry(Entry):
    """One optimizer of torch: its default rate and weight decay (``takes_weight_decay``: whether it has any), its
    further arguments."""

    learning_rate: float = 0.001
    weight_decay: float = 0.0
    takes_weight_decay: bool = True


_NOT_NEGATIVE = Number(minimum=0)
_SHARE = Number(minimum=0, maximum=1)
_EPS = Argument("eps", _NOT_NEGATIVE, 1e-8)
_BETAS = Argument("betas", Row((Number(minimum=0, below=1),) * 2), (0.9, 0.999))
_MAXIMIZE = Argument("maximize", Switch(), False)
_AMSGRAD = Argument("amsgrad", Switch(), False)
_DECOUPLED = Argument("decoupled_weight_decay", Switch(), False)
_MOMENTUM = Argument("momentum", _NOT_NEGATIVE, 0)

OPTIMIZERS = (
    OptimizerEntry(
        "Adadelta",
        arguments=(Argument("rho", _SHARE, 0.9), Argument("eps", _NOT_NEGATIVE, 1e-6), _MAXIMIZE),
        learning_rate=1.0,
    ),
    OptimizerEntry(
        "Adafactor",
        arguments=(
            Argument("beta2_decay", Number(maximum=0), -0.8),
            Argument("eps", Row((Either((Nothing(), _NOT_NEGATIVE)), _NOT_NEGATIVE)), (None, 1e-3)),
            Argument("d", Number(minimum=1), 1.0),
            _MAXIMIZE,
        ),
        learning_rate=0.01,
    ),
    OptimizerEntry(
        "Adagrad",
        arguments=(
            Argument("lr_decay", _NOT_NEGATIVE, 0),
            Argument("initial_accumulator_value", _NOT_NEGATIVE, 0),
            Argument("eps", _NOT_NEGATIVE, 1e-10),
            _MAXIMIZE,
        ),
        learning_rate=0.01,
    ),
    OptimizerEntry("Adam", arguments=(_BETAS, _EPS, _AMSGRAD, _MAXIMIZE, _DECOUPLED)),
    OptimizerEntry("AdamW", arguments=(_BETAS, _EPS, _AMSGRAD, _MAXIMIZE), weight_decay=0.01),
    OptimizerEntry("Adamax", arguments=(_BETAS, _EPS, _MAXIMIZE), learning_rate=0.002),
    OptimizerEntry(
        "ASGD",
        arguments=(
            Argument("lambd", _NOT_NEGATIVE, 1e-4),
            Argument("alpha", _NOT_NEGATIVE, 0.75),
            Argument("t0", _NOT_NEGATIVE, 1e6),
            _MAXIMIZE,
        ),
        learning_rate=0.01,
    ),
    OptimizerEntry(
        "Muon",
        arguments=(
            Argument("momentum", _NOT_NEGATIVE, 0.95),
            Argument("nesterov", Switch(), True),
            Argument("ns_coefficients", Row((Number(),) * 3), (3.4445, -4.775, 2.0315)),
            Argument("eps", _NOT_NEGATIVE, 1e-7),
            Argument("ns_steps", Whole(minimum=1, below=100), 5),
            Argument("adjust_lr_fn", Choice(("original", "match_rms_adamw"))),
        ),
        weight_decay=0.1,
    ),
    OptimizerEntry(
        "NAdam",
        arguments=(_BETAS, _EPS, Argument("momentum_decay", _NOT_NEGATIVE, 4e-3), _DECOUPLED, _MAXIMIZE),
        learning_rate=0.002,
    ),
    OptimizerEntry("RAdam", arguments=(_BETAS, _EPS, _DECOUPLED, _MAXIMIZE)),
    OptimizerEntry(
        "RMSprop",
        # Torch takes an alpha above 1 as well, and then draws roots of negative numbers.
        arguments=(Argument("alpha", _SHARE, 0.99), _EPS, _MOMENTUM, Argument("centered", Switch(), False), _MAXIMIZE),
        learning_rate=0.01,
    ),
    OptimizerEntry(
        "Rprop",
        arguments=(
            Argument("etas", Row((Number(above=0, below=1), Number(above=1))), (0.5, 1.2)),
            Argument("step_sizes", Row((_NOT_NEGATIVE,) * 2), (1e-6, 50)),
            _MAXIMIZE,
        ),
        learning_rate=0.01,
        takes_weight_decay=False,
    ),
    OptimizerEntry(
        "SGD",
        arguments=(
            _MOMENTUM,
            Argument("dampening", Number(), 0),
            Argument("nesterov", Switch(), False),
            _MAXIMIZE,
        ),
        conditions=(
            Condition("nesterov", "momentum", Number(above=0), 0.9),
            Condition("nesterov", "dampening", Number(minimum=0, maximum=0), 0),
        ),
    ),
)


def find_optimizer(name: str) -> OptimizerEntry | None:
    """The optimizer called ``name``, in any case; None when there is none."""
    return find(OPTIMIZERS, name)
