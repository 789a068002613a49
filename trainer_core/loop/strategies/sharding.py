"""A model in shards: each rank holds a part of every parameter, and gathers a block's when it comes to it (FSDP2)."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _NormBase

from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.loop.preparing.activation_checkpointing import repeated_blocks

# Their kernels want weights of one type with their inputs or statistics, which autocast does not see to.
_OF_ONE_TYPE = (_NormBase, nn.RNNBase)


def shard(model: nn.Module, mesh: DeviceMesh, half: torch.dtype | None) -> None:
    """Shard ``model`` in place over ``mesh``, its repeated blocks each for itself, and what is left as one.

    Names and whole values stay what they are. Parameters are kept and gradients summed as they are; with ``half`` they are
    gathered in that type, but for a model with batch normalisation or recurrent layers.

    Raises Failure ``model_invalid`` for a parameter that cannot be cut, and for trainable ones of several types that would be
    gathered together.
    """
    _refuse_uncuttable(model)
    blocks = _blocks(model)
    _refuse_unlike(model, blocks)
    if half is None or any(isinstance(module, _OF_ONE_TYPE) for module in model.modules()):
        policy = MixedPrecisionPolicy()
    else:
        # What each operation computes in, autocast says, as in one process.
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    # The root's as well: whoever looks at parameters between two passes finds the shards.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Repeated blocks that share no parameter with anything outside: a parameter is gathered by one of them."""
    users: dict[Tensor, int] = {}
    blocks = [block for _, block in repeated_blocks(model)]
    for _, parameter in model.named_parameters(remove_duplicate=False):
        users[parameter] = users.get(parameter, 0) + 1
    return [block for block in blocks if _is_apart(block, users)]


def _is_apart(block: nn.Module, users: Mapping[Tensor, int]) -> bool:
    own: dict[Tensor, int] = {}
    for _, parameter in block.named_parameters(remove_duplicate=False):
        own[parameter] = own.get(parameter, 0) + 1
    return all(users[parameter] == count for parameter, count in own.items())


def _refuse_uncuttable(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            what = f"Parameter {name!r} is a single number without a dimension, which FSDP cannot cut."
            raise _refusal(what, "Give it the shape (1,)")


def _refuse_unlike(model: nn.Module, blocks: list[nn.Module]) -> None:
    gathered = {parameter for block in blocks for parameter in block.parameters()}
    rest = [item for item in model.named_parameters() if item[1] not in gathered]
    for together in [*([*block.named_parameters()] for block in blocks), rest]:
        first: dict[torch.dtype, str] = {}
        for name, parameter in together:
            if parameter.requires_grad:
                first.setdefault(parameter.dtype, name)
        if len(first) > 1:
            said = " and ".join(f"{name!r} is {kind}" for kind, name in first.items())
            what = f"Parameter {said}, and FSDP gathers parameters of one type together."
            raise _refusal(what, "Give the model one type")


def _refusal(what: str, move: str) -> Failure:
    return Failure(
        "model_invalid",
        what,
        next_move=f'{move}, or set trainingConfig.strategy to "ddp".',
        place=Place(pointer="/trainingConfig/strategy"),
        fix=[PatchOperation(op="add", path="/trainingConfig/strategy", value="ddp")],
    )


def local(tensor: Tensor) -> Tensor:
    """This rank's part of ``tensor``, which shares its memory."""
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor


def gather(tensor: Tensor, keeps: bool) -> Tensor:
    """The whole of ``tensor`` on the CPU of a rank that ``keeps`` it; on others its shape, on the meta device."""
    if not isinstance(tensor, DTensor):
        return tensor
    whole = tensor.full_tensor().detach()
    return whole.to("cpu", copy=True) if keeps else whole.to("meta")


def gather_all(tree: Any, keeps: bool) -> Any:
    """``gather`` for every tensor in nested dicts and lists."""
    if isinstance(tree, Tensor):
        return gather(tree, keeps)
    if isinstance(tree, dict):
        return {key: gather_all(value, keeps) for key, value in tree.items()}
    return [gather_all(value, keeps) for value in tree] if isinstance(tree, list) else tree


def deal(whole: Tensor, like: DTensor) -> DTensor:
    """``whole`` of the first rank, cut as ``like`` is; the others' need only have its shape."""
    device = local(like).device
    there = torch.empty(whole.shape, dtype=whole.dtype, device=device) if whole.is_meta else whole.to(device)
    return distribute_tensor(there, like.device_mesh, like.placements)


def deal_model(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """``state`` as ``model.load_state_dict`` takes it. All ranks take part."""
    own = model.state_dict()
    return {
        name: deal(value, own[name]) if isinstance(own.get(name), DTensor) else value for name, value in state.items()
    }


class Shards:
    """What a rank holds of an optimizer's parameters, as plain tensors that share their memory: all that is done element by
    element is done on these, by the same kernels as in one process."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        """``optimizer`` steps the parts from here on; it has taken no step. The state that it begins with (Adagrad's) goes with
        them."""
        self._whole: list[DTensor] = []
        self._parts: list[Tensor] = []
        for group in optimizer.param_groups:
            parts = [local(parameter).detach() for parameter in group["params"]]
            for whole, part in zip(group["params"], parts, strict=True):
                if whole in optimizer.state:
                    optimizer.state[part] = {name: local(value) for name, value in optimizer.state.pop(whole).items()}
            self._whole += group["params"]
            self._parts += parts
            group["params"] = parts

    @property
    def parts(self) -> Iterable[Tensor]:
        """The parts, in the optimizer's order."""
        return self._parts

    def take_gradients(self) -> None:
        """Hand the gradients that a backward pass has left over to the parts."""
        for whole, part in zip(self._whole, self._parts, strict=True):
            part.grad = None if whole.grad is None else local(whole.grad)
            whole.grad = None

    def gather_state(self, state: dict[str, Any], keeps: bool) -> dict[str, Any]:
        """The optimizer's state dict with what belongs to each element of a parameter as a whole."""
        slots = {
            index: {name: gather(self._as_shard(index, value), keeps) for name, value in slot.items()}
            for index, slot in state["state"].items()
        }
        return {**state, "state": slots}

    def deal_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """The inverse of ``gather_state``."""
        slots = {
            index: {name: self._part_of(index, value) for name, value in slot.items()}
            for index, slot in state["state"].items()
        }
        return {**state, "state": slots}

    def _as_shard(self, index: int, value: Any) -> Any:
        whole = self._whole[index]
        if not isinstance(value, Tensor) or value.shape != self._parts[index].shape:
            return value
        return DTensor.from_local(
            value, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=whole.stride()
        )

    def _part_of(self, index: int, value: Any) -> Any:
        whole = self._whole[index]
        belongs = isinstance(value, Tensor) and value.shape == whole.shape
        return local(deal(value, whole)) if belongs else value
