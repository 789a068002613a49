"""From the request to the parts of the loop: the only place that constructs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.request import TrainingRequest
from trainer_core.data.samples import Samples
from trainer_core.epochs.best import Best, build_best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.early_stopping import build_early_stopping
from trainer_core.loop import randomness
from trainer_core.loop.announcing import announce
from trainer_core.loop.batches import Batches, Order
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.divergence import Examiner
from trainer_core.loop.evaluation import Evaluation, NoEvaluation
from trainer_core.loop.finite import build_gate
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.optimizers import build_optimizer, default_learning_rate
from trainer_core.loop.position import Position
from trainer_core.loop.reporting import Reporting
from trainer_core.loop.resuming import resume
from trainer_core.loop.saving import Saving
from trainer_core.loop.schedules import build_schedule
from trainer_core.loop.sources import build_source
from trainer_core.loop.trainer import Trainer


def assemble(around: Surroundings, material: Material, sizes: Sizes) -> Trainer:
    """Build every part, say what was chosen, and put the run where ``resumeFrom`` left it."""
    request, training = around.request, around.request.training_config
    device, ranks, model, data = around.device, around.ranks, material.model, material.data
    loss, precision, forward = material.loss, material.precision, material.forward
    learning_rate = training.learning_rate or default_learning_rate(training, material.parameters)
    optimizer = build_optimizer(model, training, learning_rate, device)
    length = sizes.length
    schedule = build_schedule(training, learning_rate, length.total_steps)
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
        {
            "model": type(model).__name__,
            "modelSha256": material.model_file.sha256,
            "jobId": around.assignment.job_id,
            "threads": str(sizes.threads),
        },
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
        reporting=Reporting(around.channel, length, figures, device, training.report_every_seconds, ranks.world),
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
