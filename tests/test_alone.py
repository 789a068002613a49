"""Who measures a time is marked ``alone``, and ``make test`` runs every test once: those at the end, with nothing beside
them."""

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.measured_times import measuring_tests

ROOT = Path(__file__).parents[1]

FOUND = """
import time
def test_direct():
    began = time.monotonic()
    work()
    assert time.monotonic() - began < 4
def test_said(run): assert run.seconds < 0.5
def took(call):
    began = perf_counter()
    call()
    return perf_counter() - began
def check(seconds):
    assert MOST >= seconds
def test_through_others():
    times = []
    times.append(took(work))
    check(sorted(times)[-1])
def test_elsewhere():
    def call():
        began = time.monotonic()
        waits[0] = time.monotonic() - began
    assert 0 < waits[0] < 30
"""
NOT_FOUND = """
def test_a_wait():
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
def test_at_least():
    began = time.monotonic()
    assert time.monotonic() - began >= 4
def test_beside_each_other(run):
    began = time.monotonic()
    assert run.waited <= time.monotonic() - began
    assert 0 < run.evaluation_seconds < run.seconds
"""


def marked_alone(source: str) -> set[str]:
    """The tests that have the marker."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {node.name for node in functions if "pytest.mark.alone" in map(ast.unparse, node.decorator_list)}


def test_who_measures_a_time_is_marked():
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    measuring = {f"{file}::{name}" for file, source in sources.items() for name in measuring_tests(source)}
    marked = {
        f"{file}::{name}" for file, source in sources.items() if "mark.alone" in source for name in marked_alone(source)
    }
    assert measuring <= marked, "mark them pytest.mark.alone, or let them wait for an event"
    assert marked


def test_what_bounds_a_measured_time_is_found():
    assert measuring_tests(FOUND) == {"test_direct", "test_said", "test_through_others", "test_elsewhere"}
    assert measuring_tests(NOT_FOUND) == set()


@pytest.mark.parametrize(("rest", "alone"), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 5)])
def test_both_phases_run_every_test_once_and_a_failure_in_one_is_one_of_both(tmp_path: Path, rest: int, alone: int):
    """``make test`` with a python that writes down what it was to run, and ends as it is told to."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/said"\ncase "$*" in *"-m alone") exit {alone};; esac\nexit {rest}\n'
    )
    python.chmod(0o755)
    command = ["make", "-o", ".venv/.installed", "test", f"BIN={tmp_path}"]
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    assert (tmp_path / "said").read_text().splitlines() == ["-m pytest -q -m not alone", "-m pytest -q -n 0 -m alone"]
    assert (done.returncode == 0) == (rest == alone == 0), done.stderr
