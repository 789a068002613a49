"""Settings without effect: what engine or format do not look at, and what another setting leaves nothing to do.

One rule for both sides: the gate and the worker say it of what was asked for, and a resolved request leaves it out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from schemas.data import FORMATS, DataFormat
from schemas.engines import ENGINES, EngineName
from schemas.isolation import LEVELS, IsolationLevel

Request = dict[str, Any]

SPLIT = ("/dataConfig/valSplit", "/dataConfig/splitMethod")
_OF_TRACKING = ("/trackingConfig/experiment", "/trackingConfig/runName", "/trackingConfig/tags")


@dataclass(frozen=True)
class Idle:
    """A setting without effect: its JSON pointer, and why, as the end of a sentence."""

    pointer: str
    reason: str

    @property
    def name(self) -> str:
        """The setting as people write it: ``dataConfig.valSplit``."""
        return self.pointer.removeprefix("/").replace("/", ".")


def find_idle(
    request: Request,
    engine: EngineName | None,
    format: DataFormat | None,
    *,
    tracked: bool = True,
    isolation: IsolationLevel = "none",
) -> list[Idle]:
    """The settings in ``request`` (JSON, valid or not) that have no effect, each once, as far as is known: ``engine`` and
    ``format`` are None where they are not; ``tracked`` is whether there is an MLflow store of the service, ``isolation``
    the level that holds in any case."""
    of_service = (*_of_store(request, tracked), *idle_isolation(request, isolation))
    rules = (*_of_engine(engine), *_of_format(request, format), *_of_others(request, format), *of_service)
    found: dict[str, Idle] = {}
    for idle in rules:
        if holds(request, idle.pointer):
            found.setdefault(idle.pointer, idle)
    return list(found.values())


def idle_isolation(request: Request, in_force: IsolationLevel) -> Iterator[Idle]:
    """A level that is asked for where a stricter one is in force: a request raises the service's own, and never lowers it."""
    asked = _look(request, "/resources/isolation")
    if asked in LEVELS[: LEVELS.index(in_force)]:
        yield Idle("/resources/isolation", f"the service's own level (PT_GUARD) is stricter: {in_force} is in force")


def without(request: Request, pointers: Iterable[str]) -> Request:
    """A copy of ``request`` without what stands at ``pointers``."""
    copy = {key: without(value, ()) if isinstance(value, dict) else value for key, value in request.items()}
    for pointer in pointers:
        *way, last = pointer.removeprefix("/").split("/")
        place: Any = copy
        for part in way:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return copy


def holds(request: Request, pointer: str) -> bool:
    """Whether something stands at ``pointer``."""
    missing = object()
    return _look(request, pointer, missing) is not missing


def _of_engine(engine: EngineName | None) -> Iterator[Idle]:
    if engine is None:
        return
    entry = ENGINES[engine]
    more = f"; {entry.instead}" if entry.instead else ""
    for pointer in entry.unread:
        yield Idle(pointer, entry.needless.get(pointer, f"the {engine} engine does not look at it{more}"))


def _of_format(request: Request, format: DataFormat | None) -> Iterator[Idle]:
    if format is None:
        return
    for pointer in FORMATS[format].unread:
        memory = pointer.endswith("/numWorkers")
        if memory and _look(request, pointer) == 0:
            # What a resolved request says, and what holds.
            continue
        yield Idle(
            pointer, f"data of format {format} are {'held in memory' if memory else 'read without a look at it'}"
        )


def _of_others(request: Request, format: DataFormat | None) -> Iterator[Idle]:
    """What another setting leaves nothing to do. Whether build_dataset returns validation data only the worker learns."""
    if holds(request, "/dataConfig/valPath") and format not in (None, "modelFile"):
        yield from (Idle(pointer, "dataConfig.valPath has the validation data") for pointer in SPLIT)
    yield from _of_one_device(request)
    if _look(request, "/trainingConfig/fastDevRun") is True:
        for name in ("learningRateFinder", "batchSizeFinder"):
            yield Idle(f"/trainingConfig/{name}", "trainingConfig.fastDevRun takes one step")
    if _look(request, "/trainingConfig/gradientClipping") == 0:
        yield Idle("/trainingConfig/clipBy", "trainingConfig.gradientClipping 0 switches clipping off")
    if holds(request, "/trainingConfig/precision"):
        yield Idle("/trainingConfig/mixedPrecision", "trainingConfig.precision says it")


def _of_one_device(request: Request) -> Iterator[Idle]:
    strategy = _look(request, "/trainingConfig/strategy")
    nodes = _look(request, "/trainingConfig/numNodes", 1)
    if nodes == 1:
        yield Idle("/trainingConfig/rendezvous", "trainingConfig.numNodes is 1, and one machine meets nobody")
    if nodes == 1 and _look(request, "/trainingConfig/devices") in (None, 1):
        reason = "trainingConfig.devices above 1; a run on one device has no peers"
        if strategy in ("ddp", "fsdp", "dp"):
            yield Idle("/trainingConfig/strategy", f"{strategy} wants {reason}")
        for name in ("findUnusedParameters", "syncBatchNorm"):
            yield Idle(f"/trainingConfig/{name}", f"it wants {reason}")
        return
    if strategy in ("fsdp", "dp"):
        yield Idle("/trainingConfig/findUnusedParameters", f"it is for ddp, and trainingConfig.strategy is {strategy}")
    if strategy == "dp":
        yield Idle("/trainingConfig/syncBatchNorm", "DataParallel has no such thing; ddp and fsdp do")


def _of_store(request: Request, tracked: bool) -> Iterator[Idle]:
    mlflow = _look(request, "/trackingConfig/mlflow", True)
    own_store = isinstance(mlflow, dict) and mlflow.get("trackingUri") is not None
    if mlflow is False:
        reason = "trackingConfig.mlflow is false"
    elif not tracked and not own_store:
        reason = "this service has no MLflow store, and the request names none (trackingConfig.mlflow.trackingUri)"
        yield Idle("/trackingConfig/mlflow", reason)
    else:
        return
    yield from (Idle(pointer, reason) for pointer in _OF_TRACKING)


def _look(request: Request, pointer: str, default: Any = None) -> Any:
    place: Any = request
    for part in pointer.removeprefix("/").split("/"):
        if not isinstance(place, dict) or part not in place:
            return default
        place = place[part]
    return place
