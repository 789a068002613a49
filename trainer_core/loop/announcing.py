"""What a run says before it begins."""

from collections.abc import Iterator
from typing import Any

import torch

from schemas.events import Alert, ModelLoaded, RunResolved, RunTuned
from schemas.model import Names
from trainer_core.loop.choices import MICRO_BATCH, RATE
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.optimizers import default_weight_decay
from trainer_core.loop.preparing.compiling import Compilation
from trainer_core.loop.strategies.synced_norm import sees_one_rank
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning.tuning import alerts_of, size_of, without_searches
from trainer_core.resolved import Unsaid, fill_in, idle_alerts, idle_in

# Methods by which a model tells other trainers what to do.
OTHER_TRAINERS = ("training_step", "validation_step", "configure_optimizers", "compute_loss", "train_step")


def announce(
    around: Surroundings,
    material: Material,
    sizes: Sizes,
    trainer: Trainer,
    learning_rate: float,
    compilation: Compilation,
    tuned: list[RunTuned],
) -> None:
    """Say what runs: the request with every choice filled in, the data, the model, and what was found out by trying."""
    model, channel = material.model, around.channel
    choices = _choices(around, material, sizes, trainer, learning_rate)
    idle = [*material.data.idle, *idle_in(around.assignment)]
    choices["/trainingConfig/compile"] = "on" if compilation.on else "off"
    resolved, chosen = fill_in(without_searches(around.request), choices, idle)
    channel.emit(RunResolved(resolved=resolved, chosen=chosen))
    notices = (*material.data.warnings, *material.preparation.alerts, *compilation.alerts, *alerts_of(tuned, trainer))
    for alert in (*idle_alerts(around.request, choices, idle), *notices, *_notices(around, material)):
        channel.emit(alert)
    channel.emit(material.data.described())
    channel.emit(
        ModelLoaded(
            name=material.name,
            parameters=material.parameters,
            trainable_parameters=sum(item.numel() for item in model.parameters() if item.requires_grad),
            sha256=material.model_file.sha256,
            weights=material.preparation.weights,
            frozen=material.preparation.frozen_names(),
            without_decay=_without_decay(trainer.optimizer),
            modules=material.preparation.first_modules(),
        )
    )
    for entry in tuned:
        channel.emit(entry)


def about(around: Surroundings, material: Material, sizes: Sizes, learning_rate: float) -> dict[str, str]:
    """What the manifest of a checkpoint says of the run, before anything was found out by trying."""
    return {
        "model": material.name,
        "modelSha256": material.model_file.sha256,
        "jobId": around.assignment.job_id,
        "threads": str(sizes.threads),
        RATE: repr(learning_rate),
        MICRO_BATCH: str(sizes.micro_batch),
    }


def _without_decay(optimizer: torch.optim.Optimizer) -> Names | None:
    """Parameters that are spared weight decay; None where all are, or none."""
    spared = [name for group in optimizer.param_groups if not group["weight_decay"] for name in group["param_names"]]
    decays = any(group["weight_decay"] for group in optimizer.param_groups)
    return Names.of(spared) if decays and spared else None


def _choices(
    around: Surroundings, material: Material, sizes: Sizes, trainer: Trainer, learning_rate: float
) -> dict[str, Any]:
    """What the request may have left open, by JSON pointer."""
    training = around.request.training_config
    return {
        "/engine": "native",
        "/dataConfig/batchSize": sizes.batch_size,
        "/dataConfig/evalBatchSize": sizes.eval_batch_size,
        "/dataConfig/microBatchSize": size_of(around, trainer) or Unsaid(),
        "/dataConfig/numWorkers": sizes.workers,
        "/dataConfig/format": material.data.format,
        "/trainingConfig/learningRate": learning_rate,
        "/trainingConfig/weightDecay": default_weight_decay(training),
        "/trainingConfig/warmupSteps": trainer.schedule.warmup_steps,
        "/trainingConfig/warmupRatio": Unsaid(),
        "/trainingConfig/precision": material.precision.name,
        "/trainingConfig/task": material.data.task,
        "/trainingConfig/loss": Unsaid(material.loss.name) if material.loss.is_own else material.loss.name,
        "/trainingConfig/metrics": list(material.metrics),
        "/trainingConfig/devices": around.ranks.devices,
        "/trainingConfig/strategy": around.ranks.strategy,
        "/resources/threads": sizes.threads,
    }


def _notices(around: Surroundings, material: Material) -> Iterator[Alert]:
    """What a person might not expect of these settings on this machine."""
    training, precision = around.request.training_config, material.precision
    if (training.mixed_precision or training.precision == "auto") and precision.name == "fp32":
        message = f"Mixed precision was asked for, and this run computes in fp32: {precision.reason}."
        yield Alert(code="precision_fp32", level="info", message=message)
    yield from _never_called(material)
    shares, synced = (
        max(around.ranks.devices, around.ranks.world),
        training.sync_batch_norm and around.ranks.strategy != "dp",
    )
    alone = shares > 1 and sees_one_rank(material.model, synced)
    if alone:
        yield Alert(
            code="batch_norm_per_rank",
            level="warning",
            message=f"Batch normalisation ({alone[0]}) sees one device's share of a batch, a {shares}th of it: the result "
            "differs from that of one device.",
            remedy="Let the model use torch's own BatchNorm classes, or group or layer normalisation."
            if synced
            else "Train with ddp or fsdp and trainingConfig.syncBatchNorm on, or use group or layer normalisation.",
        )


def _never_called(material: Material) -> Iterator[Alert]:
    """What a class written for another trainer says of its loss and optimizer, and nobody here asks for."""
    names = [name for name in OTHER_TRAINERS if callable(getattr(material.model, name, None))]
    if names and not material.loss.is_own:
        yield Alert(
            code="not_called",
            level="warning",
            message=f"{', '.join(f'{material.name}.{name}' for name in names)} of the model file will not be called: the "
            f"loss is {material.loss.name} of what forward() returns, optimizer and schedule are those of the request.",
            evidence={"methods": names},
            remedy="Define loss(output, targets) in the model file for a loss of its own, and set optimizer and schedule in "
            "trainingConfig.",
        )
