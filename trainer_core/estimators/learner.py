"""An estimator and how it learns: all at once, or epoch by epoch."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier, is_regressor

from schemas.losses import Task
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.models.user_code import running


@dataclass
class Learner:
    """An estimator of the model file at ``path``. ``iterative``: one epoch is one pass of ``partial_fit`` over the
    training samples; otherwise one epoch is one ``fit``, and there is only one."""

    estimator: Any
    path: Path
    iterative: bool
    shuffle: bool
    seed: int

    @staticmethod
    def of(estimator: BaseEstimator, path: Path, *, shuffle: bool, seed: int) -> "Learner":
        """The learner of ``estimator``. Raises ``model_invalid`` for one that predicts nothing, such as a clusterer."""
        if not (is_classifier(estimator) or is_regressor(estimator)):
            message = (
                f"{type(estimator).__name__} is neither a classifier nor a regressor: there is nothing to validate."
            )
            next_move = "End the pipeline with a classifier or a regressor."
            raise Failure("model_invalid", message, next_move=next_move, place=Place(path=str(path)))
        return Learner(estimator, path, _learns_by_epochs(estimator), shuffle, seed)

    @property
    def name(self) -> str:
        """The estimator's class."""
        return type(self.estimator).__name__

    @property
    def usual_task(self) -> Task:
        """What the estimator is for."""
        return "classification" if is_classifier(self.estimator) else "regression"

    def check_task(self, task: Task) -> None:
        """Raise ``model_invalid`` when a classifier is asked to regress, or the reverse."""
        if (task == "regression") == (self.usual_task == "regression"):
            return
        kind = "a classifier" if self.usual_task == "classification" else "a regressor"
        raise Failure(
            "model_invalid",
            f"{self.name} is {kind}, but trainingConfig.task is {task}.",
            next_move="Use an estimator of the other kind, or drop trainingConfig.task.",
            place=Place(path=str(self.path), pointer="/trainingConfig/task"),
            fix=[PatchOperation(op="replace", path="/trainingConfig/task", value=self.usual_task)],
        )

    def seed_randomness(self) -> list[str]:
        """Set every ``random_state`` that is unset (those inside a pipeline too) to the seed; returns their names."""
        unset = [
            name
            for name, value in sorted(self.estimator.get_params(deep=True).items())
            if value is None and name.rsplit("__", maxsplit=1)[-1] == "random_state"
        ]
        self.estimator.set_params(**dict.fromkeys(unset, self.seed))
        return unset

    def learn(self, epoch: int, inputs: NDArray, targets: NDArray) -> dict[str, str]:
        """Learn for one epoch (from 1); the warnings that were given, category -> text of the first.

        The order of the samples is a function of seed and epoch. Raises ``model_invalid`` with scikit-learn's message.
        """
        with (
            running(self.path, "model_invalid", f"fitting {self.name}"),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            if self.iterative:
                self._pass(epoch, inputs, targets)
            else:
                self.estimator.fit(inputs, targets)
        return {item.category.__name__: str(item.message) for item in reversed(caught)}

    def _pass(self, epoch: int, inputs: NDArray, targets: NDArray) -> None:
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(inputs))
            inputs, targets = inputs[order], targets[order]
        if is_classifier(self.estimator):
            self.estimator.partial_fit(inputs, targets, classes=np.unique(targets))
        else:
            self.estimator.partial_fit(inputs, targets)


def _learns_by_epochs(estimator: Any) -> bool:
    """Whether passes of ``partial_fit`` are what ``fit`` would do. They are not where it counts samples (naive Bayes has no
    ``max_iter``), nor where ``fit`` itself looks at all samples first (its own early stopping, balanced classes)."""
    parameters = estimator.get_params(deep=False)
    return (
        hasattr(estimator, "partial_fit")
        and "max_iter" in parameters
        and not parameters.get("early_stopping", False)
        and parameters.get("class_weight") != "balanced"
    )
