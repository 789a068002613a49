"""The scikit-learn engine: which estimators learn by epochs, what their figures are, and how a run goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.metrics import accuracy_score, f1_score, log_loss

from schemas.events import (
    Alert,
    CheckpointSaved,
    DataLoaded,
    EpochCompleted,
    Log,
    ModelLoaded,
    RunResolved,
    RunRestored,
)
from trainer_core.channel import Channel
from trainer_core.data import load_data
from trainer_core.engines.sklearn import train
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile
from trainer_core.stop import Stop

PIPELINE = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
def build_model(C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
"""
SGD = "from sklearn.linear_model import SGDClassifier\nmodel = SGDClassifier(loss='log_loss')\n"
MLP = "from sklearn.neural_network import MLPClassifier\nmodel = MLPClassifier((8,), learning_rate_init=0.01)\n"


class Said(Channel):
    """A channel with the assignment it belongs to."""

    def __init__(self, assignment) -> None:
        super().__init__()
        self.assignment = assignment

    def of(self, kind: type) -> list[Any]:
        return [data for data in self.said if isinstance(data, kind)]

    def alert(self, code: str) -> Alert:
        return next(alert for alert in self.of(Alert) if alert.code == code)

    @property
    def last(self) -> Path:
        return Path(self.of(CheckpointSaved)[-1].path)


@pytest.fixture
def fit(workspace, request: pytest.FixtureRequest) -> Callable[..., Said]:
    """Train in this process: ``fit(model source, data file, trainingConfig={...})``."""
    count = iter(range(100))

    def fit_model(model: str, data: str, **sections: dict[str, Any]) -> Said:
        stem = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
        assignment = workspace.assign(f"{stem}_{next(count)}", "sklearn", model, data, **sections)
        said = Said(assignment)
        said.ending = train(assignment, said, Stop())
        return said

    return fit_model


@pytest.fixture
def refuse(fit) -> Callable[..., Any]:
    """As ``fit``, for what is refused; gives the error."""

    def refuse_model(*arguments: Any, **sections: Any):
        with pytest.raises(Failure) as caught:
            fit(*arguments, **sections)
        return caught.value.error

    return refuse_model


def test_a_pipeline_takes_one_epoch_which_is_one_fit(fit):
    said = fit(PIPELINE, "wine.csv", trainingConfig={"epochs": 5}, modelConfig={"args": {"C": 0.5}})
    row = said.of(EpochCompleted)
    assert len(row) == 1
    assert row[0].val_accuracy > 0.9
    assert said.of(RunResolved)[0].chosen["/trainingConfig/epochs"] == 1
    assert said.of(ModelLoaded)[0].name == "Pipeline"
    assert said.ending.state == "succeeded"
    assert {artifact.name for artifact in said.ending.artifacts} == {"preprocessing.json", "model.skops"}


def test_figures_are_those_of_the_saved_model_on_the_validation_samples(fit):
    said = fit(PIPELINE, "wine.csv")
    row = said.of(EpochCompleted)[0]
    model = skops.io.load(said.last / "model.skops")
    data = load_data(said.assignment, ModelFile.load(said.assignment))
    inputs, targets = data.validation.arrays
    predicted = model.predict(inputs)
    assert row.val_accuracy == accuracy_score(targets, predicted)
    assert row.metrics["valF1"] == f1_score(targets, predicted, average="macro")
    assert row.val_loss == pytest.approx(log_loss(targets, model.predict_proba(inputs)), rel=1e-5)


def test_regressors_have_errors_and_no_accuracy(fit):
    said = fit("from sklearn.linear_model import Ridge\nmodel = Ridge()\n", "diabetes.csv")
    row = said.of(EpochCompleted)[0]
    assert row.val_loss == pytest.approx(row.metrics["valRmse"] ** 2)
    assert row.metrics["valR2"] > 0.3
    assert row.metrics["valMae"] < row.metrics["valRmse"]
    assert row.val_accuracy is None
    assert said.of(DataLoaded)[0].profile["loss"] == "mse"


