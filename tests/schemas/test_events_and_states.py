"""Events, states, failures: one table each, and everything in the tables is used."""

import ast
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.events import EVENT_DATA, Event, EventData, Step
from schemas.failures import FAILURES, FailureCode
from schemas.generate import documents
from schemas.job import ALLOWED_ACTIONS, IMPLIED_BY_EVENT, TERMINAL, TRANSITIONS, JobState

ROOT = Path(__file__).parents[2]


@cache
def used(*folders: str) -> set[str]:
    """Names that the code of ``folders`` calls, passes on or looks into; an import or an annotation is no use."""
    trees = [ast.parse(path.read_text()) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    looked_into = [node.value for node in nodes if isinstance(node, ast.Attribute)]
    values = [value for call in calls for value in (call.func, *call.args, *(item.value for item in call.keywords))]
    return {value.id for value in [*values, *looked_into] if isinstance(value, ast.Name)}


def test_terminal_states_are_the_ones_without_a_way_out():
    assert {state for state, targets in TRANSITIONS.items() if not targets} == TERMINAL


def test_every_state_can_be_reached_and_every_live_state_can_end():
    reached = {"queued"} | {target for targets in TRANSITIONS.values() for target in targets}
    assert reached == set(get_args(JobState))
    assert all(TERMINAL & targets for state, targets in TRANSITIONS.items() if state not in TERMINAL)


def test_what_is_being_cancelled_allows_no_action_and_what_has_ended_can_be_deleted():
    assert {state for state, actions in ALLOWED_ACTIONS.items() if not actions} == {"cancelling"}
    assert {state for state, actions in ALLOWED_ACTIONS.items() if "delete" in actions} == TERMINAL
    assert {state for state, actions in ALLOWED_ACTIONS.items() if "retry" in actions} == {"failed", "cancelled"}


def test_implied_states_are_states_and_their_events_exist():
    assert set(IMPLIED_BY_EVENT) <= set(EVENT_DATA)
    assert set(IMPLIED_BY_EVENT.values()) <= set(get_args(JobState))


def test_every_failure_code_says_what_to_do():
    assert set(FAILURES) == set(get_args(FailureCode))
    assert all(entry.next_move.endswith(".") for entry in FAILURES.values())


@pytest.mark.parametrize("data", EVENT_DATA.values(), ids=lambda data: data.event_type)
def test_somebody_emits_every_event(data: type[EventData]):
    assert data.__name__ in used("app", "trainer_core"), f"nobody says {data.event_type}"


def test_an_event_validates_against_its_schema():
    data = Step(epoch=1, step=3, total_steps=9, loss=0.5)
    event = Event(seq=4, type="step", time="2026-01-01T00:00:00Z", job_id="job_x", attempt=1, data=data.to_json())
    Draft202012Validator(documents()["event.schema.json"]).validate(event.to_json())
    assert event.typed() == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_event_carries_a_number_json_does_not_have(value: float):
    with pytest.raises(ValidationError):
        Step(epoch=1, step=1, total_steps=1, loss=value)
