"""What the loop works on: the user's model file, data and model, tried out, and how many samples go where."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from schemas.assignment import Assignment
from schemas.metrics import MetricName
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.checkpoints.snapshot import check_can_be_kept
from trainer_core.data.known_arguments import known_arguments
from trainer_core.data.load import load_data
from trainer_core.data.samples import Data
from trainer_core.epochs.chosen_metrics import choose_metrics
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.choices import choose_batch_size, choose_micro_batch, choose_workers
from trainer_core.loop.evaluation import evaluating, trains_its_own_way
from trainer_core.loop.forward import BATCH_SIZE, Forward, telling_out_of_memory
from trainer_core.loop.losses import Loss, build_loss
from trainer_core.loop.metrics.metrics import Figures, build_figures
from trainer_core.loop.position import Length
from trainer_core.loop.precision import Precision, build_precision
from trainer_core.loop.preparing import determinism
from trainer_core.loop.preparing.preparation import Preparation, prepare
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.recovery.restart import PassLimits
from trainer_core.loop.saving import saved_threads
from trainer_core.loop.strategies.synced_norm import norms_set_aside
from trainer_core.loop.threads import measure
from trainer_core.loop.trees import as_tensors, map_tensors
from trainer_core.models.file import ModelFile
from trainer_core.models.user_code import running
from trainer_core.stop import Stop


@dataclass(frozen=True)
class Surroundings:
    """Where a rank runs and whom it talks to; ``limits`` are what an earlier start of the run found out."""

    assignment: Assignment
    device: torch.device
    ranks: Ranks
    channel: Channel
    stop: Stop
    limits: PassLimits = field(default_factory=PassLimits)

    @property
    def request(self) -> TrainingRequest:
        """What was asked for."""
        return self.assignment.request

    def asked_to_stop(self) -> bool:
        """Whether any rank was asked to stop; all ranks ask together."""
        return self.ranks.any(self.stop.requested)


@dataclass(frozen=True)
class Material:
    """What the loop works on, from the user's files, the forward pass through it that was tried out, and the ``metrics`` that
    it is measured by. ``preparation`` says what was done to the model, whose class has the ``name``."""

    model_file: ModelFile
    model: nn.Module
    name: str
    data: Data
    loss: Loss
    precision: Precision
    forward: Forward
    metrics: tuple[MetricName, ...]
    preparation: Preparation

    @property
    def parameters(self) -> int:
        """Numbers in the model that are trained or frozen."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def figures(self, device: torch.device, *, validated: bool) -> Figures:
        """The figures of training, or of what is ``validated``, the model file's own among them."""
        return build_figures(
            self.data.task,
            device,
            self.model_file.metrics if validated else None,
            self.metrics if validated else (),
            ignore_index=self.loss.ignore_index,
            classes=len(self.data.classes or ()),
        )


@dataclass(frozen=True)
class Sizes:
    """How many samples go where; ``batch_size`` and ``eval_batch_size`` are over all ranks, ``micro_batch``,
    ``workers`` and CPU ``threads`` for each."""

    batch_size: int
    micro_batch: int
    eval_batch_size: int
    workers: int
    threads: int
    length: Length


def load(around: Surroundings) -> Material:
    """Execute the model file, read the data, build the model (with the weights that the seed means) on the device, and
    take two samples through it."""
    request = around.request
    determinism.settle(request.training_config.deterministic)
    randomness.seed_everything(request.training_config.seed)
    model_file = ModelFile.load(around.assignment)
    data = load_data(around.assignment, model_file)
    classes = len(data.classes or ())
    metrics = choose_metrics(request, data.task, classes, has_own=model_file.metrics is not None)
    randomness.seed_everything(request.training_config.seed)
    model: nn.Module = model_file.build(request.model_settings, nn.Module, lambda: known_arguments(data))
    make_ready(model, model_file.path, around.device)
    preparation = prepare(model, request)
    loss = build_loss(request.training_config, data.task, model_file.loss, around.device)
    precision = build_precision(request.training_config, around.device)
    forward = Forward(loss, precision, model_file, request.model_settings)
    with telling_out_of_memory(1, 1), preparation.watching():
        try_out(model, data, forward, around.device)
    with running(model_file.path, "model_invalid", "reading the model's state_dict()"):
        check_can_be_kept(model.state_dict())
    return Material(model_file, model, type(model).__name__, data, loss, precision, forward, metrics, preparation)


def check_the_same(around: Surroundings, data: Data) -> None:
    """Raise Failure ``data_invalid`` unless all nodes have read as many samples, of the same classes. All ranks ask together."""
    if around.ranks.nodes == 1:
        return
    mine = (len(data.train), len(data.validation or ()), data.task, data.classes)
    for node, read in around.ranks.gather((around.ranks.node, mine)):
        if read != mine:
            (few, some), (many, others) = sorted([(around.ranks.node, mine), (node, read)])
            raise Failure(
                "data_invalid",
                f"Nodes {few} and {many} have read other data (training samples, validation samples, task, classes): "
                f"{some} and {others}.",
                next_move="Give all nodes the same data, under the paths of their requests.",
                place=Place(pointer="/dataConfig/trainPath"),
            )


