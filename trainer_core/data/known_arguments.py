"""Arguments of a model that the data decide, by the names that model files usually give them."""

from math import prod
from typing import Any

import numpy as np

from trainer_core.data.samples import Data

_OUTPUTS = [
    "num_classes",
    "n_classes",
    "nb_classes",
    "classes",
    "num_labels",
    "n_labels",
    "num_outputs",
    "n_outputs",
    "out_features",
    "out_dim",
    "output_dim",
    "output_size",
]
_INPUTS = ["num_features", "n_features", "in_features", "num_inputs", "n_inputs", "in_dim", "input_dim", "input_size"]
_CHANNELS = ["in_channels", "in_chans", "input_channels", "num_channels", "n_channels", "channels"]
_SIDES = ["image_size", "img_size"]


def known_arguments(data: Data) -> dict[str, int]:
    """Name -> value: scores that a sample needs, numbers in a sample of one axis, channels and side of a square picture.

    What nobody can tell from one sample (the inputs of a data set that gives several tensors, the size of a vocabulary) is
    left out.
    """
    inputs, targets = data.train.take(np.arange(1))
    outputs = len(data.classes or ()) if data.task == "classification" else prod(_shape(targets))
    known = dict.fromkeys(_OUTPUTS, outputs) if outputs else {}
    shape = _shape(inputs)
    if len(shape) == 1 and "float" in str(inputs.dtype):
        known |= dict.fromkeys(_INPUTS, shape[0])
    if len(shape) == 3:
        known |= dict.fromkeys(_CHANNELS, shape[0])
        if shape[1] == shape[2]:
            known |= dict.fromkeys(_SIDES, shape[1])
    return known


def _shape(side: Any) -> tuple[int, ...]:
    """The shape of one sample of an array or tensor; () of whatever else a data set gives."""
    return tuple(int(size) for size in getattr(side, "shape", ())[1:])
