"""The page for agents is enough to go by: what it names exists, and what there is to know by name stands in it."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from app.cli.exits import Exit
from app.cli.parser import build_parser
from app.gate.request_schema import INPUT, homes, is_valid
from app.main import create_app
from app.settings import Settings
from schemas.failures import FailureCode
from schemas.job import TERMINAL, JobState

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "skills/pytorch-trainer/SKILL.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", PAGE))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first column is called ``heading``."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]


def test_every_operation_stands_with_its_method_and_path(tmp_path: Path):
    paths = create_app(Settings(home=tmp_path, workspace=tmp_path)).openapi()["paths"]
    there = {
        (f"`{operation['operationId']}`", f"`{method.upper()} {path}`")
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert {(name, place) for name, place, _ in rows("operationId")} == there
    named = {re.split(r"[?#]", code)[0] for code in CODE if re.match(r"(GET|POST) /", code)}
    assert {f"`{place}`" for place in named} <= {place for _, place in there}


def test_states_are_all_named_and_told_apart():
    lines = dict(re.findall(r"^(States on the way|Terminal states): (.*)\.$", PAGE, re.MULTILINE))
    named = {title: set(re.findall(r"`(\w+)`", text)) for title, text in lines.items()}
    assert named["Terminal states"] == TERMINAL
    assert named["States on the way"] == set(get_args(JobState)) - TERMINAL


def test_exit_codes_are_all_named():
    assert [int(code) for code, _ in rows("exit")] == sorted(Exit)


def test_settings_are_all_named():
    read = set(re.findall(r"\bPT_[A-Z_]+\b", (ROOT / "app/settings.py").read_text())) - {"PT_"}
    in_the_table = {name for cells in rows("setting") for name in re.findall(r"PT_[A-Z_]+", cells[0])}
    assert in_the_table == read
    assert set(re.findall(r"\bPT_[A-Z_]+\b", PAGE)) <= read


def test_commands_and_settings_of_a_request_exist():
    help_text = build_parser().format_help()
    commands = set(re.findall(r"pytorch-trainer ([a-z]+)\b", re.sub(r"skills/pytorch-trainer", "", PAGE)))
    assert commands
    assert {command for command in commands if not re.search(rf"^    {command}\b", help_text, re.MULTILINE)} == set()
    known = {".".join(map(str, path)) for path in homes()}
    assert {code for code in CODE if re.fullmatch(r"[a-z]+Config\.\w+", code)} <= known


@pytest.mark.parametrize("code", ["data_not_finite", "model_invalid", "out_of_memory", "cancelled"])
def test_failure_codes_exist(code: str):
    assert code in CODE
    assert code in get_args(FailureCode)


def test_requests_on_the_page_are_valid():
    blocks = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    assert [block for block in blocks if not is_valid(json.loads(block), INPUT)] == []
