"""Checkpoints of an estimator: ``model.skops`` and ``state.json``. skops reads and writes without pickle."""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from sklearn import __version__ as sklearn_version

from schemas.result import Place
from trainer_core.checkpoints.manifest import FileRecord, verify, write_hashed
from trainer_core.failure import Failure

MODEL_FILE = "model.skops"
STATE_FILE = "state.json"

# Their types hold arrays and numbers; skops asks for each by name because it knows only the public ones.
_LIBRARIES = frozenset({"sklearn", "numpy", "scipy"})


@dataclass(frozen=True)
class EstimatorParts:
    """What a checkpoint keeps: the estimator, and ``state`` (JSON), which takes a run on from there."""

    estimator: Any
    state: dict[str, Any]
    about: dict[str, str]

    @property
    def versions(self) -> dict[str, str]:
        """A file of one version of scikit-learn may not be readable by another."""
        return {"scikit-learn": str(sklearn_version), "skops": str(_skops().__version__)}

    def write(self, folder: Path) -> dict[str, FileRecord]:
        """Write both files, synced. Raises ``model_invalid`` for an estimator that skops cannot keep, OSError else."""
        return {
            MODEL_FILE: write_hashed(folder / MODEL_FILE, [_dump(self.estimator)]),
            STATE_FILE: write_hashed(folder / STATE_FILE, [json.dumps(self.state, indent=1).encode()]),
        }


def _dump(estimator: Any) -> bytes:
    """The estimator as a skops file that was read back once: skops writes lambdas and locks, and cannot read them."""
    skops = _skops()
    try:
        content: bytes = skops.io.dumps(estimator)
        skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    except (TypeError, ValueError, AttributeError, LookupError, ImportError) as error:
        raise Failure(
            "model_invalid",
            f"{type(estimator).__name__} cannot be saved: it holds what skops does not keep ({type(error).__name__}).",
            next_move="Use functions and classes at the top of a module, not lambdas and local ones; skops lists what it keeps.",
            detail=str(error),
        ) from error
    return content


def load_parts(folder: Path) -> EstimatorParts:
    """The estimator and state in the checkpoint ``folder``, verified.

    Types of scikit-learn, NumPy, SciPy and of modules that the model file has imported are constructed; another one is
    ``checkpoint_incompatible``, as is a checkpoint of another engine. A damaged file is ``checkpoint_corrupt``.
    """
    manifest = verify(folder)
    place = Place(path=str(folder), pointer="/checkpointConfig/resumeFrom")
    if MODEL_FILE not in manifest.files:
        message = f"{folder} holds no {MODEL_FILE}: it is a checkpoint of another engine."
        raise Failure("checkpoint_incompatible", message, place=place)
    skops = _skops()
    path = folder / MODEL_FILE
    wanted = skops.io.get_untrusted_types(file=path)
    strange = [name for name in wanted if not _is_known(name)]
    if strange:
        message = f"{path} holds types that neither scikit-learn nor the model file defines: {', '.join(strange)}."
        raise Failure("checkpoint_incompatible", message, place=place)
    estimator = skops.io.load(path, trusted=wanted)
    return EstimatorParts(estimator, json.loads((folder / STATE_FILE).read_bytes()), manifest.about)


def _is_known(name: str) -> bool:
    """Whether the type called ``name`` is of a library of ours, or of a module that this run has imported anyway."""
    return name.split(".")[0] in _LIBRARIES or name.rpartition(".")[0] in sys.modules


def _skops() -> ModuleType:
    """skops, imported without torch: it lists scikit-learn's estimators by importing every module of that library, the
    adapter to torch included, which would cost two seconds and half a gigabyte."""
    if "skops.io" not in sys.modules:
        with _refusing("torch"):
            importlib.import_module("skops.io")
    return sys.modules["skops"]


class _Refusal:
    """A finder of modules that says there is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for the one module, and leave all others to other finders."""
        if name == self._name:
            raise ModuleNotFoundError(f"{name} is not imported here", name=name)
        return None


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    refusal = _Refusal(name)
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)
