"""Every recommendation is a request that the gate admits, and not the one that was made; a healthy run gets none but to test."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from app.gate.gate import Gate
from app.gate.patches import apply
from app.review.facts import Facts, Features, Spent
from app.review.recommending import recommend
from app.review.summarizing import summarize
from app.settings import Settings
from schemas.problems import PatchOperation
from schemas.recovery import RecoveryEntry
from schemas.result import EpochRow, TrainingError
from schemas.summary import Recommendation, RecommendationCode
from schemas.tuning import TuningEntry
from tests.app.workspace import REQUEST, make_workspace

FIX = [PatchOperation(op="add", path="/trainingConfig/learningRate", value=1e-4)]


def rows(
    train: list[float], validation: list[float] | None = None, seconds: float = 1.0, **figures: Any
) -> list[EpochRow]:
    """A curve of one row for each training loss."""
    return [
        EpochRow(
            epoch=epoch,
            step=10 * epoch,
            train_loss=loss,
            val_loss=validation[epoch - 1] if validation else None,
            seconds=seconds,
            **({"learning_rate": 0.001} | figures),
        )
        for epoch, loss in enumerate(train, start=1)
    ]


def halved(kind: Literal["micro_batch", "evaluation_batch"], size: int, **changes: Any) -> RecoveryEntry:
    """Memory ran out over twice as many samples."""
    key = "microBatch" if kind == "micro_batch" else "evaluationBatch"
    entry: dict[str, Any] = {"before": {key: 2 * size}, "after": {key: size}, "equivalent": True} | changes
    return RecoveryEntry(cause="out_of_memory", action=f"{kind}_halved", epoch=1, step=1, reason="", **entry)


FALLING = [1 / epoch for epoch in range(1, 11)]
RISING = [0.8, 0.6, 0.5, 0.52, 0.55, 0.6, 0.66, 0.7, 0.75, 0.8]
SETTLED = [0.8, 0.6, 0.5, 0.46, 0.44, 0.43, 0.425, 0.424, 0.4235, 0.423]
DIVERGED = TrainingError(
    code="diverged", message="", retryable=False, recovery="modify_and_retry", next_move="", fix=FIX
)
# For each: settings, and what is known of the run.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "leave_out_identifiers": (
        {},
        {"rows": rows(FALLING, SETTLED), "best_epoch": 10, "features": Features(("id",), ("age", "income"))},
    ),
    "lower_learning_rate": (
        {"scheduler": "OneCycleLR", "schedulerArgs": {"max_lr": 0.5}},
        {"state": "failed", "error": DIVERGED, "rows": []},
    ),
    "raise_learning_rate": (
        {"learningRate": 1e-7},
        {"rows": rows([0.7] * 5), "alerts": frozenset({"dead_start"})},
    ),
    "use_found_learning_rate": (
        {"learningRate": 0.001, "learningRateFinder": {"action": "suggest"}},
        {
            "rows": rows(FALLING, SETTLED),
            "tuning": [
                TuningEntry(setting="/trainingConfig/learningRate", found=0.02, used=0.001, reason="r.", seconds=1)
            ],
        },
    ),
    "use_found_micro_batch": (
        {"gradientAccumulation": 4, "batchSizeFinder": {"action": "suggest"}},
        {
            "rows": rows(FALLING, SETTLED),
            "tuning": [
                TuningEntry(setting="/dataConfig/microBatchSize", found=128, used=32, reason="r.", seconds=1),
            ],
        },
    ),
    "keep_what_fits": (
        {"gradientAccumulation": 4},
        {
            "rows": rows(FALLING, SETTLED),
            "recoveries": [halved("micro_batch", 16), halved("micro_batch", 8), halved("evaluation_batch", 32)],
            "memory": 3,
            "memory_limit": 10,
        },
    ),
    "stop_early": ({}, {"rows": rows(FALLING, RISING), "best_epoch": 3}),
    "more_weight_decay": (
        {"earlyStopping": {"patience": 5}, "learningRate": 0.1},
        {"rows": rows(FALLING, RISING), "best_epoch": 3, "state": "early_stopped"},
    ),
    "more_data": (
        {"earlyStopping": {"patience": 5}, "learningRate": 0.001},
        {"rows": rows(FALLING, RISING), "best_epoch": 3, "state": "early_stopped"},
    ),
    "weigh_classes": (
        {"loss": "cross_entropy"},
        {
            "rows": rows(FALLING, SETTLED, val_accuracy=0.97, metrics={"valBalancedAccuracy": 0.65, "valMcc": 0.4}),
            "best_epoch": 10,
            "class_counts": {"no": 1950, "yes": 50},
        },
    ),
    "overfit_one_batch": (
        {"earlyStopping": {"patience": 5}},
        {"rows": rows([0.69] * 10, SETTLED, metrics={"valMcc": 0.02}), "best_epoch": 10},
    ),
    "train_longer": ({"maxSteps": 100}, {"rows": rows(FALLING, FALLING), "best_epoch": 10}),
    "lower_rate_over_time": ({"scheduler": "none"}, {"rows": rows([1.0, 0.5, *[0.4] * 8]), "best_epoch": 3}),
    "more_workers": (
        {},
        {"rows": rows(FALLING, SETTLED, data_wait_seconds=0.8), "best_epoch": 10},
    ),
    "save_less_often": (
        {},
        {"rows": rows(FALLING, SETTLED), "best_epoch": 10, "spent": Spent(checkpoints=8.0, in_epochs=8.0)},
    ),
    "fewer_micro_batches": (
        {"gradientAccumulation": 4},
        {"rows": rows(FALLING, SETTLED), "best_epoch": 10, "memory": 3, "memory_limit": 10},
    ),
    "larger_batch": (
        {},
        {"rows": rows(FALLING, SETTLED, seconds=60.0), "best_epoch": 10, "memory": 3, "memory_limit": 10},
    ),
    "test_on_held_out_data": ({}, {"rows": rows(FALLING, SETTLED), "best_epoch": 10}),
}


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(Settings(home=tmp_path / "home", workspace=make_workspace(tmp_path / "work")))


@pytest.fixture
def checkpoint(tmp_path: Path, gate: Gate) -> Path:
    path = tmp_path / "home" / "jobs" / "job_1" / "run" / "epoch-0010"
    path.mkdir(parents=True)
    return path


IMAGES = REQUEST["dataConfig"] | {"format": "imageFolder", "batchSize": 32, "numWorkers": 1}
TABLE = {"trainPath": "data/table.csv", "format": "csv", "batchSize": 32}


def resolved(gate: Gate, training: dict[str, Any], data: dict[str, Any] = IMAGES) -> dict[str, Any]:
    """A request as a run resolves it."""
    document = {
        **REQUEST,
        "engine": "native",
        "dataConfig": data,
        "trainingConfig": {"epochs": 10, "learningRate": 0.01, "weightDecay": 0.01} | training,
        "checkpointConfig": {"saveEverySteps": 1},
    }
    found = gate.examine(document, "paths")
    assert found.errors == []
    assert found.request is not None
    return found.request.to_json()


def found(gate: Gate, checkpoint: Path, code: str) -> tuple[Facts, list[Recommendation]]:
    training, known = RUNS[code]
    facts = Facts(
        **{"state": "succeeded", "best_epoch": None, "latest_path": str(checkpoint)} | known,
        resolved=resolved(gate, training, TABLE if "features" in known else IMAGES),
    )
    return facts, recommend(facts, summarize(facts))


def test_every_recommendation_has_a_run_here():
    assert set(RUNS) == set(get_args(RecommendationCode))


@pytest.mark.parametrize("code", RUNS)
def test_its_patch_of_resolved_is_another_request_that_the_gate_admits(gate: Gate, checkpoint: Path, code: str):
    facts, made = found(gate, checkpoint, code)
    (wanted,) = [each for each in made if each.code == code]
    following = apply(dict(facts.resolved), wanted.patch)
    admitted = gate.admit(following)
    assert (following == facts.resolved) == (code in ("test_on_held_out_data", "more_data"))
    assert admitted.warnings == gate.examine(dict(facts.resolved), "paths").warnings


@pytest.mark.parametrize("code", RUNS)
def test_nothing_else_is_recommended(gate: Gate, checkpoint: Path, code: str):
    _, made = found(gate, checkpoint, code)
    beside = (
        {"test_on_held_out_data"}
        if code
        in (
            "use_found_micro_batch",
            "keep_what_fits",
            "more_workers",
            "save_less_often",
            "fewer_micro_batches",
            "larger_batch",
        )
        else set()
    )
    assert {each.code for each in made} == {code} | beside


def changes(gate: Gate, checkpoint: Path, code: str) -> dict[str, Any]:
    _, made = found(gate, checkpoint, code)
    return next({move.path: move.value for move in each.patch} for each in made if each.code == code)


def test_the_peak_of_a_schedule_goes_down_with_the_rate(gate: Gate, checkpoint: Path):
    expected = {"/trainingConfig/learningRate": 0.001, "/trainingConfig/schedulerArgs/max_lr": 0.05}
    assert changes(gate, checkpoint, "lower_learning_rate") == expected


def test_training_goes_on_from_the_newest_checkpoint(gate: Gate, checkpoint: Path):
    assert changes(gate, checkpoint, "train_longer") == {
        "/trainingConfig/epochs": 20,
        "/checkpointConfig/resumeFrom": str(checkpoint),
        "/trainingConfig/maxSteps": 200,
    }


def test_the_same_optimizer_batch_in_fewer_passes(gate: Gate, checkpoint: Path):
    expected = {"/dataConfig/batchSize": 64, "/trainingConfig/gradientAccumulation": 2}
    assert changes(gate, checkpoint, "fewer_micro_batches") == expected


def test_the_sizes_that_fitted_last_are_kept_and_no_room_is_seen_where_memory_ran_out(gate: Gate, checkpoint: Path):
    expected = {"/dataConfig/microBatchSize": 8, "/dataConfig/evalBatchSize": 32}
    assert changes(gate, checkpoint, "keep_what_fits") == expected


def not_worth_it(gate: Gate, checkpoint: Path) -> Iterator[tuple[str, Facts]]:
    """Runs like those above, but for one thing."""
    for code, change in (
        ("lower_learning_rate", {"error": DIVERGED.model_copy(update={"fix": None})}),
        ("stop_early", {"rows": rows(FALLING, RISING)[:5]}),
        ("train_longer", {"state": "early_stopped"}),
        ("train_longer", {"latest_path": ""}),
        ("more_workers", {"rows": rows(FALLING, SETTLED, seconds=0.1, data_wait_seconds=0.08)}),
        ("keep_what_fits", {"recoveries": [halved("micro_batch", 8, after={"microBatch": "few"})]}),
        ("keep_what_fits", {"state": "failed", "error": DIVERGED.model_copy(update={"code": "out_of_memory"})}),
        ("larger_batch", {"memory": 8}),
        ("larger_batch", {"recoveries": [halved("evaluation_batch", 8)]}),
        ("fewer_micro_batches", {"recoveries": [halved("micro_batch", 8)]}),
        ("larger_batch", {"rows": rows(FALLING, SETTLED)}),
    ):
        facts, _ = found(gate, checkpoint, code)
        yield code, replace(facts, **change)


def test_where_it_would_not_help_it_is_not_said(gate: Gate, checkpoint: Path):
    for code, facts in not_worth_it(gate, checkpoint):
        assert code not in {each.code for each in recommend(facts, summarize(facts))}


def test_nothing_is_recommended_that_the_engine_or_the_format_does_not_read(gate: Gate, checkpoint: Path):
    facts, _ = found(gate, checkpoint, "more_workers")
    data = facts.resolved["dataConfig"] | {"format": "npz"}
    changed = replace(facts, resolved={**facts.resolved, "dataConfig": data})
    assert "more_workers" not in {each.code for each in recommend(changed, summarize(changed))}


def test_who_has_something_to_mend_is_not_sent_to_test(gate: Gate, checkpoint: Path):
    for code in ("weigh_classes", "more_data", "overfit_one_batch"):
        _, made = found(gate, checkpoint, code)
        assert [each.code for each in made] == [code]


def test_weights_of_classes_are_their_inverse_frequency(gate: Gate, checkpoint: Path):
    facts, (made,) = found(gate, checkpoint, "weigh_classes")
    following = apply(dict(facts.resolved), made.patch)
    assert following["trainingConfig"]["lossArgs"]["weight"] == [0.513, 20.0]
    assert (
        following["checkpointConfig"] | {"monitor": "valBalancedAccuracy", "mode": "max"}
        == following["checkpointConfig"]
    )
    assert not recommend(replace(facts, class_counts={"no": 1000, "yes": 0}), summarize(facts))[0].patch


@pytest.mark.parametrize(("rate", "wanted"), [(0.5, 0.05), (80.0, 0.1)])
def test_a_rate_far_above_what_is_usual_is_brought_near_it_at_once(
    gate: Gate, checkpoint: Path, rate: float, wanted: float
):
    settings = resolved(gate, {"optimizer": "SGD", "learningRate": rate})
    (made,) = recommend(Facts(state="failed", rows=[], best_epoch=None, resolved=settings, error=DIVERGED), None)
    assert [(move.path, move.value) for move in made.patch] == [("/trainingConfig/learningRate", wanted)]


@pytest.mark.parametrize(("wait", "workers"), [(0.6, 2), (0.8, 4)])
def test_a_starved_loop_is_given_more_workers_at_once(gate: Gate, checkpoint: Path, wait: float, workers: int):
    facts, _ = found(gate, checkpoint, "more_workers")
    facts = replace(facts, rows=rows(FALLING, SETTLED, data_wait_seconds=wait))
    made = recommend(facts, summarize(facts))[0]
    assert (made.code, made.patch[0].value) == ("more_workers", workers)


@pytest.mark.parametrize(
    ("training", "wanted"),
    [
        ({"optimizer": "SGD", "learningRate": 0.001}, 0.1),
        ({"optimizer": "SGD", "learningRate": 0.2}, 0.2),
        ({"optimizer": "SGD", "optimizerArgs": {"momentum": 0.9}, "learningRate": 0.001}, 0.01),
        ({"optimizer": "SGD", "learningRate": 5.0}, 0.1),
        ({"optimizer": "AdamW", "learningRate": 1e-5}, None),
        ({"optimizer": "Adam", "learningRate": 0.002}, 0.002),
        ({"optimizer": "Adam", "learningRate": 0.5}, None),
    ],
)
def test_one_batch_is_learnt_by_heart_in_enough_steps_at_a_rate_that_serves(
    gate: Gate, checkpoint: Path, training: dict[str, Any], wanted: float | None
):
    """None: the optimizer's usual rate, by the size of the model."""
    facts, _ = found(gate, checkpoint, "overfit_one_batch")
    further = {
        "gradientAccumulation": 8,
        "scheduler": "StepLR",
        "schedulerArgs": {"step_size": 1},
        "labelSmoothing": 0.1,
    }
    facts = replace(facts, resolved=resolved(gate, training | further | {"weightAveraging": {"method": "ema"}}))
    (made,) = recommend(facts, summarize(facts))
    following = apply(dict(facts.resolved), made.patch)
    asked, data = following["trainingConfig"], following["dataConfig"]
    assert (asked["overfitBatches"], asked["epochs"], asked.get("learningRate")) == (1, 500, wanted)
    assert (asked["scheduler"], asked["labelSmoothing"], "weightAveraging" in asked) == ("constant", 0.0, False)
    assert (data["batchSize"], asked["gradientAccumulation"]) == (32, 1)
    assert gate.examine(following, "paths").warnings == gate.examine(dict(facts.resolved), "paths").warnings


@pytest.mark.parametrize("code", ["stop_early", "train_longer", "test_on_held_out_data", "more_data", "weigh_classes"])
def test_a_batch_that_was_learnt_by_heart_says_nothing_of_other_samples(gate: Gate, checkpoint: Path, code: str):
    training, _ = RUNS[code]
    facts, _ = found(gate, checkpoint, code)
    facts = replace(facts, resolved=resolved(gate, training | {"overfitBatches": 1}))
    assert recommend(facts, summarize(facts)) == []
