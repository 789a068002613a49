"""Where the samples are, how they are read, split and batched."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Document

DataFormat = Literal["imageFolder", "csv", "parquet", "jsonl", "npz", "pt", "safetensors", "modelFile"]


@dataclass(frozen=True)
class FormatEntry:
    """One format: the file suffixes that mean it, and the settings (JSON pointers) that reading it does not look at."""

    suffixes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


_IMAGES_ALONE = ("/dataConfig/preprocessing/imageSize", "/dataConfig/preprocessing/imageMode")
_COLUMNS = ("/dataConfig/target", "/dataConfig/features")
_IN_MEMORY = ("/dataConfig/numWorkers",)
_STANDARDIZE = ("/dataConfig/preprocessing/standardize",)
_TABLE = (*_IMAGES_ALONE, *_IN_MEMORY)
_ARRAYS = (*_IMAGES_ALONE, *_STANDARDIZE, *_IN_MEMORY)

FORMATS: dict[DataFormat, FormatEntry] = {
    "imageFolder": FormatEntry(unread=_COLUMNS),
    "csv": FormatEntry((".csv", ".tsv"), _TABLE),
    "parquet": FormatEntry((".parquet", ".pq"), _TABLE),
    "jsonl": FormatEntry((".jsonl", ".ndjson"), _TABLE),
    "npz": FormatEntry((".npz",), _ARRAYS),
    "pt": FormatEntry((".pt", ".pth"), _ARRAYS),
    "safetensors": FormatEntry((".safetensors",), _ARRAYS),
    "modelFile": FormatEntry(unread=(*_COLUMNS, *_IMAGES_ALONE, *_STANDARDIZE)),
}

assert set(FORMATS) == set(get_args(DataFormat))

SUFFIXES: dict[str, DataFormat] = {suffix: name for name, entry in FORMATS.items() for suffix in entry.suffixes}


def format_of_file(name: str) -> DataFormat | None:
    """The format that the name of a file says by its last known suffix (``table.csv.gz`` is csv); None when it says none."""
    suffixes = (suffix.lower() for suffix in reversed(PurePath(name).suffixes))
    return next((SUFFIXES[suffix] for suffix in suffixes if suffix in SUFFIXES), None)


class Preprocessing(Document):
    """What is done to raw samples before the model sees them. Statistics come from the training split alone."""

    image_size: Annotated[
        list[Annotated[int, Field(ge=1, le=8192)]] | None,
        Field(
            min_length=2,
            max_length=2,
            description="[height, width] every image is resized to; absent: the most common size in the training data.",
        ),
    ] = None
    image_mode: Annotated[
        Literal["L", "RGB"] | None,
        Field(description="L (one channel) or RGB; absent: L when every image is grey, else RGB."),
    ] = None
    standardize: Annotated[
        bool,
        Field(
            description="Tables: numeric columns to zero mean and unit variance. Images: pixels to [0, 1], then each channel to zero mean and unit variance."
        ),
    ] = True


class DataConfig(Document):
    """The data of a run."""

    train_path: Annotated[str, Field(min_length=1, description="Folder or file with the training samples.")]
    val_path: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Folder or file with the validation samples; absent: a part of the training samples is held out.",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000000,
            description="Samples per forward pass over all devices together; absent: 32, or fewer for a large model. One optimizer step sees batchSize x gradientAccumulation samples.",
        ),
    ] = None
    micro_batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Samples that one device takes at a time, at most; absent: its share of batchSize. Memory and speed depend on it, and not the result (but for batch normalisation).",
        ),
    ] = None
    num_workers: Annotated[
        int | None,
        Field(
            ge=0,
            le=256,
            description="Loader processes for data that do not fit in memory; absent: as many as the machine has cores to spare.",
        ),
    ] = None
    format: Annotated[
        DataFormat | None,
        Field(
            description="Absent: build_dataset of the model file when it defines one, else by what trainPath is: a folder of class folders, or the file's suffix."
        ),
    ] = None
    target: Annotated[
        str | None,
        Field(
            min_length=1, description="Target column (tables) or array name (tensors); absent: the last column, or y."
        ),
    ] = None
    features: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="Columns to learn from; absent: all but the target. Of a tensor file the input arrays: several are passed "
            "to the model by name; absent: x, or another usual name.",
        ),
    ] = None
    val_split: Annotated[
        float, Field(gt=0, lt=1, description="Share held out for validation when valPath is absent.")
    ] = 0.2
    split_method: Annotated[
        Literal["stratified", "random"],
        Field(description="How the held-out share is drawn; stratified falls back to random for regression."),
    ] = "stratified"
    shuffle: Annotated[bool, Field(description="Draw a new order of the training samples each epoch.")] = True
    eval_batch_size: Annotated[
        int | None, Field(ge=1, le=1000000, description="Samples per evaluation pass; absent: twice batchSize.")
    ] = None
    preprocessing: Preprocessing = Field(default_factory=Preprocessing)
