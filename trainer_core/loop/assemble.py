"""From the request to the parts of the loop: the only place that constructs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from schemas.assignment import Assignment
from schemas.events import DataLoaded, ModelLoaded, RunResolved, RunRestored
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.data.load import load_data
from trainer_core.data.samples import Data, Samples
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.batches import Batches, Order, as_tensors, build_source, map_tensors
from trainer_core.loop.best import Best, build_best
from trainer_core.loop.choices import choose_batch_size, choose_workers, fill_in
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.curve import Curve
from trainer_core.loop.divergence import Examiner
from trainer_core.loop.early_stopping import build_early_stopping
from trainer_core.loop.evaluation import Evaluation, NoEvaluation, evaluating
from trainer_core.loop.finite import build_gate
from trainer_core.loop.forward import Forward
from trainer_core.loop.losses import Loss, build_loss
from trainer_core.loop.metrics import build_figures
from trainer_core.loop.optimizers import build_optimizer, default_learning_rate, default_weight_decay
from trainer_core.loop.position import Length, Position
from trainer_core.loop.precision import Precision, build_precision
from trainer_core.loop.ranks import Ranks
from trainer_core.loop.reporting import Reporting
from trainer_core.loop.saving import Saving, find_snapshot
from trainer_core.loop.schedules import Schedule, build_schedule
from trainer_core.loop.trainer import Trainer
from trainer_core.models.file import ModelFile
from trainer_core.stop import Stop


@dataclass(frozen=True)
class Surroundings:
    """Where a rank runs and whom it talks to."""

    assignment: Assignment
    device: torch.device
    ranks: Ranks
    channel: Channel
    stop: Stop

    @property
    def request(self) -> TrainingRequest:
        """What was asked for."""
        return self.assignment.request


@dataclass(frozen=True)
class Material:
    """What the loop works on, from the user's files, and the forward pass through it that was tried out."""

    model_file: ModelFile
    model: nn.Module
    data: Data
    loss: Loss
    precision: Precision
    forward: Forward

    @property
    def parameters(self) -> int:
        """Numbers in the model that are trained or frozen."""
        return sum(parameter.numel() for parameter in self.model.parameters())


@dataclass(frozen=True)
class Sizes:
    """How many samples go where; ``batch_size`` and ``eval_batch_size`` are over all ranks, ``workers`` for each."""

    batch_size: int
    eval_batch_size: int
    workers: int
    length: Length


def load(around: Surroundings) -> Material:
    """Execute the model file, read the data, build the model (with the weights that the seed means) on the device, and
    take two samples through it."""
    request = around.request
    randomness.seed_everything(request.training_config.seed)
    model_file = ModelFile.load(around.assignment)
    data = load_data(around.assignment, model_file)
    randomness.seed_everything(request.training_config.seed)
    model: nn.Module = model_file.build(request.model_settings, nn.Module)
    if not model.training:
        # Pretrained models are often handed over in evaluation mode. Single modules that the file froze stay so.
        model.train()
    model.to(around.device)
    loss = build_loss(request.training_config, data.task, model_file.loss, around.device)
    precision = build_precision(request.training_config, around.device)
    forward = Forward(loss, precision, model_file, request.model_settings)
    try_out(model, data, forward, around.device)
    return Material(model_file, model, data, loss, precision, forward)


def size_up(around: Surroundings, material: Material) -> Sizes:
    """Choose what the request leaves open."""
    request, training = around.request, around.request.training_config
    batch_size = choose_batch_size(request, material.parameters, around.ranks.world)
    samples = len(material.data.train)
    optimizer_batch = batch_size * training.gradient_accumulation
    return Sizes(
        batch_size,
        request.data_config.eval_batch_size or 2 * batch_size,
        choose_workers(request, material.data.train.arrays is not None, around.ranks.world),
        Length.of(samples, optimizer_batch, training.epochs, training.max_steps),
    )


