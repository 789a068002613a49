"""What a run says before it begins."""

from typing import Any

from schemas.assignment import Assignment
from schemas.events import Log, ModelLoaded, RunResolved
from trainer_core.channel import Channel
from trainer_core.estimators.material import Material
from trainer_core.estimators.one_fit import idle_in_one_fit, unused_loss
from trainer_core.estimators.run import Run
from trainer_core.resolved import Unsaid, fill_in, idle_alerts, idle_in


def announce(assignment: Assignment, material: Material, run: Run, channel: Channel) -> None:
    """Say what runs: the request with every choice filled in, the data, the model."""
    request, data, learner = assignment.request, material.data, material.learner
    loss = run.scorer.loss_name(learner.estimator, data.task)
    choices = _choices(material, run, loss)
    idle = [*([] if learner.iterative else idle_in_one_fit(learner.name)), *data.idle, *idle_in(assignment)]
    resolved, chosen = fill_in(request, choices, idle)
    channel.emit(RunResolved(resolved=resolved, chosen=chosen))
    unused = [] if material.model_file.loss is None else [unused_loss(learner.name)]
    for alert in [*idle_alerts(request, choices, idle), *unused, *data.warnings]:
        channel.emit(alert)
    channel.emit(data.described(loss=loss))
    digest = material.model_file.sha256
    channel.emit(ModelLoaded(name=learner.name, parameters=0, trainable_parameters=0, sha256=digest))
    seeded = learner.seed_randomness()
    if seeded:
        text = f"{', '.join(seeded)} of {learner.name} was unset and is now {learner.seed}, the seed of the run."
        channel.emit(Log(level="info", stream="worker", text=text))


def _choices(material: Material, run: Run, loss: str) -> dict[str, Any]:
    """What the request may have left open, by JSON pointer."""
    return {
        "/engine": "sklearn",
        "/dataConfig/format": material.data.format,
        "/trainingConfig/task": material.data.task,
        "/trainingConfig/loss": Unsaid(loss),
        "/trainingConfig/metrics": list(material.metrics),
        "/trainingConfig/epochs": run.epochs,
        "/trainingConfig/devices": 1,
        "/checkpointConfig/monitor": run.best.monitor,
        "/checkpointConfig/mode": run.best.mode,
    }
