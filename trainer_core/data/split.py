"""The held-out share: which samples validate when the request names no validation data."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.data import DataConfig
from schemas.events import Alert
from schemas.result import Place
from trainer_core.data.samples import Indices
from trainer_core.failure import Failure


@dataclass(frozen=True)
class Split:
    """Indices of the training and of the validation samples, each in rising order."""

    train: Indices
    validation: Indices
    warnings: list[Alert] = field(default_factory=list)


def hold_out(count: int, config: DataConfig, seed: int, classes: NDArray | None) -> Split:
    """Hold out ``config.val_split`` of ``count`` samples, at least one; the same for the same seed.

    ``classes`` (class number per sample) makes it stratified: each class gives its share, to within one sample. It is
    drawn at random when ``classes`` is None (numbers have no classes), when ``config.split_method`` says so, and, with a
    warning, when a class has a single sample. Raises ``data_invalid`` for fewer than two samples.
    """
    if count < 2:
        message = f"{count} sample{'s' if count != 1 else ''} cannot be split into training and validation samples."
        place = Place(path=config.train_path, pointer="/dataConfig/valPath")
        raise Failure("data_invalid", message, next_move="Give more samples, or dataConfig.valPath.", place=place)
    wanted = min(max(1, round(count * config.val_split)), count - 1)
    generator = np.random.default_rng(seed)
    warnings = []
    chosen = None
    method = "at random"
    if config.split_method == "stratified" and classes is not None:
        lonely = _lonely_classes(classes)
        if lonely:
            warnings.append(_not_stratified(lonely))
        else:
            chosen = _stratified(classes, wanted, generator)
            method = "stratified by class"
    if chosen is None:
        chosen = generator.permutation(count)[:wanted]
    held = np.zeros(count, dtype=bool)
    held[chosen] = True
    warnings.insert(0, _no_validation_data(count, int(held.sum()), method))
    return Split(np.flatnonzero(~held), np.flatnonzero(held), warnings)


def _lonely_classes(classes: NDArray) -> list[str]:
    numbers, counts = np.unique(classes, return_counts=True)
    return [str(number) for number, size in zip(numbers, counts, strict=True) if size < 2]


def _stratified(classes: NDArray, wanted: int, generator: np.random.Generator) -> Indices:
    """About ``wanted`` samples: the largest remainders are rounded up, and no class gives its last sample."""
    numbers, counts = np.unique(classes, return_counts=True)
    shares = counts * (wanted / len(classes))
    taken = np.floor(shares).astype(int)
    for index in np.argsort(taken - shares, kind="stable")[: wanted - int(taken.sum())]:
        taken[index] += 1
    taken = np.minimum(taken, counts - 1)
    members = (generator.permutation(np.flatnonzero(classes == number)) for number in numbers)
    return np.concatenate([member[:size] for member, size in zip(members, taken, strict=True)])


def _no_validation_data(count: int, held: int, method: str) -> Alert:
    return Alert(
        code="no_validation_data",
        level="warning",
        message=f"No validation data were given: {held} of {count} samples are held out, {method}.",
        evidence={"heldOut": held, "samples": count, "method": method},
        remedy="Set dataConfig.valPath to validate on data of your own choice.",
    )


def _not_stratified(lonely: list[str]) -> Alert:
    return Alert(
        code="split_not_stratified",
        level="warning",
        message=f"The split is drawn at random: {len(lonely)} class(es) have a single sample.",
        evidence={"classNumbers": lonely[:20]},
        remedy="Give each class at least two samples, or set dataConfig.valPath.",
    )