def assemble(around: Surroundings, material: Material, sizes: Sizes) -> Trainer:
    """Build every part, say what was chosen, and put the run where ``resumeFrom`` left it."""
    request, training = around.request, around.request.training_config
    device, ranks, model, data = around.device, around.ranks, material.model, material.data
    loss, precision, forward = material.loss, material.precision, material.forward
    learning_rate = training.learning_rate or default_learning_rate(training, material.parameters)
    optimizer = build_optimizer(model, training, learning_rate, device)
    length = sizes.length
    schedule = build_schedule(training, learning_rate, length.total_steps, length.steps_per_epoch)
    best = build_best(request.checkpoint_config, training, data.validation is not None)
    stopping = build_early_stopping(training, data.validation is not None)
    figures = build_figures(data.task, device, None, ignore_index=loss.ignore_index)
    position, curve = Position(), Curve()
    order = Order(
        len(data.train), sizes.batch_size * training.gradient_accumulation, training.seed, request.data_config.shuffle
    )
    batches = Batches(build_source(data.train, device, sizes.workers, training.seed), order, ranks, sizes.batch_size)
    saving = Saving(
        Path(around.assignment.run_folder),
        request.checkpoint_config,
        model,
        optimizer,
        {
            "position": position,
            "schedule": schedule,
            "precision": precision,
            "best": best,
            "stopping": stopping,
            "curve": curve,
        },
        {"order": order, "length": length},
        figures,
        ranks,
        around.channel,
        device,
        {"model": type(model).__name__, "modelSha256": material.model_file.sha256, "jobId": around.assignment.job_id},
    )
    announce(around, material, sizes, schedule, learning_rate)
    trainer = Trainer(
        model=model,
        network=ranks.wrap(model),
        device=device,
        optimizer=optimizer,
        schedule=schedule,
        schedule_figure=_schedule_figure(request, best, data.validation is not None),
        precision=precision,
        clipping=build_clipping(training),
        gate=build_gate(optimizer, precision, device),
        forward=forward,
        batches=batches,
        figures=figures,
        evaluation=_evaluation(around, material, sizes),
        curve=curve,
        best=best,
        stopping=stopping,
        saving=saving,
        reporting=Reporting(around.channel, length, figures, device, training.report_every_seconds),
        examiner=Examiner(model, data.train, forward, device, batches.micro_size),
        position=position,
        length=length,
        ranks=ranks,
        channel=around.channel,
        stop=around.stop,
    )
    randomness.seed_everything(training.seed + ranks.index)
    if request.checkpoint_config.resume_from is not None:
        resume(around, trainer)
    return trainer


def announce(
    around: Surroundings,
    material: Material,
    sizes: Sizes,
    schedule: Schedule,
    learning_rate: float,
) -> None:
    """Say what runs: the request with every choice filled in, the data, the model."""
    training, data = around.request.training_config, material.data
    resolved, chosen = fill_in(
        around.request,
        {
            "/engine": "native",
            "/dataConfig/batchSize": sizes.batch_size,
            "/dataConfig/evalBatchSize": sizes.eval_batch_size,
            "/dataConfig/numWorkers": sizes.workers,
            "/dataConfig/format": data.format,
            "/trainingConfig/learningRate": learning_rate,
            "/trainingConfig/weightDecay": default_weight_decay(training),
            "/trainingConfig/warmupSteps": schedule.warmup_steps,
            "/trainingConfig/precision": material.precision.name,
            "/trainingConfig/gradientClipping": 1.0
            if training.gradient_clipping is None
            else training.gradient_clipping,
            "/trainingConfig/task": data.task,
            "/trainingConfig/loss": material.loss.name,
            "/trainingConfig/devices": around.ranks.world,
            "/trainingConfig/strategy": "ddp" if around.ranks.world > 1 else "single",
        },
    )
    around.channel.emit(RunResolved(resolved=resolved, chosen=chosen))
    for alert in data.warnings:
        around.channel.emit(alert)
    around.channel.emit(
        DataLoaded(
            format=data.format,
            task=data.task,
            train_samples=len(data.train),
            val_samples=0 if data.validation is None else len(data.validation),
            classes=None if data.classes is None else list(data.classes),
            profile=data.profile,
        )
    )
    around.channel.emit(
        ModelLoaded(
            name=type(material.model).__name__,
            parameters=material.parameters,
            trainable_parameters=sum(item.numel() for item in material.model.parameters() if item.requires_grad),
            sha256=material.model_file.sha256,
        )
    )


