"""How several devices train one model, and what does not go with it."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, look, replace
from app.gate.request_errors import named, said, wrong
from schemas.optimizers import find_optimizer
from schemas.problems import RequestError

_PATH = ("trainingConfig", "strategy")
# These look at a matrix as a whole, of which a rank has a part.
_OF_WHOLE_MATRICES = ("Adafactor", "Muon")


_MANY = ("auto", "ddp", "fsdp", "dp")


def strategy_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """One device and several in one request, and what FSDP and DataParallel cannot do."""
    strategy = look(document, _PATH)
    if strategy == "single":
        yield from _several(document)
    if strategy == "fsdp":
        yield from _of_fsdp(document)
    if strategy == "dp":
        yield from _of_dp(document)


def gpu_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """DataParallel, where the service has no GPU."""
    if look(document, _PATH) == "dp":
        message = "trainingConfig.strategy dp runs on GPUs, and this service has none."
        yield _instead_of("dp", message)


def _instead_of(strategy: str, message: str) -> RequestError:
    allowed = [other for other in _MANY if other != strategy]
    fix = [replace(_PATH, "auto")]
    return wrong(_PATH, "conflict", message, got=strategy, allowed=allowed, suggestion="auto", fix=fix)


def _several(document: dict[str, Any]) -> Iterator[RequestError]:
    devices = look(document, ("trainingConfig", "devices"), 1)
    if isinstance(devices, int) and devices > 1:
        message = f"trainingConfig.strategy single uses one device, but devices is {devices}."
        yield _instead_of("single", message)


def _conflict(document: dict[str, Any], key: str, strategy: str, reason: str, better: str | bool) -> RequestError:
    """What stands at ``key`` does not go with ``strategy``; ``better`` does."""
    path: Path = ("trainingConfig", key)
    got = look(document, path)
    message = f"{named(path)} is {said(got)}, but strategy is {strategy}: {reason}; or set strategy to ddp."
    suggestion = better if isinstance(better, str) else None
    return wrong(path, "conflict", message, got=got, suggestion=suggestion, fix=[replace(path, better)])


def _of_fsdp(document: dict[str, Any]) -> Iterator[RequestError]:
    training = look(document, ("trainingConfig",))
    if training.get("compile") == "on":
        yield _conflict(document, "compile", "fsdp", "a model in shards is not compiled", "off")
    if training.get("precision") == "fp16":
        yield _conflict(document, "precision", "fsdp", "it has no gradient scaler; bf16 needs none", "bf16")
    name = training.get("optimizer")
    entry = find_optimizer(name) if isinstance(name, str) else None
    if entry is not None and entry.name in _OF_WHOLE_MATRICES:
        reason = f"{entry.name} wants whole matrices, of which each rank has a part"
        yield _conflict(document, "optimizer", "fsdp", reason, "AdamW")


def _of_dp(document: dict[str, Any]) -> Iterator[RequestError]:
    """A copy of a model calls what was put in place of a method on the original, which is on another device."""
    training = look(document, ("trainingConfig",))
    if training.get("compile") == "on":
        yield _conflict(document, "compile", "dp", "its copies of a model are not compiled", "off")
    if training.get("gradientCheckpointing"):
        reason = "its copies of a model keep their activations"
        yield _conflict(document, "gradientCheckpointing", "dp", reason, False)
