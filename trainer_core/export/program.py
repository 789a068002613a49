"""A model as a program of torch.export: what does not need the model file is made of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.nn.utils.rnn import PackedSequence

from schemas.exporting import ExportInput
from trainer_core.export.open_lengths import RECURRENT, leaving_lengths_open
from trainer_core.export.plain import moulded, plain
from trainer_core.export.trial import Trial
from trainer_core.loop.trees import leaves

SAMPLES, LENGTH = "samples", "length"
# Which sizes of the inputs: numbers of samples and lengths; numbers of samples alone; none.
Openness = Literal["all", "samples", "nothing"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Program:
    """What was exported, and the sizes that its inputs may have: of each tensor in the order of ``leaves``; ``remarks`` say
    which of them the data do not always have."""

    exported: ExportedProgram
    inputs: list[ExportInput]
    remarks: list[str]

    @property
    def dynamic_batch(self) -> bool:
        """Whether it takes any number of samples."""
        return any(SAMPLES in taken.shape for taken in self.inputs)

    def takes(self, arguments: Arguments) -> bool:
        """Whether ``arguments`` have the sizes that it was made for."""
        return all(
            len(taken.shape) == tensor.ndim
            and all(
                isinstance(wanted, str) or wanted == size
                for wanted, size in zip(taken.shape, tensor.shape, strict=True)
            )
            for taken, tensor in zip(self.inputs, tensors(arguments), strict=True)
        )


def program_of(
    model: nn.Module,
    trials: Sequence[Trial],
    openness: Openness,
    give: Callable[[Any], Any],
    recurrent: Sequence[OpOverload] = RECURRENT,
) -> Program:
    """The program of ``model``, called as training calls it, in the plain containers of Python; what it returns is what
    ``give`` makes of the model's outputs.

    Sizes that differ from trial to trial are left open, as far as ``openness`` says, where torch does not find that the model
    fixes them; in ``recurrent`` layers, too. Raises whatever torch raises for a model that it cannot follow.
    """
    place, names = made_of = arguments_of(trials[0].inputs)
    varying = _varying(trials)
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor, axes in zip(tensors(made_of), varying, strict=True):
        if wanted := _opened(axes, openness):
            shapes[tensor] = dict.fromkeys(wanted, Dim.AUTO)
    with _in_plain_containers(model, trials[0].inputs, give), leaving_lengths_open(recurrent):
        exported = export(model, place, names, dynamic_shapes=shapes)  # type: ignore[arg-type]
    inputs = _inputs(exported, varying)
    return Program(exported, inputs, _remarks(inputs, varying))


def opennesses(trials: Sequence[Trial]) -> list[Openness]:
    """Those that come to something else for inputs like these, the widest first."""
    found = {axis for axes in _varying(trials) for axis in axes.values()}
    wanted: list[tuple[Openness, bool]] = [("all", LENGTH in found), ("samples", SAMPLES in found), ("nothing", True)]
    return [openness for openness, differs in wanted if differs]


def arguments_of(inputs: Any) -> Arguments:
    """What a program is called with for ``inputs`` of its model: by place and by name."""
    place, names = _arguments(inputs)
    return plain(place), plain(names)


def call_program(program: Callable[..., Any], arguments: Arguments) -> Any:
    """The output of ``program`` for ``arguments``."""
    place, names = arguments
    return program(*place, **names)


def tensors(tree: Any) -> list[Tensor]:
    """Those in ``tree``, in order."""
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def _arguments(inputs: Any) -> Arguments:
    """As ``call`` passes them."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    one = not isinstance(inputs, tuple | list) or isinstance(inputs, PackedSequence)
    return (inputs,) if one else tuple(inputs), {}


@contextmanager
def _in_plain_containers(model: nn.Module, inputs: Any, give: Callable[[Any], Any]) -> Iterator[None]:
    """The model takes what ``plain`` makes of inputs like these, and returns what ``give`` makes of its outputs."""
    like = _arguments(inputs)

    def take(_: nn.Module, place: tuple[Any, ...], names: dict[str, Any]) -> Arguments:
        return moulded(place, like[0]), moulded(names, like[1])

    hooks = [
        model.register_forward_pre_hook(take, prepend=True, with_kwargs=True),
        model.register_forward_hook(lambda _, __, output: give(output)),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _varying(trials: Sequence[Trial]) -> list[dict[int, str]]:
    """Of each input the axes whose size is not the same in all trials, and whether it is the number of samples there."""
    counts = [trial.samples for trial in trials]
    found: list[dict[int, str]] = []
    for each in zip(*(tensors(arguments_of(trial.inputs)) for trial in trials), strict=True):
        sizes = list(zip(*(tensor.shape for tensor in each), strict=False))
        # An axis of one is taken for one by torch, whatever is said of it.
        varying = [axis for axis, several in enumerate(sizes) if len(set(several)) > 1 and several[0] > 1]
        found.append({axis: SAMPLES if list(sizes[axis]) == counts else LENGTH for axis in varying})
    return found


def _opened(axes: dict[int, str], openness: Openness) -> list[int]:
    return [axis for axis, what in axes.items() if openness == "all" or (openness == "samples" and what == SAMPLES)]


def _remarks(inputs: list[ExportInput], varying: list[dict[int, str]]) -> list[str]:
    """What differs in the data, and the program has fixed."""
    found = []
    for taken, axes in zip(inputs, varying, strict=True):
        for axis, what in axes.items():
            size = taken.shape[axis]
            if isinstance(size, int) and what == SAMPLES:
                found.append(f"It takes {size} samples at a time, neither more nor fewer.")
            elif isinstance(size, int):
                found.append(
                    f"Axis {axis} of {taken.name} has to have the size {size}, and in the data it differs: pad to it."
                )
    return list(dict.fromkeys(found))


def _inputs(program: ExportedProgram, varying: list[dict[int, str]]) -> list[ExportInput]:
    """The inputs of ``program``: an open size has a name, one and the same where torch has found that two must be equal."""
    names: dict[str, str] = {}
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    taken = [
        (name, values[name]) for name in program.graph_signature.user_inputs if isinstance(values.get(name), Tensor)
    ]
    inputs = []
    for (name, value), axes in zip(taken, varying, strict=True):
        shape = [
            int(size) if is_concrete_int(size) else _name(str(size), axes.get(axis, LENGTH), names)
            for axis, size in enumerate(value.shape)
        ]
        inputs.append(ExportInput(name=name, type=str(value.dtype).removeprefix("torch."), shape=shape))
    return inputs


def _name(size: str, wanted: str, names: dict[str, str]) -> str:
    if size not in names:
        same = sum(name.rstrip("0123456789") == wanted for name in names.values())
        names[size] = f"{wanted}{same + 1}" if same else wanted
    return names[size]
