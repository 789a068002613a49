"""Which parameters are trained with what rate and what weight decay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from schemas.parameter_groups import ParameterGroup
from trainer_core.arguments import invalid
from trainer_core.loop.preparing.names import fits, matching

_POINTER = "/trainingConfig/parameterGroups"


@dataclass(frozen=True)
class Group:
    """Parameters by name that share ``lr_factor``, by which the schedule's rate is multiplied for them, and
    ``weight_decay``."""

    name: str
    lr_factor: float
    weight_decay: float
    parameters: list[tuple[str, Tensor]] = field(default_factory=list)

    def options(self, learning_rate: float) -> dict[str, Any]:
        """The same as a group of ``torch.optim``; ``lr_factor`` is kept there for whoever sets the rate."""
        return {
            "name": self.name,
            "params": self.parameters,
            "lr": learning_rate * self.lr_factor,
            "lr_factor": self.lr_factor,
            "weight_decay": self.weight_decay,
        }


def group_parameters(
    model: nn.Module, wanted: Sequence[ParameterGroup], learning_rate: float, weight_decay: float
) -> list[Group]:
    """All trainable parameters of ``model``, a tied one once, by group: first those that no pattern of ``wanted`` fits,
    then those of each pattern, the first that fits. The empty ones are left out.

    Each is two groups: weight decay is for matrices only, not for biases, norms and other parameters of fewer than two
    dimensions, nor for embeddings. ``learning_rate`` and ``weight_decay`` are those of the main group.

    Raises Failure ``input_invalid`` for a pattern that fits no trainable parameter, or none that is left.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    pairs = [_pair("", 1.0, weight_decay)]
    for group in wanted:
        factor = _factor(group, learning_rate)
        own_decay = weight_decay if group.weight_decay is None else group.weight_decay
        pairs.append(_pair(f"{group.match} ", factor, own_decay))
    for name, parameter in trainable.items():
        index = next((number for number, group in enumerate(wanted, 1) if fits(group.match, name)), 0)
        is_spared = parameter.ndim < 2 or id(parameter) in embeddings
        pairs[index][is_spared].parameters.append((name, parameter))
    for number, group in enumerate(wanted):
        if not any(half.parameters for half in pairs[number + 1]):
            _refuse_empty(number, group, trainable)
    return [half for pair in pairs for half in pair if half.parameters]


def follow_rate(groups: list[dict[str, Any]], wanted: Sequence[ParameterGroup], learning_rate: float) -> None:
    """Give an optimizer's ``groups`` the factors that they have beside the main group's ``learning_rate``."""
    for group in wanted:
        names = {half.name for half in _pair(f"{group.match} ", 1.0, 0.0)}
        for options in groups:
            if options["name"] in names:
                options["lr_factor"] = _factor(group, learning_rate)


def _pair(prefix: str, factor: float, weight_decay: float) -> tuple[Group, Group]:
    return Group(f"{prefix}decay", factor, weight_decay), Group(f"{prefix}no_decay", factor, 0.0)


def _factor(group: ParameterGroup, learning_rate: float) -> float:
    if group.learning_rate is not None:
        return group.learning_rate / learning_rate
    return 1.0 if group.learning_rate_factor is None else group.learning_rate_factor


def _refuse_empty(number: int, group: ParameterGroup, trainable: Mapping[str, Tensor]) -> None:
    pointer = f"{_POINTER}/{number}/match"
    taken = matching(group.match, trainable, pointer, "trainable parameter")
    message = f"All {len(taken)} parameters that {group.match!r} fits are of groups before it."
    raise invalid(pointer, message, next_move="Put the narrower pattern first: the first that fits a parameter holds.")
