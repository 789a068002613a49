"""Settings that are to be found out by trying: how a request asks for it, and what does not go with it."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, add, has, look, remove, replace
from app.gate.request_errors import named, said, wrong
from schemas.problems import PatchOperation, RequestError
from schemas.tuning import LearningRateFinder

_TRAINING = ("trainingConfig",)
_RATE_FINDER: Path = (*_TRAINING, "learningRateFinder")
# What other libraries spell "auto", by the finder that is meant.
_SIZE_FINDER: Path = (*_TRAINING, "batchSizeFinder")
_FINDERS: dict[Path, Path] = {
    (*_TRAINING, "learningRate"): _RATE_FINDER,
    ("dataConfig", "batchSize"): _SIZE_FINDER,
    ("dataConfig", "microBatchSize"): _SIZE_FINDER,
}


def search_instead(document: dict[str, Any], path: Path) -> list[PatchOperation] | None:
    """The fix for "auto" where a number stands: the finder, if there is one for it."""
    finder = _FINDERS.get(path)
    if finder is None or not isinstance(look(document, _TRAINING), dict):
        return None
    return [remove(path), *([] if has(document, finder) else [add(finder, True)])]


def finder_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """Bounds that leave nothing between them, a schedule whose highest rate is said already, and strategies under which no
    device can try sizes by itself."""
    wanted = look(document, _RATE_FINDER)
    if wanted is True or isinstance(wanted, dict):
        yield from _bounds(document)
        yield from _peak(document)
    if look(document, _SIZE_FINDER, False) is not False:
        yield from _together(document)


def _together(document: dict[str, Any]) -> Iterator[RequestError]:
    strategy = look(document, (*_TRAINING, "strategy"))
    if strategy not in ("fsdp", "dp"):
        return
    why = "every pass takes all devices" if strategy == "fsdp" else "a pass is shared out over the devices"
    message = (
        f"{named(_SIZE_FINDER)} tries sizes on each device by itself, and strategy is {strategy}: {why}. Set "
        "dataConfig.microBatchSize; where it does not fit it is halved."
    )
    yield wrong(_SIZE_FINDER, "conflict", message, got=look(document, _SIZE_FINDER), fix=[remove(_SIZE_FINDER)])


def _bounds(document: dict[str, Any]) -> Iterator[RequestError]:
    lowest, highest = (*_RATE_FINDER, "minLearningRate"), (*_RATE_FINDER, "maxLearningRate")
    usual = LearningRateFinder()
    low = look(document, lowest, usual.min_learning_rate)
    high = look(document, highest, usual.max_learning_rate)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high)) or low < high:
        return
    given = [path for path in (lowest, highest) if has(document, path)]
    swapped = len(given) == 2 and low > high
    fix = [replace(lowest, high), replace(highest, low)] if swapped else [remove(path) for path in given]
    message = f"{named(lowest)} is {said(low)}, and maxLearningRate {said(high)}: there is nothing between them to try."
    yield wrong(given[0], "conflict", message, got=look(document, given[0]), fix=fix)


def _peak(document: dict[str, Any]) -> Iterator[RequestError]:
    path = (*_TRAINING, "schedulerArgs", "max_lr")
    peak = look(document, path)
    if peak is None or look(document, (*_RATE_FINDER, "action"), "use") != "use":
        return
    message = (
        f"{named(path)} is {said(peak)}, and trainingConfig.learningRateFinder is to find the highest rate: without max_lr "
        'the rate found is it; or set the finder\'s action to "suggest".'
    )
    yield wrong(path, "conflict", message, got=peak, fix=[remove(path)])
