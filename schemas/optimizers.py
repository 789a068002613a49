"""Optimizers of torch.optim by name, with their usual learning rate and their arguments.

The service checks names and arguments against this table without importing torch; a test holds the table against
``inspect.signature`` of torch's own classes. LBFGS (wants a closure) and SparseAdam (wants sparse gradients) are
left out, and so are torch's switches that the training loop owns (foreach, fused, capturable, differentiable).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerEntry:
    """One optimizer: torch's class name, its default rate and weight decay, its further arguments."""

    name: str
    learning_rate: float
    weight_decay: float
    arguments: tuple[str, ...]


OPTIMIZERS = (
    OptimizerEntry("Adadelta", 1.0, 0.0, ("rho", "eps", "maximize")),
    OptimizerEntry("Adafactor", 0.01, 0.0, ("beta2_decay", "eps", "d", "maximize")),
    OptimizerEntry("Adagrad", 0.01, 0.0, ("lr_decay", "initial_accumulator_value", "eps", "maximize")),
    OptimizerEntry("Adam", 0.001, 0.0, ("betas", "eps", "amsgrad", "maximize", "decoupled_weight_decay")),
    OptimizerEntry("AdamW", 0.001, 0.01, ("betas", "eps", "amsgrad", "maximize")),
    OptimizerEntry("Adamax", 0.002, 0.0, ("betas", "eps", "maximize")),
    OptimizerEntry("ASGD", 0.01, 0.0, ("lambd", "alpha", "t0", "maximize")),
    OptimizerEntry("Muon", 0.001, 0.1, ("momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")),
    OptimizerEntry("NAdam", 0.002, 0.0, ("betas", "eps", "momentum_decay", "decoupled_weight_decay", "maximize")),
    OptimizerEntry("RAdam", 0.001, 0.0, ("betas", "eps", "decoupled_weight_decay", "maximize")),
    OptimizerEntry("RMSprop", 0.01, 0.0, ("alpha", "eps", "momentum", "centered", "maximize")),
    OptimizerEntry("Rprop", 0.01, 0.0, ("etas", "step_sizes", "maximize")),
    OptimizerEntry("SGD", 0.001, 0.0, ("momentum", "dampening", "nesterov", "maximize")),
)


def find_optimizer(name: str) -> OptimizerEntry | None:
    """The optimizer called ``name``, in any case; None when there is none."""
    return next((entry for entry in OPTIMIZERS if entry.name.lower() == name.lower()), None)
