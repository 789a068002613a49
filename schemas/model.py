"""Which model the model file builds, with what arguments, and from what weights it begins."""

from typing import Annotated, Any

from pydantic import Field

from schemas.base import Document
from schemas.parameter_groups import NamePattern

MAX_NAMES = 20

WeightsPath = Annotated[str, Field(min_length=1)]


class PretrainedWeights(Document):
    """Weights to begin from, taken by name. What the model has no equal of, in name and shape, is left as it was built."""

    path: Annotated[
        WeightsPath,
        Field(
            description="A .safetensors file, a .pt or .pth file of tensors alone (Python objects in it are refused), or a folder: a checkpoint, or a run (its best one)."
        ),
    ]
    strip_prefix: Annotated[
        str, Field(max_length=512, description="What is taken from the beginning of the file's names: module.")
    ] = ""
    add_prefix: Annotated[
        str, Field(max_length=512, description="What is then put before the file's names: backbone.")
    ] = ""
    strict: Annotated[
        bool, Field(description="true: a name or shape that is only on one side fails the run; false: it is said.")
    ] = False


class ModelConfig(Document):
    """How the model is taken from the model file.

    Order: ``build_model(**args)``; the class named ``className``; the only model class defined in the file; a
    module-level ``model``.
    """

    class_name: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z_][A-Za-z0-9_]*$",
            description="Class of the model file to construct. Beside a build_model: the class that it must build; another one is an error.",
        ),
    ] = None
    args: Annotated[
        dict[str, Any],
        Field(description="Keyword arguments of build_model or of the class; checked against its signature."),
    ] = Field(default_factory=dict)
    weights: Annotated[
        WeightsPath | PretrainedWeights | None,
        Field(description="Pretrained weights: a path, or an object with path and options."),
    ] = None
    freeze: Annotated[
        list[NamePattern],
        Field(
            max_length=256,
            description="Parameters that are not trained: names of parameters or modules, or glob patterns of them (backbone.*). Batch normalisation all of whose parameters are frozen keeps its running statistics.",
        ),
    ] = Field(default_factory=list)

    @property
    def pretrained(self) -> PretrainedWeights | None:
        """``weights`` with all options."""
        return PretrainedWeights(path=self.weights) if isinstance(self.weights, str) else self.weights


class Names(Document):
    """How many there are, and the first of them."""

    count: Annotated[int, Field(ge=0)]
    first: Annotated[list[str], Field(max_length=MAX_NAMES)]

    @staticmethod
    def of(names: list[str]) -> "Names":
        """All of ``names`` counted, the first of them kept."""
        return Names(count=len(names), first=names[:MAX_NAMES])


class WeightsReport(Document):
    """What was taken of a file of weights, tensor by tensor."""

    path: str
    matched: Annotated[int, Field(ge=0, description="Tensors of the model that have their values from the file.")]
    missing: Annotated[Names, Field(description="Tensors of the model that the file does not have.")]
    unexpected: Annotated[Names, Field(description="Tensors of the file that the model does not have.")]
    wrong_shape: Annotated[
        Names, Field(description="Tensors on both sides, of different shape: left as they were built.")
    ]


class ModuleRow(Document):
    """One module of a model; parameters are those below it, too."""

    name: Annotated[str, Field(description="Empty for the model itself.")]
    kind: str
    parameters: Annotated[int, Field(ge=0)]
    trainable: Annotated[int, Field(ge=0)]
    output: Annotated[
        str | None, Field(description="Shape of its output for two samples; absent when it was not called.")
    ] = None
