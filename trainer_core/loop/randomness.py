"""The generators that a run draws from: seeded, kept in a checkpoint, and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, those of the GPUs included."""
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed: it looks for every kind of device there is, and that takes 5 ms.
    torch.default_generator.manual_seed(seed)
    if torch.version.cuda is not None or torch.version.hip is not None:
        torch.cuda.manual_seed_all(seed)


def capture(device: torch.device) -> dict[str, Any]:
    """The state of all generators of this process, as tensors, numbers and text."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    # Tensors of uint32, which the key is, do not survive torch's own pickling on their way between ranks.
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {"key": key, "pos": int(numpy["state"]["pos"])}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Draw on from ``state``."""
    random.setstate(state["python"])
    numpy = state["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].numpy().astype(np.uint32)}})
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """What runs inside may draw as it likes: afterwards all generators are as they were before."""
    before = capture(device)
    try:
        yield
    finally:
        restore(before, device)