def test_the_estimator_decides_the_task(fit, refuse):
    tree = "from sklearn.tree import DecisionTreeRegressor\nmodel = DecisionTreeRegressor(max_depth=3)\n"
    assert fit(tree, "iris.csv").of(RunResolved)[0].chosen["/trainingConfig/task"] == "regression"
    error = refuse(tree, "iris.csv", trainingConfig={"task": "classification"})
    assert error.code == "model_invalid"
    assert "DecisionTreeRegressor is a regressor" in error.message
    assert error.fix[0].value == "regression"
    assert "fractions are no classes" in refuse(PIPELINE, "diabetes.csv", dataConfig={"target": "bmi"}).message


def test_what_predicts_nothing_is_refused(refuse):
    error = refuse("from sklearn.cluster import KMeans\nmodel = KMeans()\n", "iris.csv")
    assert error.code == "model_invalid"
    assert "KMeans is neither a classifier nor a regressor" in error.message


def test_without_probabilities_the_loss_is_the_share_of_errors(fit):
    said = fit("from sklearn.svm import LinearSVC\nmodel = LinearSVC()\n", "wine.csv")
    row = said.of(EpochCompleted)[0]
    assert row.val_loss == pytest.approx(1 - row.val_accuracy)
    assert said.of(DataLoaded)[0].profile["loss"] == "zero_one"


def test_a_binary_task_scores_the_positive_class(fit):
    binary = fit(PIPELINE, "cancer.csv", trainingConfig={"task": "binary"}).of(EpochCompleted)[0]
    macro = fit(PIPELINE, "cancer.csv").of(EpochCompleted)[0]
    assert binary.val_accuracy == macro.val_accuracy > 0.9
    assert binary.metrics["valF1"] > macro.metrics["valF1"]


def test_the_model_file_s_own_figures(fit):
    own = "def metrics(outputs, targets):\n    return {'top_2': float(outputs.shape[1] - len(targets))}\n"
    said = fit(PIPELINE + own, "iris.csv", checkpointConfig={"monitor": "valTop2"})
    assert said.of(EpochCompleted)[0].metrics["valTop2"] == 3 - 30


def test_the_seed_of_the_run_is_that_of_the_estimator(fit):
    forest = "from sklearn.ensemble import RandomForestClassifier\nmodel = RandomForestClassifier(5, max_depth=2)\n"
    rows = [
        fit(forest, "digits.npz", trainingConfig={"seed": seed}).of(EpochCompleted)[0].val_loss for seed in (1, 1, 2)
    ]
    assert rows[0] == rows[1] != rows[2]
    said = fit(forest.replace("max_depth=2", "max_depth=2, random_state=9"), "iris.csv")
    assert not said.of(Log)
    seeded = fit(PIPELINE, "iris.csv", trainingConfig={"seed": 4}).of(Log)[0].text
    assert seeded == "logisticregression__random_state of Pipeline was unset and is now 4, the seed of the run."


def test_settings_without_effect_are_said_and_do_not_stand_in_what_ran(fit):
    said = fit(
        PIPELINE + "def loss(outputs, targets):\n    return 0\n",
        "iris.csv",
        trainingConfig={"epochs": 10, "optimizer": "SGD", "mixedPrecision": False},
        dataConfig={"batchSize": 4, "preprocessing": {"imageMode": "L", "standardize": True}},
        resources={"threads": 2},
    )
    alerts = [alert for alert in said.of(Alert) if alert.code == "no_effect"]
    assert [alert.evidence["pointers"] for alert in alerts] == [
        [
            "/dataConfig/batchSize",
            "/trainingConfig/optimizer",
            "/trainingConfig/mixedPrecision",
            "/resources/threads",
        ],
        ["/dataConfig/preprocessing/imageMode"],
        ["/trainingConfig/epochs"],
        ["/modelPath"],
    ]
    assert "Pipeline is trained by one fit" in alerts[2].message
    resolved = said.of(RunResolved)[0].resolved
    left = {"seed", "task", "metrics", "epochs", "devices"}
    assert set(resolved["trainingConfig"]) == left
    assert resolved["dataConfig"]["preprocessing"] == {"standardize": True}
    assert "threads" not in resolved["resources"]


