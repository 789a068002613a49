"""The scikit-learn engine: any classifier, regressor or pipeline of the model file, with the events of every engine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator

from schemas.assignment import Assignment
from schemas.checkpointing import CheckpointConfig
from schemas.events import Alert, DataLoaded, Log, ModelLoaded, RunResolved, RunRestored
from schemas.losses import Task
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.checkpoints.resumption import load_resumed
from trainer_core.data.load import load_data
from trainer_core.data.samples import Data, Samples
from trainer_core.epochs.best import build_best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.early_stopping import build_early_stopping
from trainer_core.estimators.checkpoint import MODEL_FILE, EstimatorParts, load_parts
from trainer_core.estimators.ignored import find_ignored
from trainer_core.estimators.learner import Learner
from trainer_core.estimators.run import Run, Side, as_side
from trainer_core.estimators.scores import Scorer
from trainer_core.failure import Failure
from trainer_core.loop.artifacts import weights, write_preprocessing
from trainer_core.loop.choices import fill_in
from trainer_core.models.file import ModelFile
from trainer_core.registry import Ending
from trainer_core.stop import Stop


@dataclass(frozen=True)
class Material:
    """What a run works on, read from the user's files."""

    model_file: ModelFile
    learner: Learner
    data: Data


def train(assignment: Assignment, channel: Channel, stop: Stop) -> Ending:
    """Train the estimator of the assignment's model file.

    An estimator that learns by passes (``partial_fit``: SGD, perceptrons) takes ``epochs`` of them, and can stop early
    and be stopped in between; every other one takes one epoch, which is one ``fit``. Raises Failure.
    """
    material = _load(assignment)
    run = _assemble(assignment, material, channel, stop)
    _announce(assignment.request, material, run, channel)
    if assignment.request.checkpoint_config.resume_from is not None:
        _resume(assignment.request.checkpoint_config, run, channel)
    state = run.go()
    preprocessing = write_preprocessing(Path(assignment.run_folder), material.data.preprocessing)
    return Ending(state, [*preprocessing, *weights(run.best_path or run.latest_path, MODEL_FILE)])


def _load(assignment: Assignment) -> Material:
    """Model first: what it is for decides the task where the request leaves it open."""
    request = assignment.request
    model_file = ModelFile.load(assignment)
    estimator = model_file.build(request.model_settings, BaseEstimator)
    learner = Learner.of(
        estimator, model_file.path, shuffle=request.data_config.shuffle, seed=request.training_config.seed
    )
    task = request.training_config.task or learner.usual_task
    learner.check_task(task)
    training = request.training_config.model_copy(update={"task": task})
    wanted = assignment.model_copy(update={"request": request.model_copy(update={"training_config": training})})
    return Material(model_file, learner, load_data(wanted, model_file))


def _assemble(assignment: Assignment, material: Material, channel: Channel, stop: Stop) -> Run:
    request, data, learner = assignment.request, material.data, material.learner
    validates = data.validation is not None
    return Run(
        learner=learner,
        train=_side(data.train, data.task),
        validation=None if data.validation is None else _side(data.validation, data.task),
        scorer=Scorer(data.task, len(data.classes or ()), material.model_file.metrics, material.model_file.path),
        best=build_best(request.checkpoint_config, request.training_config, validates),
        stopping=build_early_stopping(request.training_config, validates),
        curve=Curve(),
        folder=CheckpointFolder(Path(assignment.run_folder), request.checkpoint_config.keep_last),
        config=request.checkpoint_config,
        channel=channel,
        stop=stop,
        epochs=request.training_config.epochs if learner.iterative else 1,
        about={
            "model": learner.name,
            "modelSha256": material.model_file.sha256,
            "jobId": assignment.job_id,
        },
    )


def _side(samples: Samples, task: Task) -> Side:
    return as_side(samples.arrays or samples.take(np.arange(len(samples))), task)


def _announce(request: TrainingRequest, material: Material, run: Run, channel: Channel) -> None:
    """Say what runs: the request with every choice filled in, the data, the model."""
    data, learner, model_file = material.data, material.learner, material.model_file
    loss = run.scorer.loss_name(learner.estimator, data.task)
    choices = {
        "/engine": "sklearn",
        "/dataConfig/format": data.format,
        "/trainingConfig/task": data.task,
        "/trainingConfig/loss": loss,
        "/trainingConfig/epochs": run.epochs,
        "/trainingConfig/devices": 1,
        "/checkpointConfig/monitor": run.best.monitor,
        "/checkpointConfig/mode": run.best.mode,
    }
    resolved, chosen = fill_in(request, choices)
    channel.emit(RunResolved(resolved=resolved, chosen=chosen))
    for alert in [*_alerts(request, material), *data.warnings]:
        channel.emit(alert)
    channel.emit(
        DataLoaded(
            format=data.format,
            task=data.task,
            train_samples=len(data.train),
            val_samples=0 if data.validation is None else len(data.validation),
            classes=None if data.classes is None else list(data.classes),
            profile={**data.profile, "loss": loss},
        )
    )
    channel.emit(ModelLoaded(name=learner.name, parameters=0, trainable_parameters=0, sha256=model_file.sha256))
    seeded = learner.seed_randomness()
    if seeded:
        text = f"{', '.join(seeded)} of {learner.name} was unset and is now {learner.seed}, the seed of the run."
        channel.emit(Log(level="info", stream="worker", text=text))


def _alerts(request: TrainingRequest, material: Material) -> list[Alert]:
    learner = material.learner
    return find_ignored(request, learner.name, learner.iterative, material.model_file.loss is not None)


def _resume(config: CheckpointConfig, run: Run, channel: Channel) -> None:
    """Go on from the checkpoint that the request names. Raises ``input_invalid`` for an estimator that cannot go on."""
    place = Place(pointer="/checkpointConfig/resumeFrom")
    if not run.learner.iterative:
        message = f"{run.learner.name} is trained by one fit; there is nothing to go on with."
        raise Failure("input_invalid", message, next_move="Drop checkpointConfig.resumeFrom.", place=place)
    path, parts = load_resumed(config, lambda path: (path, load_parts(path)), channel)
    _check_same_model(path, parts, run, place)
    run.restore(path, parts)
    channel.emit(
        RunRestored(
            path=str(path),
            epoch=run.epoch,
            step=run.epoch,
            history=run.curve.rows,
            best_epoch=run.best.epoch,
            best_path=run.best_path,
        )
    )


def _check_same_model(path: Path, parts: EstimatorParts, run: Run, place: Place) -> None:
    """The fitted estimator stands for the one of the model file: class and parameters must be the same."""
    here, there = run.learner.estimator, parts.estimator
    differing = (
        [f"class {type(there).__name__}, not {type(here).__name__}"]
        if type(there).__name__ != type(here).__name__
        else [
            f"{name} {value!r}, not {here.get_params(deep=False).get(name)!r}"
            for name, value in there.get_params(deep=False).items()
            if repr(value) != repr(here.get_params(deep=False).get(name))
        ]
    )
    if differing or there.n_features_in_ != run.train.inputs.shape[1]:
        what = ", ".join(differing) or f"{there.n_features_in_} features, not {run.train.inputs.shape[1]}"
        message = f"{path} is of another model: {what}."
        raise Failure("checkpoint_incompatible", message, place=place.model_copy(update={"path": str(path)}))
