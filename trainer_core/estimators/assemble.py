"""From the request to the parts of the run: the only place that constructs."""

from pathlib import Path

import numpy as np

from schemas.assignment import Assignment
from schemas.losses import Task
from trainer_core.arguments import invalid
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.data.samples import Samples
from trainer_core.epochs.best import build_best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.early_stopping import build_early_stopping
from trainer_core.estimators.material import Material
from trainer_core.estimators.run import Run, Side, as_side
from trainer_core.estimators.scores import Scorer
from trainer_core.monitors.watch import watch_estimator
from trainer_core.stop import Stop


def assemble(assignment: Assignment, material: Material, channel: Channel, stop: Stop) -> Run:
    """Build every part."""
    request, data, learner = assignment.request, material.data, material.learner
    validates = data.validation is not None
    epochs = request.training_config.epochs if learner.iterative else 1
    return Run(
        learner=learner,
        train=_side(data.train, data.task),
        validation=None if data.validation is None else _side(data.validation, data.task),
        scorer=Scorer(
            data.task,
            len(data.classes or ()),
            material.metrics,
            material.model_file.metrics,
            material.model_file.path,
        ),
        best=build_best(request.checkpoint_config, request.training_config, validates),
        stopping=build_early_stopping(request.training_config, validates),
        curve=Curve(),
        watch=watch_estimator(channel, epochs=epochs, validates=validates),
        folder=CheckpointFolder(Path(assignment.run_folder), request.checkpoint_config.keep_last),
        config=request.checkpoint_config,
        channel=channel,
        stop=stop,
        epochs=epochs,
        about={
            "model": learner.name,
            "modelSha256": material.model_file.sha256,
            "jobId": assignment.job_id,
        },
    )


def _side(samples: Samples, task: Task) -> Side:
    inputs, targets = samples.arrays or samples.take(np.arange(len(samples)))
    if isinstance(inputs, dict | tuple):
        raise invalid("/dataConfig/features", f"An estimator takes one input, and the data have {len(inputs)}.")
    return as_side((inputs, targets), task)
