"""Kinds of arguments: what they take is what their JSON Schema allows, and every table keeps to its own rules."""

import json

import pytest
from jsonschema import Draft202012Validator

from schemas.arguments import Argument, Condition, Entry
from schemas.kinds import Either, Kind, Nothing, Number, Row, Several, Switch, Whole, accepts
from schemas.losses import LOSSES, default_loss
from schemas.optimizers import OPTIMIZERS
from schemas.schedules import SCHEDULES
from tests.wrong_values import usual_value, values_around

ENTRIES: tuple[Entry, ...] = (*OPTIMIZERS, *SCHEDULES, *LOSSES)
ARGUMENTS = [
    pytest.param(entry, argument, id=f"{entry.name}.{argument.name}")
    for entry in ENTRIES
    for argument in entry.arguments
]


@pytest.mark.parametrize(("entry", "argument"), ARGUMENTS)
def test_a_kind_takes_what_its_json_schema_allows(entry: Entry, argument: Argument) -> None:
    validator = Draft202012Validator(argument.kind.schema)
    Draft202012Validator.check_schema(argument.kind.schema)
    verdicts = set()
    for value in values_around(argument.kind):
        verdicts.add(accepts(argument.kind, value))
        assert accepts(argument.kind, value) == validator.is_valid(value), value
    assert verdicts == {True, False}


@pytest.mark.parametrize(("entry", "argument"), ARGUMENTS)
def test_defaults_and_proposals_are_values_that_the_argument_takes(entry: Entry, argument: Argument) -> None:
    if argument.default is not None:
        assert accepts(argument.kind, argument.default)
    for epochs in (1, 2, 10, 1_000_000) if argument.proposed else ():
        assert accepts(argument.kind, argument.proposed(epochs))
        json.dumps(argument.proposed(epochs))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_conditions_are_about_arguments_that_exist_and_their_proposal_meets_them(entry: Entry) -> None:
    for condition in entry.conditions:
        argument, switch = entry.argument(condition.argument), entry.argument(condition.switch)
        assert switch is not None
        assert argument is not None
        assert isinstance(switch.kind, Switch)
        assert accepts(argument.kind, condition.proposed)
        assert accepts(condition.kind, condition.proposed)
    assert len(set(entry.argument_names)) == len(entry.arguments)


def test_every_task_has_one_default_loss_and_it_fits() -> None:
    for task in ("classification", "binary", "regression"):
        assert [loss for loss in LOSSES if loss.default_for == task] == [default_loss(task)]
        assert task in default_loss(task).tasks


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Number(), "a number"),
        (Number(minimum=0, below=1), "a number of 0 or more and less than 1"),
        (Whole(minimum=1), "a whole number of 1 or more"),
        (Switch(), "true or false"),
        (Several(Number(above=0)), "a list of at least one item, each a number greater than 0"),
        (Row((Number(),) * 2), "a list of 2 items, each a number"),
        (Row((Either((Nothing(), Number())), Number())), "a list of 2 items: null, or a number; a number"),
    ],
)
def test_words_say_what_is_expected(kind: Kind, words: str) -> None:
    assert kind.words == words
    assert accepts(kind, usual_value(kind))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400)])
def test_a_number_is_one_that_can_be_computed_with(value: float) -> None:
    assert not accepts(Number(), value)
    assert not accepts(Whole(), value)


def test_a_null_argument_is_an_absent_one() -> None:
    entry = Entry(
        "sgd",
        arguments=(Argument("nesterov", Switch(), False), Argument("momentum", Number(), 0)),
        conditions=(Condition("nesterov", "momentum", Number(above=0), 0.9),),
    )
    assert entry.unmet({"nesterov": None, "momentum": None}) == []
    assert entry.unmet({"nesterov": True, "momentum": None}) == list(entry.conditions)
    assert entry.unmet({"nesterov": True, "momentum": 0.5}) == []
