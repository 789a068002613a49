"""The words of the command line."""

import importlib
import subprocess
import sys

import pytest

from app.cli.parser import build_parser

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
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_leads_to_a_function_and_takes_json(command: str) -> None:
    arguments = build_parser().parse_args([command, *COMMANDS[command], "--json"])
    module, function = arguments.door.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert arguments.json


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
    "argv", [["wait", "job_1", "--timeout", "-1"], ["serve", "--port", "99999"], ["logs", "job_1", "--tail", "some"]]
)
def test_a_wrong_number_is_refused_with_what_is_expected(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(argv)
    assert left.value.code == 2
    assert f"{argv[-1]!r}: expected" in capsys.readouterr().err
