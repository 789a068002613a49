"""Rules of what brings the same result at less cost."""

import math

from app.review.advice import Rule, made, peak, rounded
from app.review.facts import Facts
from schemas.problems import PatchOperation
from schemas.summary import Recommendation, Summary

_RATE = "/trainingConfig/learningRate"
_MICRO_BATCH = "/dataConfig/microBatchSize"
_SIZE_FINDER = "/trainingConfig/batchSizeFinder"
_ACCUMULATION = "/trainingConfig/gradientAccumulation"
_WORKERS = "/dataConfig/numWorkers"
_BATCH = "/dataConfig/batchSize"
_SAVE_STEPS = "/checkpointConfig/saveEverySteps"
# What a recovery calls the samples that fit, and where a request asks for as many.
_FITTING = {"microBatch": _MICRO_BATCH, "evaluationBatch": "/dataConfig/evalBatchSize"}
# A wait or a stand-still of fewer seconds is not worth another request.
_WORTHWHILE = 5.0
_MOST_WORKERS = 16
# Of the device's memory in use, below which twice the samples still fit: activations grow, weights do not.
_ROOM = 0.4


def _use_found_micro_batch(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the finder was to suggest a size, and it is another than the run had."""
    entry = next((entry for entry in facts.tuning if entry.setting == _MICRO_BATCH), None)
    if entry is None or not isinstance(entry.found, int) or entry.found == entry.used:
        return None
    reason = (
        f"The batch-size finder suggests {entry.found} samples at a time, and the run had {entry.used}. {entry.reason}"
    )
    patch = [facts.change(_MICRO_BATCH, entry.found)]
    patch += [PatchOperation(op="remove", path=_SIZE_FINDER)] if facts.setting(_SIZE_FINDER) is not None else []
    return made("use_found_micro_batch", reason, patch, used=entry.used, found=entry.found)


def _keep_what_fits(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where memory ran out and the run went on with fewer samples at once: so many may be asked for from the start."""
    halvings = [each for each in facts.recoveries if each.cause == "out_of_memory"]
    sizes = {_FITTING[key]: size for each in halvings for key, size in each.after.items() if key in _FITTING}
    ended = facts.error is not None and facts.error.code == "out_of_memory"
    if ended or not sizes or not all(type(size) is int and size > 0 for size in sizes.values()):
        return None
    listed = " and ".join(f"{path.rsplit('/', 1)[-1]} {size}" for path, size in sizes.items())
    same = (
        "the result is the same"
        if all(each.equivalent for each in halvings)
        else "batch normalisation then sees so few from the first step on"
    )
    reason = f"Memory ran out, and the run found by trying what fits: {listed}. Asked for from the start it does not run out; {same}."
    return made(
        "keep_what_fits", reason, [facts.change(path, size) for path, size in sizes.items()], halvings=len(halvings)
    )


def _more_workers(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where the loop waited for its data."""
    if summary is None or summary.time.bound != "data" or summary.time.data < _WORTHWHILE:
        return None
    workers = int(facts.number(_WORKERS))
    starved = summary.time.data > 3 * summary.time.compute
    wanted = min(_MOST_WORKERS, max(2, (4 if starved else 2) * workers))
    if wanted <= workers:
        return None
    reason = (
        f"The loop waited {summary.time.data:.3g} s for its batches and computed {summary.time.compute:.3g} s, with {workers} "
        "loader processes. More of them help where the machine has cores to spare."
    )
    return made("more_workers", reason, [facts.change(_WORKERS, wanted)], numWorkers=workers)


def _save_less_often(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where checkpoints in mid-epoch take the time."""
    steps = int(facts.number(_SAVE_STEPS))
    if summary is None or summary.time.bound != "checkpoints" or not steps or facts.spent.in_epochs < _WORTHWHILE:
        return None
    reason = f"Training stood still for {summary.time.checkpoints:.3g} s to save; every {10 * steps} steps are enough."
    return made("save_less_often", reason, [facts.change(_SAVE_STEPS, 10 * steps)], saveEverySteps=steps)


def _fuller_device(facts: Facts, summary: Summary | None) -> Recommendation | None:
    """Where a device has room for twice the samples: fewer micro-batches, or a larger batch."""
    batch, accumulation = int(facts.number(_BATCH)), int(facts.number(_ACCUMULATION, 1))
    has_room = 0 < facts.memory < _ROOM * facts.memory_limit
    ran_short = any(entry.cause == "out_of_memory" for entry in facts.recoveries)
    if summary is None or facts.state == "failed" or summary.time.bound != "compute" or not has_room or not batch:
        return None
    # What ran out once is no room, however little was in use when it was counted.
    if ran_short:
        return None
    used = f"{facts.memory / facts.memory_limit:.0%} of the device's memory was in use"
    larger = facts.change(_BATCH, 2 * batch)
    if accumulation > 1:
        if accumulation % 2:
            return None
        patch = [larger, facts.change(_ACCUMULATION, accumulation // 2)]
        reason = f"{used}: the same optimizer batch in half as many passes gives the same result sooner."
        return made("fewer_micro_batches", reason, patch, memoryBytes=facts.memory)
    if summary.time.compute < 60 or 2 * batch > 1_000_000:
        return None
    optimizer = str(facts.setting("/trainingConfig/optimizer", ""))
    # Adam's steps are normalised by the gradient's spread, which a batch twice as large makes smaller by the square root of 2
    # (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2022); SGD: Goyal et al., 2017.
    factor = 2.0 if optimizer == "SGD" else math.sqrt(2)
    patch = [larger, facts.change(_RATE, rounded(facts.number(_RATE) * factor)), *peak(facts, factor)]
    reason = f"{used}: a batch of {2 * batch} keeps it busier. The learning rate goes with it; the result will differ a little."
    return made("larger_batch", reason, patch, memoryBytes=facts.memory)


CHEAPER: tuple[Rule, ...] = (_use_found_micro_batch, _keep_what_fits, _more_workers, _save_less_often, _fuller_device)