def test_what_was_left_out_is_not_said_to_have_no_effect(fit):
    for model in (SGD, PIPELINE):
        assert not [alert for alert in fit(model, "iris.csv").of(Alert) if alert.code == "no_effect"]
    by_epochs = {"trainingConfig": {"epochs": 2}, "dataConfig": {"shuffle": False}, "checkpointConfig": {"keepLast": 1}}
    assert not [alert for alert in fit(SGD, "iris.csv", **by_epochs).of(Alert) if alert.code == "no_effect"]


def test_warnings_of_the_library_are_passed_on_once(fit):
    said = fit(PIPELINE.replace("max_iter=1000", "max_iter=1"), "digits.npz")
    alert = said.alert("estimator_warning")
    assert "ConvergenceWarning in epoch 1" in alert.message
    assert "failed to converge" in alert.evidence["text"]


@pytest.mark.parametrize("model", [SGD, MLP], ids=["sgd", "mlp"])
def test_a_resumed_run_equals_one_that_was_never_interrupted(fit, model):
    """The worst loss is called the best, so that the first epoch stays it: the resumed run must have been told."""
    best = {"monitor": "trainLoss", "mode": "max"}
    whole = fit(model, "digits.npz", trainingConfig={"epochs": 4}, checkpointConfig=best)
    first = fit(model, "digits.npz", trainingConfig={"epochs": 2}, checkpointConfig=best)
    again = {**best, "resumeFrom": str(first.last)}
    resumed = fit(model, "digits.npz", trainingConfig={"epochs": 4}, checkpointConfig=again)
    for row, other in zip(whole.of(EpochCompleted)[2:], resumed.of(EpochCompleted), strict=True):
        assert (row.train_loss, row.val_loss, row.is_best) == (other.train_loss, other.val_loss, other.is_best)
    restored = resumed.of(RunRestored)[0]
    assert (restored.best_epoch, Path(restored.best_path)) == (1, first.last.with_name("epoch-0001"))
    estimators = [
        skops.io.load(said.last / "model.skops", trusted=skops.io.get_untrusted_types(file=said.last / "model.skops"))
        for said in (whole, resumed)
    ]
    inputs = np.eye(64, dtype=np.float32)
    np.testing.assert_array_equal(*(item.predict_proba(inputs) for item in estimators))


def test_a_best_checkpoint_that_is_gone_is_said_and_the_best_is_looked_for_anew(fit):
    best = {"monitor": "trainLoss", "mode": "max"}
    first = fit(SGD, "digits.npz", trainingConfig={"epochs": 2}, checkpointConfig=best)
    shutil.rmtree(first.last.with_name("epoch-0001"))
    again = {**best, "resumeFrom": str(first.last)}
    resumed = fit(SGD, "digits.npz", trainingConfig={"epochs": 3}, checkpointConfig=again)
    assert resumed.alert("best_checkpoint_gone").evidence["path"].endswith("epoch-0001")
    assert [row.is_best for row in resumed.of(EpochCompleted)] == [True]


def test_only_the_newest_and_the_best_checkpoints_stay(fit):
    said = fit(SGD, "digits.npz", trainingConfig={"epochs": 6}, checkpointConfig={"keepLast": 1, "saveEvery": 2})
    left = {path for path in said.last.parent.iterdir() if path.is_dir()}
    best = [Path(saved.path) for saved in said.of(CheckpointSaved) if saved.is_best][-1]
    assert left == {best, said.last}


