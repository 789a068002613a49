"""The native engine: the PyTorch loop, in this process or in one for each device."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from schemas.assignment import EVENTS_FILE, STOP_REASONS, Assignment
from schemas.result import Artifact
from trainer_core.arguments import invalid
from trainer_core.channel import Channel, FileChannel
from trainer_core.checkpoints.artifacts import weights, write_preprocessing
from trainer_core.checkpoints.former_best import find_result
from trainer_core.export.exporting import build_exporting
from trainer_core.failure import Failure
from trainer_core.loop.assemble import assemble
from trainer_core.loop.forward import telling_out_of_memory
from trainer_core.loop.limits import narrowed, quickened
from trainer_core.loop.material import Material, Surroundings, check_the_same, load, size_up
from trainer_core.loop.precision import build_precision
from trainer_core.loop.preparing.summary import write_summary
from trainer_core.loop.ranks import Group, Ranks
from trainer_core.loop.recovery.restart import PassLimits, restarting
from trainer_core.loop.strategies.replicas import Replicas
from trainer_core.loop.trainer import Trainer
from trainer_core.registry import Ending
from trainer_core.stop import Stop


def train(assignment: Assignment, channel: Channel, stop: Stop) -> Ending:
    """Train as the assignment says. Raises Failure; a request to stop ends the run with a checkpoint."""
    assignment = quickened(assignment)
    for name in assignment.devices:
        _check_device(name)
    training, devices = assignment.request.training_config, assignment.devices
    strategy = training.strategy
    if training.num_nodes == 1 and (len(devices) == 1 or strategy in ("single", "dp")):
        ranks = Replicas(devices) if strategy == "dp" and len(devices) > 1 else Ranks()
        return _train(Surroundings(assignment, torch.device(devices[0]), ranks, channel, stop))
    # Torch's launcher is of no use to a run on one device, which need not pay for its import.
    from trainer_core.launch import launch
    from trainer_core.nodes.meeting import met, say_who_keeps

    on_cpus = set(devices) == {"cpu"}

    def start(assignment: Assignment, limits: PassLimits) -> Ending:
        with met(assignment, channel, stop) as meeting:
            if meeting.stopped:
                return Ending("stopped")
            return launch(
                len(devices), train_rank, assignment, limits, stop=stop, agreed=meeting.agreed, on_cpus=on_cpus
            )

    say_who_keeps(training, channel)
    return restarting(assignment, channel, start)


def train_rank(assignment: Assignment, limits: PassLimits, stop: Stop) -> Ending:
    """Train as one of several processes, each with its own device; the first one of each node speaks."""
    ranks = _join(assignment, limits)
    channel = FileChannel(Path(assignment.attempt_folder) / EVENTS_FILE) if ranks.speaks else Channel()
    try:
        return _train(Surroundings(assignment, ranks.device, ranks, channel, stop, limits))
    finally:
        ranks.close()
        channel.close()


def _join(assignment: Assignment, limits: PassLimits) -> Group:
    """This process as one of the run's ranks."""
    training, devices = assignment.request.training_config, assignment.devices
    joining: dict[str, Any] = {}
    if training.rendezvous is not None and training.num_nodes > 1:
        from trainer_core.nodes.word import store_of_the_run

        joining = {"lost_after": timedelta(seconds=training.rendezvous.lost_after_seconds), "store": store_of_the_run()}
    if training.strategy != "fsdp":
        searches = limits.dynamic or training.find_unused_parameters == "on"
        return Group(devices, training.sync_batch_norm, searches, **joining)
    # Torch's module for it takes a while to import.
    from trainer_core.loop.strategies.sharded_group import ShardedGroup

    precision = build_precision(training, torch.device(devices[int(os.environ["LOCAL_RANK"])]))
    if precision.scaled:
        raise invalid(
            "/trainingConfig/precision",
            f"FSDP trains in fp32 or bf16, and this run's precision is {precision.name}: {precision.reason}.",
            next_move='Set trainingConfig.precision to "fp32", or strategy to "ddp".',
        )
    half = torch.bfloat16 if precision.name == "bf16" else None
    return ShardedGroup(devices, half, training.sync_batch_norm, **joining)


def _train(around: Surroundings) -> Ending:
    if around.asked_to_stop():
        return _stopped(around)
    material = narrowed(around, load(around))
    check_the_same(around, material.data)
    if around.asked_to_stop():
        return _stopped(around)
    sizes = size_up(around, material)
    with telling_out_of_memory(sizes.batch_size, around.request.training_config.gradient_accumulation):
        trainer = assemble(around, material, sizes)
        try:
            state = trainer.run()
        finally:
            trainer.close()
    assert state != "running"
    ending = _stopped(around) if state == "stopped" else Ending(state)
    if not around.ranks.first:
        return ending
    saving = trainer.saving
    kept = find_result(around.channel, trainer.best.epoch, saving.best_path, saving.latest_path)
    return replace(
        ending, artifacts=[*_artifacts(around, material, trainer, kept), *_exports(around, material, kept, ending)]
    )


def _exports(around: Surroundings, material: Material, kept: str | None, ending: Ending) -> list[Artifact]:
    """Made of the checkpoint that is ``kept``: the training ended, or was stopped to be its result."""
    why = ending.reason or Stop.reason(Path(around.assignment.attempt_folder))
    if ending.state == "stopped" and why != "stopped":
        return []
    exporting = build_exporting(around.assignment, material.data, around.channel, around.stop)
    return exporting.run(kept)


def _stopped(around: Surroundings) -> Ending:
    """A stop that all ranks have agreed on; with several nodes, also for which reason."""
    reason = None
    if around.ranks.nodes > 1:
        orders = around.ranks.gather(around.stop.order(Path(around.assignment.attempt_folder)))
        reason = max(filter(None, orders), key=STOP_REASONS.index, default=None)
    return Ending("stopped", reason=reason)


def _artifacts(around: Surroundings, material: Material, trainer: Trainer, kept: str | None) -> list[Artifact]:
    """Files beside the checkpoints, and the weights of the one that is ``kept``."""
    run_folder = Path(around.assignment.run_folder)
    preprocessing = write_preprocessing(run_folder, material.data.preprocessing)
    summary = write_summary(run_folder, material.preparation.summary())
    return [*preprocessing, summary, *trainer.profiling.artifacts, *weights(kept)]


def _check_device(name: str) -> None:
    if name == "cpu":
        return
    found = torch.cuda.device_count()
    if torch.device(name).index >= found:
        raise Failure("device_unavailable", f"There is no {name}: torch sees {found} CUDA devices.")
