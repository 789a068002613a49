"""From the request to the parts of the loop: the only place that constructs."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from schemas.request import TrainingRequest
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.data.samples import Samples
from trainer_core.epochs.best import Best, build_best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.early_stopping import build_early_stopping
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.announcing import announce
from trainer_core.loop.averaging import build_averaging
from trainer_core.loop.batches import Batches, Order
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.divergence import Examiner
from trainer_core.loop.evaluation import Evaluation, NoEvaluation
from trainer_core.loop.finite import build_gate
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.metrics.metrics import build_figures
from trainer_core.loop.optimizers import build_optimizer, default_learning_rate
from trainer_core.loop.position import Position
from trainer_core.loop.preparing.compiling import Compilation, Trial, compile_network
from trainer_core.loop.recovery.fitting import build_memory
from trainer_core.loop.recovery.ledger import Ledger
from trainer_core.loop.recovery.lowered_schedule import LoweredSchedule
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.recovery.moment import Moment, build_moment
from trainer_core.loop.recovery.refusals import Refusals, build_refusals
from trainer_core.loop.recovery.rollback import Rollback
from trainer_core.loop.reporting import Reporting
from trainer_core.loop.resuming import resume
from trainer_core.loop.run_state import Restores, RunState
from trainer_core.loop.saving import Saving
from trainer_core.loop.schedules import build_schedule
from trainer_core.loop.sources import build_source
from trainer_core.loop.statistics import Statistics
from trainer_core.loop.trainer import Trainer
from trainer_core.monitors.watch import watch_network


def assemble(around: Surroundings, material: Material, sizes: Sizes) -> Trainer:
    """Build every part, say what was chosen, and put the run where ``resumeFrom`` left it."""
    request, training, data = around.request, around.request.training_config, material.data
    device, ranks, model, precision = around.device, around.ranks, material.model, material.precision
    batches = _batches(around, data.train, sizes)
    statistics = Statistics(batches, sizes.length.steps_per_epoch, material.forward, device)
    averaging = build_averaging(model, training.weight_averaging, training.epochs, statistics.settle)
    for each in averaging.models():
        ranks.prepare(each)
    learning_rate = training.learning_rate or default_learning_rate(training, material.parameters)
    optimizer = build_optimizer(model, training, learning_rate, device)
    gradients = ranks.adopt(optimizer)
    ledger = Ledger()
    schedule = LoweredSchedule(build_schedule(training, learning_rate, sizes.length.total_steps), ledger)
    validates = data.validation is not None
    best = build_best(request.checkpoint_config, training, validates)
    stopping = build_early_stopping(training, validates)
    figures = build_figures(data.task, device, None, ignore_index=material.loss.ignore_index)
    position, curve = Position(), Curve()
    watch = watch_network(around.channel, epochs=training.epochs, validates=validates, workers=sizes.workers)
    reporting = Reporting(
        around.channel, sizes.length, figures, device, training.report_every_seconds, watch, ranks.world
    )
    moment = build_moment(training.recovery, model, device, figures)
    fits = partial(build_memory, around, model=model, order=batches.order, position=position, moment=moment)
    memory, memory_of_evaluation = (
        fits("micro_batch", batches.micro_size),
        fits("evaluation_batch", sizes.eval_batch_size),
    )
    kept: dict[str, Restores] = {
        "position": position,
        "schedule": schedule,
        "precision": precision,
        "best": best,
        "stopping": stopping,
        "curve": curve,
        "reporting": reporting,
        "ledger": ledger,
        "memory": memory,
        "memoryOfEvaluation": memory_of_evaluation,
    }
    run_state = RunState(
        model=model,
        averaging=averaging,
        optimizer=optimizer,
        parts=kept,
        definition={"order": batches.order, "length": sizes.length},
        figures=figures,
        ranks=ranks,
        device=device,
        about=_about(around, material, sizes),
    )
    saving = Saving(run_state, _folder(around), request.checkpoint_config, around.channel)
    refusals = build_refusals(
        training.recovery,
        Refusals(
            gate=build_gate(optimizer, precision, device),
            examiner=Examiner(model, data.train, material.forward, device, memory),
            order=batches.order,
            position=position,
            optimizer=optimizer,
        ),
        ledger=ledger,
        moment=moment,
        precision=precision,
        schedule=schedule,
        rollback=Rollback(saving, position, curve, best, ranks, around.channel),
        channel=around.channel,
    )
    compilation = _compilation(around, material, sizes, memory.size)
    announce(around, material, sizes, schedule, learning_rate, compilation)
    trainer = Trainer(
        model=model,
        network=ranks.wrap(compilation.network, lambda: _uses_all(around, material)),
        device=device,
        optimizer=optimizer,
        schedule=schedule,
        schedule_figure=_schedule_figure(request, best, validates),
        precision=precision,
        gradients=gradients,
        clipping=build_clipping(training),
        averaging=averaging,
        forward=material.forward,
        batches=batches,
        figures=figures,
        evaluation=_evaluation(around, material, sizes, memory_of_evaluation, moment),
        curve=curve,
        best=best,
        stopping=stopping,
        saving=saving,
        reporting=reporting,
        moment=moment,
        memory=memory,
        refusals=refusals,
        position=position,
        length=sizes.length,
        ranks=ranks,
        channel=around.channel,
        stop=around.stop,
    )
    randomness.seed_everything(training.seed + ranks.index)
    if request.checkpoint_config.resume_from is not None:
        resume(around, trainer)
    refusals.begin()
    return trainer


def _uses_all(around: Surroundings, material: Material) -> bool:
    """Whether a pass of two samples gives every trainable parameter a gradient; not where it fails, which is for the first
    batch to tell."""
    samples = material.data.train
    try:
        return not Trial(samples, material.forward, min(2, len(samples)), around.device).run(material.model)
    except Failure:
        return False


def _compilation(around: Surroundings, material: Material, sizes: Sizes, micro_size: int) -> Compilation:
    training, samples = around.request.training_config, material.data.train
    trial = Trial(samples, material.forward, min(micro_size, len(samples)), around.device)
    passes = sizes.length.total_steps * training.gradient_accumulation
    mode = "off" if around.ranks.strategy in ("fsdp", "dp") else training.compile
    return compile_network(material.model, mode, trial, passes)


def _batches(around: Surroundings, samples: Samples, sizes: Sizes) -> Batches:
    training, shuffle = around.request.training_config, around.request.data_config.shuffle
    order = Order(len(samples), sizes.batch_size * training.gradient_accumulation, training.seed, shuffle)
    source = build_source(samples, around.device, sizes.workers, training.seed)
    return Batches(source, order, around.ranks, sizes.batch_size)


def _folder(around: Surroundings) -> CheckpointFolder | None:
    """Where checkpoints go; the first rank alone writes them."""
    if not around.ranks.first:
        return None
    return CheckpointFolder(Path(around.assignment.run_folder), around.request.checkpoint_config.keep_last)


def _about(around: Surroundings, material: Material, sizes: Sizes) -> dict[str, str]:
    """What the manifest of a checkpoint says of the run."""
    return {
        "model": material.name,
        "modelSha256": material.model_file.sha256,
        "jobId": around.assignment.job_id,
        "threads": str(sizes.threads),
    }


def _evaluation(around: Surroundings, material: Material, sizes: Sizes, memory: Memory, moment: Moment) -> NoEvaluation:
    held_out: Samples | None = material.data.validation
    if held_out is None:
        return NoEvaluation()
    training, own = around.request.training_config, material.model_file.metrics
    most = training.limit_val_batches
    return Evaluation(
        build_source(held_out, around.device, sizes.workers, training.seed),
        len(held_out) if most is None else min(len(held_out), most * sizes.eval_batch_size),
        sizes.eval_batch_size,
        material.forward,
        build_figures(
            material.data.task, around.device, own, material.metrics, ignore_index=material.loss.ignore_index
        ),
        around.ranks,
        around.device,
        around.stop,
        memory,
        moment,
    )


def _schedule_figure(request: TrainingRequest, best: Best, has_validation: bool) -> str:
    """The figure that ReduceLROnPlateau watches: that of the best epoch where both mean the same way, else the loss."""
    arguments: Mapping[str, Any] = request.training_config.scheduler_args
    if arguments.get("mode", "min") == best.mode:
        return best.monitor
    return "valLoss" if has_validation else "trainLoss"
