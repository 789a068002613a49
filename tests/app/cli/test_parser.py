"""The words of the command line."""

import importlib
import subprocess
import sys
from typing import get_args

import pytest

from app.cli.parser import build_parser
from schemas.tokens import Scope

COMMANDS = {
    "run": ["r.json"],
    "demo": [],
    "submit": ["r.json"],
    "plan": ["r.json"],
    "wait": ["job_1"],
    "watch": ["job_1"],
    "status": [],
    "logs": ["job_1"],
    "cancel": ["job_1"],
    "list": [],
    "serve": [],
    "token": [],
    "schema": [],
    "delete": ["job_1", "job_2"],
    "clean": ["--older-than", "30d", "--dry-run"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_leads_to_a_function_and_takes_json(command: str) -> None:
    arguments = build_parser().parse_args([command, *COMMANDS[command], "--json"])
    module, function = arguments.door.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert arguments.json


@pytest.mark.parametrize(
    "words", [["create", "--name", "ci", "--scope", "read"], ["list"], ["revoke", "ci"]], ids=lambda words: words[0]
)
def test_every_word_of_token_leads_to_a_function_and_takes_json_on_both_sides(words: list[str]) -> None:
    for argv in (["token", *words, "--json"], ["token", "--json", *words]):
        arguments = build_parser().parse_args(argv)
        module, function = arguments.door.split(":")
        assert module == "app.cli.tokens"
        assert callable(getattr(importlib.import_module(module), function))
        assert arguments.json
    assert not build_parser().parse_args(["token", *words]).json


def test_the_scopes_of_the_command_line_are_those_of_the_contract() -> None:
    for scope in get_args(Scope):
        wanted = ["token", "create", "--name", "ci", "--scope", scope, "--expires", "2w"]
        arguments = build_parser().parse_args(wanted)
        assert (arguments.scope, arguments.expires) == ([scope], 1_209_600)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_page_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args([command, "--help"])
    assert left.value.code == 0
    assert f"example: pytorch-trainer {command}" in capsys.readouterr().out


def test_help_imports_neither_http_nor_tables_nor_models() -> None:
    program = (
        "import sys\n"
        "from app.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'httpx', 'rich', 'pydantic', 'fastapi'} & set(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "set()"


@pytest.mark.parametrize(
    "argv",
    [
        ["wait", "job_1", "--timeout", "-1"],
        ["serve", "--port", "99999"],
        ["logs", "job_1", "--tail", "some"],
        ["token", "create", "--name", "a", "--scope", "read", "--expires", "0d"],
        ["token", "create", "--name", "a", "--scope", "read", "--expires", "30"],
    ],
)
def test_a_wrong_number_is_refused_with_what_is_expected(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(argv)
    assert left.value.code == 2
    assert f"{argv[-1]!r}: expected" in capsys.readouterr().err
