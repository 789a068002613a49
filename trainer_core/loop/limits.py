"""Runs that look at less than all: quick tries, and a few batches learnt by heart."""

from dataclasses import replace

from schemas.assignment import Assignment
from trainer_core.data.samples import ArraySamples, Indices, Part, Samples
from trainer_core.loop.batches import Order
from trainer_core.loop.choices import choose_batch_size
from trainer_core.loop.material import Material, Surroundings

_QUICK = {"epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
_FINDERS = ("learning_rate_finder", "batch_size_finder")


def quickened(assignment: Assignment) -> Assignment:
    """``fastDevRun`` spelt out; without it the assignment as it is."""
    request = assignment.request
    if not request.training_config.fast_dev_run:
        return assignment
    asked = {name: False for name in _FINDERS if name in request.training_config.model_fields_set}
    training = request.training_config.model_copy(update=_QUICK | asked)
    return assignment.model_copy(update={"request": request.model_copy(update={"training_config": training})})


def narrowed(around: Surroundings, material: Material) -> Material:
    """``overfitBatches``: the samples of the first batches of the first epoch, to train and to validate on; without it all
    of ``material``."""
    training, data = around.request.training_config, material.data
    if training.overfit_batches is None:
        return material
    size = choose_batch_size(around.request, material.parameters, around.ranks.world) * training.gradient_accumulation
    order = Order(len(data.train), size, training.seed, around.request.data_config.shuffle)
    samples = _picked(data.train, order.epoch(0)[: training.overfit_batches * size])
    return replace(material, data=replace(data, train=samples, validation=samples))


def _picked(samples: Samples, indices: Indices) -> Samples:
    return Part(samples, indices) if samples.arrays is None else ArraySamples(*samples.take(indices))
