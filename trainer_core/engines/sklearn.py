"""The scikit-learn engine: any classifier, regressor or pipeline of the model file, with the events of every engine."""

from pathlib import Path

from schemas.assignment import Assignment
from trainer_core.channel import Channel
from trainer_core.checkpoints.artifacts import weights, write_preprocessing
from trainer_core.checkpoints.former_best import find_result
from trainer_core.estimators.announcing import announce
from trainer_core.estimators.assemble import assemble
from trainer_core.estimators.checkpoint import MODEL_FILE
from trainer_core.estimators.material import load
from trainer_core.estimators.resuming import resume
from trainer_core.registry import Ending
from trainer_core.stop import Stop


def train(assignment: Assignment, channel: Channel, stop: Stop) -> Ending:
    """Train the estimator of the assignment's model file.

    An estimator that learns by passes (``partial_fit``: SGD, perceptrons) takes ``epochs`` of them, and can stop early
    and be stopped in between; every other one takes one epoch, which is one ``fit``. Raises Failure.
    """
    material = load(assignment)
    run = assemble(assignment, material, channel, stop)
    announce(assignment, material, run, channel)
    if assignment.request.checkpoint_config.resume_from is not None:
        resume(assignment.request.checkpoint_config, run, channel)
    state = run.go()
    preprocessing = write_preprocessing(Path(assignment.run_folder), material.data.preprocessing)
    kept = find_result(channel, run.best.epoch, run.best_path, run.latest_path)
    return Ending(state, [*preprocessing, *weights(kept, MODEL_FILE)])
