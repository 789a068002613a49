"""Files that are made of a trained model, for use without this project: the formats, and the wish for them."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Document

ExportFormat = Literal["safetensors", "torch_export", "onnx"]
ExportStage = Literal["preparing", "exporting", "writing", "checking"]
# In the run's folder: where the files lie.
EXPORT_FOLDER = "export"


@dataclass(frozen=True)
class ExportEntry:
    """One format: ``file`` is the name of what is written, ``door`` is ``module:function`` in the process that writes it (a
    ``Write`` of ``trainer_core/export/format.py``); ``title`` is what people call it, ``needs`` are the modules that an
    installation may be without: the extra of the format's name brings them."""

    file: str
    door: str
    title: str
    needs: tuple[str, ...] = ()


EXPORTS: dict[ExportFormat, ExportEntry] = {
    "safetensors": ExportEntry("model.safetensors", "trainer_core.export.safetensors_file:write", "safetensors"),
    "torch_export": ExportEntry("model.pt2", "trainer_core.export.torch_export_file:write", "torch.export"),
    "onnx": ExportEntry(
        "model.onnx", "trainer_core.export.onnx_file:write", "ONNX", ("onnx", "onnxscript", "onnxruntime")
    ),
}

assert set(EXPORTS) == set(get_args(ExportFormat))


class ExportInput(Document):
    """A tensor that an exported program takes."""

    name: Annotated[str, Field(description="In the program; of ONNX the name that the session takes it by.")]
    type: Annotated[str, Field(description="float32, int64, bool ...")]
    shape: Annotated[
        list[int | str],
        Field(
            description="A number: this size alone. A name (samples, length): any size, the same wherever the name stands."
        ),
    ]


class ExportConfig(Document):
    """What the best weights are exported to, when the training has ended well or was stopped to be kept."""

    formats: Annotated[
        list[ExportFormat],
        Field(
            max_length=8,
            description="Files made of the weights that checkpointPath holds. safetensors: the model's state; "
            "torch_export: a program for torch.export.load (.pt2) that needs no model file; onnx: the same for ONNX "
            "runtimes. Both are checked against the model. One that fails never fails the job.",
        ),
    ] = Field(default_factory=list)
