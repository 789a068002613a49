"""What a run works on, read from the user's files."""

from dataclasses import dataclass

from sklearn.base import BaseEstimator

from schemas.assignment import Assignment
from schemas.metrics import MetricName
from trainer_core.data.load import load_data
from trainer_core.data.samples import Data
from trainer_core.epochs.chosen_metrics import choose_metrics
from trainer_core.estimators.learner import Learner
from trainer_core.models.file import ModelFile


@dataclass(frozen=True)
class Material:
    """Model file, estimator and data, and the ``metrics`` that the estimator is measured by."""

    model_file: ModelFile
    learner: Learner
    data: Data
    metrics: tuple[MetricName, ...]


def load(assignment: Assignment) -> Material:
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
    data = load_data(wanted, model_file)
    classes = len(data.classes or ())
    metrics = choose_metrics(request, data.task, classes, has_own=model_file.metrics is not None)
    return Material(model_file, learner, data, metrics)