def test_what_cannot_be_resumed(fit, refuse):
    once = fit(PIPELINE, "iris.csv")
    error = refuse(PIPELINE, "iris.csv", checkpointConfig={"resumeFrom": str(once.last)})
    assert error.code == "input_invalid"
    assert "Pipeline is trained by one fit" in error.message
    resume = {"checkpointConfig": {"resumeFrom": str(once.last)}}
    error = refuse(SGD, "iris.csv", **resume)
    assert error.code == "checkpoint_incompatible"
    assert "class Pipeline, not SGDClassifier" in error.message
    sgd = fit(SGD, "iris.csv", trainingConfig={"epochs": 1})
    resume = {"checkpointConfig": {"resumeFrom": str(sgd.last)}}
    changed = SGD.replace("loss='log_loss'", "loss='log_loss', alpha=0.5")
    assert "alpha 0.0001, not 0.5" in refuse(changed, "iris.csv", **resume).message
    assert "4 features, not 13" in refuse(SGD, "wine.csv", **resume).message


def test_one_flipped_bit_in_a_checkpoint_is_found(fit, refuse):
    said = fit(SGD, "iris.csv", trainingConfig={"epochs": 1})
    path = said.last / "model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = refuse(SGD, "iris.csv", checkpointConfig={"resumeFrom": str(said.last)})
    assert error.code == "checkpoint_corrupt"
    assert str(path) in error.message


def test_a_checkpoint_with_strange_types_constructs_none_of_them(fit, refuse):
    own = SGD + "class Mine(SGDClassifier):\n    pass\nmodel = Mine(loss='log_loss')\n"
    said = fit(own, "iris.csv", trainingConfig={"epochs": 1}, modelConfig={"className": "Mine"})
    import sys

    del sys.modules[f"model_{said.assignment.job_id}"]
    error = refuse(SGD, "iris.csv", checkpointConfig={"resumeFrom": str(said.last)})
    assert error.code == "checkpoint_incompatible"
    assert "neither scikit-learn nor the model file defines" in error.message
    assert ".Mine" in error.message


@pytest.mark.parametrize(
    ("model", "message", "detail"),
    [
        (
            "from sklearn.naive_bayes import MultinomialNB\nmodel = MultinomialNB()\n",
            "ValueError while fitting MultinomialNB",
            "Negative values",
        ),
        (
            "from sklearn.svm import SVC\nmodel = SVC(C=-1)\n",
            "InvalidParameterError while fitting SVC",
            "'C' parameter of SVC must be",
        ),
        (
            "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import FunctionTransformer\n"
            "from sklearn.tree import DecisionTreeClassifier\n"
            "model = make_pipeline(FunctionTransformer(lambda x: x * 2), DecisionTreeClassifier(max_depth=2))\n",
            "Pipeline cannot be saved",
            "",
        ),
    ],
)
def test_what_goes_wrong_in_the_library_is_the_model_s(refuse, model, message, detail):
    error = refuse(model, "iris.csv")
    assert error.code == "model_invalid"
    assert message in error.message
    assert detail in (error.untrusted or "")


def test_a_damaged_checkpoint_in_a_runs_folder_is_left_aside_and_said(fit):
    first = fit(SGD, "iris.csv", trainingConfig={"epochs": 3}, checkpointConfig={"keepLast": 9})
    content = bytearray((first.last / "model.skops").read_bytes())
    content[len(content) // 2] ^= 1
    (first.last / "model.skops").write_bytes(content)
    resume = {"resumeFrom": str(first.last.parent)}
    resumed = fit(SGD, "iris.csv", trainingConfig={"epochs": 4}, checkpointConfig=resume)
    assert resumed.of(RunRestored)[0].epoch == 2
    assert resumed.alert("checkpoint_skipped").evidence["path"] == str(first.last)
    assert [row.epoch for row in resumed.of(EpochCompleted)] == [3, 4]


def test_an_estimator_that_learns_nothing_is_watched_and_its_rows_say_where_the_time_went(fit):
    still = "from sklearn.linear_model import SGDClassifier\nmodel = SGDClassifier(loss='log_loss', learning_rate='constant', eta0=1e-12)\n"
    said = fit(still, "wine.csv", trainingConfig={"epochs": 15})
    assert said.alert("plateau").evidence["epoch"] == 10
    assert all(0 < row.evaluation_seconds < row.seconds for row in said.of(EpochCompleted))
    assert all(saved.seconds > 0 for saved in said.of(CheckpointSaved))