def make_ready(model: nn.Module, path: Path, device: torch.device) -> None:
    """Put ``model`` into training mode and on the device. Raises Failure ``model_invalid`` where its own methods fail, and
    for parameters without values."""
    empty = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if empty is not None:
        raise Failure(
            "model_invalid",
            f"Parameter {empty!r} is on the meta device: it has a shape and no values.",
            next_move="Build the model without torch.device('meta'), or call to_empty() and initialise it.",
            place=Place(path=str(path)),
        )
    with running(path, "model_invalid", f"moving the model to {device}"):
        put_into_training(model)
        model.to(device)
        with evaluating(model):
            pass


def put_into_training(model: nn.Module) -> None:
    """Put ``model`` into training mode, as a loop that calls ``train()`` would: a class with a ``train()`` of its own, which
    holds parts of it still, has it called. Single modules that the file put into evaluation mode stay so, but for
    those inside of such a class; a model handed over in evaluation mode, as pretrained ones are, is trained as a whole."""
    told = [module for module in model.modules() if trains_its_own_way(module)] if model.training else [model]
    for module in told:
        module.train()


def size_up(around: Surroundings, material: Material) -> Sizes:
    """Choose what the request leaves open."""
    request, training = around.request, around.request.training_config
    batch_size = choose_batch_size(request, material.parameters, around.ranks.world)
    samples = len(material.data.train)
    optimizer_batch = batch_size * training.gradient_accumulation
    micro_batch = around.ranks.from_first(lambda: choose_micro_batch(request, batch_size, around.ranks.world))
    with telling_out_of_memory(batch_size, training.gradient_accumulation):
        threads = settle_threads(around, material, min(micro_batch, math.ceil(optimizer_batch / around.ranks.world)))
    try_out_smallest(around, material, batch_size)
    return Sizes(
        batch_size,
        micro_batch,
        request.data_config.eval_batch_size or 2 * batch_size,
        choose_workers(request, material.data.train.arrays is not None, around.ranks.local_world),
        threads,
        Length.of(samples, optimizer_batch, training.epochs, training.max_steps, training.limit_train_batches),
    )


def settle_threads(around: Surroundings, material: Material, size: int) -> int:
    """CPU threads of this rank, set: as asked for, as the resumed run had them, or measured on passes of ``size``
    samples (the first rank's choice is everybody's). A rank on a GPU keeps torch's own number."""
    saved = around.ranks.from_first(lambda: saved_threads(around.request.checkpoint_config))
    wanted = around.request.resources.threads or saved
    if wanted is None and around.device.type == "cpu":
        measured = measure(material.model, material.data.train, material.forward, size)
        wanted = around.ranks.gather(measured)[0]
    torch.set_num_threads(wanted or torch.get_num_threads())
    return torch.get_num_threads()


def try_out_smallest(around: Surroundings, material: Material, batch_size: int) -> None:
    """One sample in training mode, where training will come to such a pass: batch normalisation refuses it (where it does not
    see those of other ranks too), and not only at the end of the first epoch. Leaves no trace. Raises Failure
    ``model_invalid`` with a batch size that will do."""
    samples, world = len(material.data.train), around.ranks.world
    accumulation = around.request.training_config.gradient_accumulation
    synced = world > 1 and around.request.training_config.sync_batch_norm
    asked = around.request.data_config.micro_batch_size
    if smallest_pass(samples, batch_size, accumulation, world, asked) > 1:
        return
    try:
        aside = norms_set_aside(material.model) if synced else nullcontext()
        with randomness.untouched(around.device), keeping_buffers(material.model), torch.no_grad(), aside:
            inputs, targets = (
                map_tensors(lambda tensor: tensor.to(around.device), side)
                for side in as_tensors(material.data.train.take(np.arange(1)))
            )
            material.forward(material.model, inputs, targets)
    except Failure as failure:
        sizes = (size for size in range(batch_size + 1, batch_size + samples + 2))
        fitting = next((size for size in sizes if smallest_pass(samples, size, accumulation, world, asked) > 1), None)
        if fitting is not None and failure.error.place is not None and failure.error.place.pointer == BATCH_SIZE:
            fix = [PatchOperation(op="add", path=BATCH_SIZE, value=fitting)]
            failure.error = failure.error.model_copy(update={"fix": fix})
        raise


def smallest_pass(samples: int, batch_size: int, accumulation: int, world: int, micro_batch: int | None = None) -> int:
    """Samples in the smallest forward pass of any rank in an epoch; each takes ``micro_batch`` at a time, or its share."""
    micro, window = micro_batch or math.ceil(batch_size / world), batch_size * accumulation
    windows = {min(window, samples), samples % window or window}
    shares = {max(1, share) for size in windows for share in (size // world, math.ceil(size / world))}
    return min(share % micro or micro for share in shares)


def try_out(model: nn.Module, data: Data, forward: Forward, device: torch.device) -> None:
    """Two samples through model and loss, in evaluation mode: lazy modules get their shapes, and what does not fit is told
    before anything is spent. Leaves no other trace: generators and buffers are as they were.

    Raises Failure ``model_invalid``.
    """
    inputs, targets = (
        map_tensors(lambda tensor: tensor.to(device), side)
        for side in as_tensors(data.train.take(np.arange(min(2, len(data.train)))))
    )
    with randomness.untouched(device), keeping_buffers(model), torch.no_grad(), evaluating(model):
        if data.task == "classification" and data.classes is not None:
            known = None if data.train.arrays is None else data.train.arrays[1]
            forward.check_outputs(forward.output(model, inputs), targets, len(data.classes), known)
        forward.check_count(forward(model, inputs, targets))
