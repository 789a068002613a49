"""How several devices train one model, and what does not go with it."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, look, remove, replace
from app.gate.request_errors import named, said, wrong
from schemas.optimizers import find_optimizer
from schemas.problems import RequestError

_PATH = ("trainingConfig", "strategy")
# These look at a matrix as a whole, of which a rank has a part.
_OF_WHOLE_MATRICES = ("Adafactor", "Muon")


def strategy_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """One device and several in one request, and what FSDP cannot do."""
    strategy = look(document, _PATH)
    if strategy == "single":
        yield from _several(document)
    if strategy == "fsdp":
        yield from _of_fsdp(document)


def _several(document: dict[str, Any]) -> Iterator[RequestError]:
    devices = look(document, ("trainingConfig", "devices"), 1)
    if isinstance(devices, int) and devices > 1:
        message = f"trainingConfig.strategy single uses one device, but devices is {devices}."
        allowed, fix = ["auto", "ddp", "fsdp"], [replace(_PATH, "auto")]
        yield wrong(_PATH, "conflict", message, got="single", allowed=allowed, suggestion="auto", fix=fix)


def _of_fsdp(document: dict[str, Any]) -> Iterator[RequestError]:
    def conflict(key: str, reason: str, better: str | None = None) -> RequestError:
        path: Path = ("trainingConfig", key)
        got = look(document, path)
        message = f"{named(path)} is {said(got)}, but strategy is fsdp: {reason}; or set strategy to ddp."
        fix = [remove(path)] if better is None else [replace(path, better)]
        return wrong(path, "conflict", message, got=got, suggestion=better, fix=fix)

    training = look(document, ("trainingConfig",))
    if training.get("weightAveraging"):
        yield conflict("weightAveraging", "no rank has the whole model, of which an average is a copy")
    if training.get("compile") == "on":
        yield conflict("compile", "a model in shards is not compiled", "off")
    if training.get("precision") == "fp16":
        yield conflict("precision", "it has no gradient scaler; bf16 needs none", "bf16")
    name = training.get("optimizer")
    entry = find_optimizer(name) if isinstance(name, str) else None
    if entry is not None and entry.name in _OF_WHOLE_MATRICES:
        yield conflict("optimizer", f"{entry.name} wants whole matrices, of which each rank has a part", "AdamW")
