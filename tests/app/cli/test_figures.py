"""What a person reads while a job runs."""

from typing import Any

import pytest

from app.cli.figures import Figures, Notice, duration, rate
from app.cli.progress import line_of
from schemas.events import EVENT_DATA


def event(kind: str, /, **data: Any) -> dict[str, Any]:
    """An event as it comes over the wire; its data are checked against the contract."""
    typed = EVENT_DATA[kind].model_validate(data)
    return {"seq": 1, "type": kind, "time": "2026-01-01T00:00:00Z", "attempt": 1, "data": typed.to_json()}


RUN = [
    event("job.queued", position=0),
    event("job.started", pid=7, engine="native", devices=["cpu"], versions={}),
    event("epoch.started", epoch=2, epochs=20, steps=45),
    event(
        "step",
        epoch=2,
        step=60,
        total_steps=900,
        loss=0.4,
        loss_average=0.512345,
        accuracy=0.9,
        samples_per_second=1234.6,
        eta_seconds=75.2,
    ),
]


def test_a_run_reads_on_one_line() -> None:
    figures = Figures()
    for said in RUN:
        figures.take(said)
    assert line_of(figures) == ("epoch 2/20 · loss 0.5123 · accuracy 0.9 · step 60/900 · 1,235 samples/s · ETA 1:15")
    assert figures.fraction == pytest.approx(60 / 900)


def test_the_evaluation_of_an_epoch_stays_until_the_next() -> None:
    figures = Figures()
    row = {"epoch": 2, "train_loss": 0.5, "val_loss": 0.25, "val_accuracy": 0.975, "is_best": True}
    for said in (*RUN, event("epoch.completed", **row), event("epoch.started", epoch=3, epochs=20, steps=45)):
        figures.take(said)
    assert "val loss 0.25 · val accuracy 0.975 · best epoch 2" in line_of(figures)


def test_epochs_too_short_for_a_step_event_move_the_bar_as_well() -> None:
    figures = Figures()
    for said in (*RUN, event("epoch.completed", epoch=3, seconds=2.0)):
        figures.take(said)
    assert figures.fraction == pytest.approx(3 / 20)
    assert "step 135/900" in line_of(figures)
    assert "ETA 0:34" in line_of(figures)


def test_what_was_not_measured_is_not_shown() -> None:
    figures = Figures()
    figures.take(event("step", epoch=1, step=1, total_steps=10))
    assert "None" not in line_of(figures)


def test_the_last_checkpoint_is_remembered() -> None:
    figures = Figures()
    saved = {"kind": "epoch", "epoch": 1, "step": 5, "bytes": 1, "sha256": "0"}
    figures.take(event("checkpoint.saved", path="/run/a", **saved))
    figures.take(event("checkpoint.saved", path="/run/b", **saved))
    assert figures.checkpoint == "/run/b"


def test_an_alert_is_a_notice_without_control_characters() -> None:
    alert = event("alert", code="odd", level="warning", message="\x1b[31mclass\x1b[0m names differ", remedy="Rename.")
    assert Figures().take(alert) == Notice("warning", "class names differ Rename.")


@pytest.mark.parametrize("kind", sorted(set(EVENT_DATA) - {"job.completed", "run.resolved", "log"}))
def test_events_without_their_optional_data_are_taken(kind: str) -> None:
    required = {
        name: EXAMPLES.get(name, 1) for name, field in EVENT_DATA[kind].model_fields.items() if field.is_required()
    }
    Figures().take(event(kind, **required))


EXAMPLES: dict[str, Any] = {
    "engine": "native",
    "devices": ["cpu"],
    "versions": {},
    "name": "Net",
    "sha256": "0",
    "format": "safetensors",
    "stage": "writing",
    "status": "exported",
    "task": "classification",
    "path": "/run/a",
    "history": [],
    "kind": "epoch",
    "code": "out_of_memory",
    "cause": "out_of_memory",
    "action": "micro_batch_halved",
    "before": {},
    "after": {},
    "level": "info",
    "message": "m",
    "monitor": "valLoss",
    "will_retry": True,
    "reason": "asked",
    "setting": "/trainingConfig/learningRate",
}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (3600, "1:00:00"), (100_000, "1 d 3 h"), (59.7, "1:00")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rates() -> None:
    assert (rate(1234.4), rate(3.21)) == ("1,234 samples/s", "3.2 samples/s")


def said(level: str, number: int) -> dict[str, Any]:
    return event("log", level=level, stream="worker", text=f"\x1b[31mline {number}\n")


def test_the_first_warnings_of_the_log_are_shown_and_then_where_the_others_are() -> None:
    figures = Figures()
    assert figures.take(said("info", 0)) is None
    shown = [figures.take(said("warning", number)) for number in range(1, 100)]
    assert shown[0] == Notice("warning", "[worker] line 1")
    assert [notice is not None for notice in shown] == [True] * 21 + [False] * 78
    assert shown[20] is not None
    assert "pytorch-trainer logs" in shown[20].text


def test_a_verbose_command_shows_every_line_of_the_log() -> None:
    figures = Figures(verbose=True)
    shown = [figures.take(said("debug", number)) for number in range(100)]
    assert shown == [Notice("info", f"[worker] line {number}") for number in range(100)]


def test_a_model_that_is_trained_in_part_says_so() -> None:
    names = {"count": 0, "first": []}
    weights = {"path": "/w/resnet.pt", "matched": 60, "missing": names, "unexpected": names, "wrongShape": names}
    said = event("model.loaded", name="Net", parameters=1500, trainable_parameters=40, sha256="0", weights=weights)
    notice = Notice("info", "model Net: 1,500 parameters, 40 of them trained; 60 tensors from /w/resnet.pt")
    assert Figures().take(said) == notice
