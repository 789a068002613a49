"""Data of a run: one file per source. Importing this package imports neither torch nor pandas."""

from trainer_core.data.load import load_data
from trainer_core.data.samples import ArraySamples, Data, Samples

__all__ = ["ArraySamples", "Data", "Samples", "load_data"]
