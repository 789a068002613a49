"""Refusals and failures, as people read them."""

import pytest

from app.cli.closing import closing_text
from app.cli.errors import failure_text, problem_text
from app.cli.exits import Exit, exit_of
from schemas.problems import PatchOperation, Problem, RequestError
from schemas.result import JobPayload, Metrics, Place, Provenance, TrainingError
from schemas.summary import Bound, Summary, TimeBudget


def payload(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "status": "success",
        "metrics": Metrics(val_accuracy=0.98123, epochs_trained=20, training_time=31.4),
        "checkpoint_path": "/runs/a/best",
        "learning_curve": [],
        "job_id": "job_1",
        "best_epoch": 14,
        "provenance": Provenance(input_sha256="0"),
    }
    return JobPayload.model_validate(whole | changes).to_json()


def test_a_problem_shows_every_error_with_its_way_out() -> None:
    problem = Problem(
        title="The request is not valid",
        status=422,
        detail="2 problems.",
        code="input_invalid",
        retryable=False,
        recovery="modify_and_retry",
        errors=[
            RequestError(
                pointer="/trainingConfig/learningrate",
                code="unknown_property",
                message="There is no property learningrate.",
                got=0.1,
                suggestion="learningRate",
                fix=[
                    PatchOperation(op="remove", path="/trainingConfig/learningrate"),
                    PatchOperation(op="add", path="/trainingConfig/learningRate", value=0.1),
                ],
            ),
            RequestError(pointer="", code="required", message="modelPath is missing.", expected="a string"),
        ],
        suggested_input={},
    )
    assert problem_text(problem.to_json()).splitlines() == [
        "The request is not valid (input_invalid)",
        "2 problems.",
        "  1. /trainingConfig/learningrate: There is no property learningrate.",
        "     got         0.1",
        "     suggestion  learningRate",
        "     fix         remove /trainingConfig/learningrate; add /trainingConfig/learningRate as 0.1",
        "  2. (the whole request): modelPath is missing.",
        "     expected    a string",
        "The input with all fixes applied stands in the problem document under suggestedInput.",
    ]


def test_a_failure_shows_its_place_and_the_end_of_what_user_code_said() -> None:
    error = TrainingError(
        code="model_import_failed",
        message="The model file cannot be imported.",
        retryable=False,
        recovery="modify_and_retry",
        next_move="Mend line 3.",
        place=Place(path="/w/model.py", line=3),
        untrusted="Traceback\x1b[31m\nNameError: nn",
    )
    assert failure_text(error.to_json()).splitlines() == [
        "The training failed: model_import_failed: The model file cannot be imported.",
        "  at /w/model.py, line 3",
        "  | Traceback",
        "  | NameError: nn",
        "Next: Mend line 3.",
    ]


def test_success_closes_with_one_line() -> None:
    said = closing_text(payload(), checkpoint=None, url="http://127.0.0.1:7")
    assert said == (
        "success: val accuracy 0.9812 (epoch 14 of 20, 0:31). "
        "Next: checkpoint /runs/a/best · pytorch-trainer status job_1 or http://127.0.0.1:7/docs"
    )


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("data", " 60% of the time went into waiting for data. Next: "),
        ("checkpoints", " 40% of the time went into writing checkpoints. Next: "),
        ("compute", "0:31). Next: "),
        ("startUp", "0:31). Next: "),
    ],
)
def test_what_held_a_run_up_is_said_in_that_line(bound: Bound, said: str) -> None:
    time = TimeBudget(start_up=0.0, data=6.0, compute=0.0, evaluation=0.0, checkpoints=4.0, bound=bound)
    summary = Summary(verdict="unclear", monitor="valLoss", time=time)
    assert said in closing_text(payload(summary=summary), checkpoint=None, url=None)


def cancelled(checkpoint: str) -> dict[str, object]:
    error = TrainingError(
        code="cancelled", message="m", retryable=False, recovery="use_other_operation", next_move="Resume."
    )
    return payload(status="error", error=error, checkpoint_path=checkpoint)


def test_a_cancel_says_which_checkpoint_was_kept_and_how_to_resume() -> None:
    said = closing_text(cancelled("/runs/a/best"), checkpoint="/runs/a/last", url=None)
    assert said.splitlines()[0] == "job_1 is cancelled; its checkpoint is kept: /runs/a/last"
    assert '"resumeFrom": "/runs/a/last"' in said
    assert "no checkpoint" in closing_text(cancelled(""), checkpoint=None, url=None)


def test_exit_codes_of_payloads() -> None:
    assert exit_of(payload()) == Exit.SUCCESS
    assert exit_of(payload(status="early_stopped")) == Exit.SUCCESS
    assert exit_of(cancelled("")) == Exit.CANCELLED
    failed = TrainingError(code="diverged", message="m", retryable=False, recovery="modify_and_retry", next_move="n")
    assert exit_of(payload(status="error", error=failed)) == Exit.TRAINING_ERROR
