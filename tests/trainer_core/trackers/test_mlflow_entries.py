"""Events in MLflow's terms."""

from schemas.events import Step
from schemas.result import EpochRow
from trainer_core.trackers.mlflow_entries import (
    clean_key,
    epoch_figures,
    milliseconds,
    parameters,
    run_tags,
    snake_case,
    step_figures,
)


def test_names():
    assert [snake_case(name) for name in ("valLoss", "valR2", "trainF1Macro")] == [
        "val_loss",
        "val_r2",
        "train_f1_macro",
    ]
    assert [clean_key(key) for key in ("a=b/c", "..", "ok.1", "é" * 300)] == ["a_b_c", "_", "ok.1", "é" * 250]


def test_an_epoch_ends_with_its_number_and_keeps_its_event_s_time():
    time = milliseconds("2026-01-02T03:04:05.678Z")
    assert time == 1767323045678
    figures = epoch_figures(EpochRow(epoch=4, val_loss=0.5, metrics={"valR2": 0.25, "my=own": 1.0}), time)
    assert figures == [
        ("val_r2", 0.25, time, 4),
        ("my_own", 1.0, time, 4),
        ("val_loss", 0.5, time, 4),
        ("epoch", 4.0, time, 4),
    ]


def test_a_step_brings_what_it_measured():
    step = Step(epoch=1, step=7, total_steps=9, samples_per_second=12.5, memory_bytes=1024, grad_norm=0.5)
    assert step_figures(step, 0) == [
        ("system/samples_per_second", 12.5, 0, 7),
        ("system/memory_bytes", 1024.0, 0, 7),
        ("step/grad_norm", 0.5, 0, 7),
    ]


def test_parameters_are_flat_short_and_without_passwords():
    resolved = {
        "trainingConfig": {"learningRate": 0.001, "mixedPrecision": True, "optimizerArgs": {"betas": [0.9, 0.99]}},
        "labels": {"note": "x" * 7000},
        "trackingConfig": {"mlflow": {"trackingUri": "http://u:p@host"}},
    }
    flat = parameters(resolved)
    assert flat.pop("labels.note") == "x" * 5999 + "…"
    assert flat == {
        "trainingConfig.learningRate": "0.001",
        "trainingConfig.mixedPrecision": "true",
        "trainingConfig.optimizerArgs.betas": "[0.9, 0.99]",
        "trackingConfig.mlflow.trackingUri": "http://host",
    }


def test_our_tags_win(make_attempt):
    tags = {"team": "red", "pytorch_trainer.job_id": "forged", "mlflow.runName": "forged"}
    found = run_tags(make_attempt(tags=tags).assignment)
    assert found["team"] == "red"
    assert found["pytorch_trainer.job_id"] == "job-1"
    assert found["mlflow.source.name"] == "models/resnet.py"
    assert found["mlflow.source.git.commit"] == "0123abc-dirty"
    assert "mlflow.runName" not in found
