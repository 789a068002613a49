"""The engines, by name: which imports of a model file mean each one, and where its door is."""

from dataclasses import dataclass
from typing import Literal, get_args

EngineName = Literal["native", "sklearn"]


@dataclass(frozen=True)
class EngineEntry:
    """One engine: ``door`` is ``module:function``, called with ``(assignment, channel, stop)`` in the worker."""

    door: str
    imports: tuple[str, ...]
    title: str


ENGINES: dict[EngineName, EngineEntry] = {
    "native": EngineEntry("trainer_core.engines.native:train", ("torch",), "The native PyTorch training loop"),
    "sklearn": EngineEntry("trainer_core.engines.sklearn:train", ("sklearn",), "Any scikit-learn estimator"),
}

assert set(ENGINES) == set(get_args(EngineName))
