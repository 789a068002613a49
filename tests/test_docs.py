"""The documents name what the code has: every event, failure code, state and link."""

import re
from pathlib import Path
from typing import get_args

import pytest

from app.main import create_app
from app.settings import Settings
from schemas.events import EVENT_DATA
from schemas.failures import FailureCode
from schemas.job import JobState

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "node_modules"} & set(path.parts))


@pytest.mark.parametrize("name", EVENT_DATA)
def test_event_is_in_the_table(name: str):
    assert f"| `{name}` |" in (ROOT / "docs/architecture.md").read_text()


@pytest.mark.parametrize("code", get_args(FailureCode))
def test_failure_code_is_explained(code: str):
    assert f"`{code}`" in (ROOT / "docs/result.md").read_text()


@pytest.mark.parametrize("state", get_args(JobState))
def test_state_is_in_the_diagram(state: str):
    assert re.search(rf"^    {state} --> ", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """``METHOD /path`` -> operation of the OpenAPI document."""
    folder = tmp_path_factory.mktemp("service")
    routes = create_app(Settings(home=folder, workspace=folder)).openapi()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in routes.items()
        for method, operation in methods.items()
    }


def test_every_route_is_on_the_page(operations: dict[str, dict]):
    page = (ROOT / "docs/http.md").read_text()
    assert [name for name in operations if f"`{name}`" not in page] == []


def test_every_parameter_and_status_is_on_the_page(operations: dict[str, dict]):
    page = (ROOT / "docs/http.md").read_text().lower()
    parameters = {
        parameter["name"].lower()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] != "path"
    }
    assert len(parameters) > 10
    assert {name for name in parameters if not re.search(rf"`{name}\b|[?&]{name}=", page)} == set()
    statuses = {status for operation in operations.values() for status in operation["responses"]}
    assert {status for status in statuses if not re.search(rf"\b{status}\b", page)} == set()
