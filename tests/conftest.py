"""What every random test has: a seed that is printed and replays it. And the large tier, which takes hours and goes on
where it was broken off. And one nursery for all tests of a process."""

import asyncio
import os
import random
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from app.supervision.nursery import NURSERY_COMMAND, Nursery
from tests.tiers import LARGE
from tests.torture_record import TortureRecord

_RECORD = Path(__file__).parents[1] / ".torture" / "passed.jsonl"
_LARGE_SECONDS = 6 * 3600
# How long an example takes, or the making of one, says something of the machine and its other tasks alone.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
_figures: list[tuple[str, dict[str, Any]]] = []


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all tests of a run: that of ``PT_SEED``, or a new one."""
    # Processes of pytest-xdist inherit it.
    seed = os.environ.setdefault("PT_SEED", str(secrets.randbelow(1 << 32)))
    config.option.hypothesis_seed = seed


def pytest_report_header() -> str:
    """Named at the head of every run."""
    return f"seed: PT_SEED={os.environ['PT_SEED']} replays what is random"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hours for each test of the large tier, without those that have passed on this commit; some tests are in it alone."""
    passed = TortureRecord(_RECORD).passed() if LARGE else set()
    left_out = [item for item in items if item.nodeid in passed or (_is_large(item) and not LARGE)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items if LARGE else ():
        item.add_marker(pytest.mark.timeout(_LARGE_SECONDS), append=False)


def _is_large(item: pytest.Item) -> bool:
    """Whether it is marked ``torture("large")``."""
    mark = item.get_closest_marker("torture")
    return mark is not None and "large" in mark.args


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the figures of a test that has passed."""
    if report.when != "call" or not report.passed or not report.user_properties:
        return
    figures = dict(report.user_properties)
    _figures.append((report.nodeid, figures))
    if LARGE and "PYTEST_XDIST_WORKER" not in os.environ:
        TortureRecord(_RECORD).add(report.nodeid, report.duration, figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if LARGE and _figures:
        terminalreporter.section("figures")
        for test, figures in _figures:
            terminalreporter.write_line(f"{test}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """What a training in this process has put where modules are looked for, or into the environment, goes with its test."""
    path, environment = list(sys.path), dict(os.environ)
    yield
    sys.path[:] = path
    for name in {*os.environ, *environment} - {"PYTEST_CURRENT_TEST"}:
        if name in environment:
            os.environ[name] = environment[name]
        else:
            del os.environ[name]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """What a random test draws from. Printed with the test's output: the seed that replays it."""
    seed = os.environ["PT_SEED"]
    print(f"PT_SEED={seed} replays this test")
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A nursery that is ready: what takes seconds is done once."""

    async def warm() -> None:
        made.start()
        async with asyncio.timeout(100):
            await made.ready.wait()

    made, loop = Nursery(NURSERY_COMMAND), asyncio.new_event_loop()
    loop.run_until_complete(warm())
    yield made
    made.close()
    loop.close()