def try_out(model: nn.Module, data: Data, forward: Forward, device: torch.device) -> None:
    """Two samples through model and loss, in evaluation mode: lazy modules get their shapes, and what does not fit is told
    before anything is spent. Leaves no other trace: generators and buffers are as they were.

    Raises Failure ``model_invalid``.
    """
    inputs, targets = (
        map_tensors(lambda tensor: tensor.to(device), side)
        for side in as_tensors(data.train.take(np.arange(min(2, len(data.train)))))
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), evaluating(model):
        if data.task == "classification" and data.classes is not None:
            forward.check_outputs(forward.output(model, inputs), len(data.classes))
        forward(model, inputs, targets)


def _evaluation(around: Surroundings, material: Material, sizes: Sizes) -> NoEvaluation:
    held_out: Samples | None = material.data.validation
    if held_out is None:
        return NoEvaluation()
    metrics = material.model_file.metrics
    return Evaluation(
        build_source(held_out, around.device, sizes.workers, around.request.training_config.seed),
        len(held_out),
        sizes.eval_batch_size,
        material.forward,
        build_figures(material.data.task, around.device, metrics, ignore_index=material.loss.ignore_index),
        around.ranks,
        around.device,
        around.stop,
    )


def _schedule_figure(request: TrainingRequest, best: Best, has_validation: bool) -> str:
    """The figure that ReduceLROnPlateau watches: that of the best epoch where both mean the same way, else the loss."""
    arguments: Mapping[str, Any] = request.training_config.scheduler_args
    if arguments.get("mode", "min") == best.mode:
        return best.monitor
    return "valLoss" if has_validation else "trainLoss"


def resume(around: Surroundings, trainer: Trainer) -> None:
    """Go on from the checkpoint that the request names; the curve so far is said once more."""
    snapshot, skipped = find_snapshot(around.request.checkpoint_config)
    for one in skipped:
        message = f"{one.path} is damaged and was left aside: {one.reason}"
        around.channel.warn("checkpoint_skipped", message, path=str(one.path))
    trainer.saving.restore(snapshot)
    follow_changes(trainer, snapshot.state, around.channel)
    around.channel.emit(
        RunRestored(
            path=str(snapshot.path),
            epoch=trainer.position.epoch,
            step=trainer.position.step,
            history=trainer.curve.rows,
            best_epoch=trainer.best.epoch,
            best_path=trainer.saving.best_path,
        )
    )


def follow_changes(trainer: Trainer, state: dict[str, Any], channel: Channel) -> None:
    """Say what a changed length means for the rest of the run. Raises ``checkpoint_incompatible`` when the checkpoint
    stands in mid-epoch, and that epoch would have other batches now."""
    order, length = trainer.batches.order, trainer.length
    if state["order"] != order.state():
        if trainer.position.step_in_epoch:
            before, now = (
                ", ".join(f"{key} {value}" for key, value in side.items()) for side in (state["order"], order.state())
            )
            raise Failure(
                "checkpoint_incompatible",
                f"The checkpoint stands in the middle of an epoch whose batches would be others now ({before}; now {now}).",
                next_move="Keep data, batchSize, gradientAccumulation and seed, or resume from a checkpoint of a whole epoch.",
                place=Place(pointer="/checkpointConfig/resumeFrom"),
            )
        trainer.position.step = trainer.position.epoch * length.steps_per_epoch
        channel.warn(
            "order_changed", "Data, batch size or seed are not those of the checkpoint: batches differ from here on."
        )
    if state["length"] != length.state():
        channel.warn(
            "length_changed",
            f"The checkpoint's run was {state['length']['total_steps']} steps long, this one is {length.total_steps}: the "
            f"learning rate follows the new length from step {trainer.position.step} on.",
            before=state["length"]["total_steps"],
            now=length.total_steps,
        )
    if length.reached(trainer.position):
        message = f"The checkpoint has trained {trainer.position.epoch} epochs; of {length.epochs} nothing is left."
        channel.warn("nothing_left_to_train", message, remedy="Raise trainingConfig.epochs to train on.")
