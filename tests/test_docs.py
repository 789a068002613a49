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


def test_every_route_is_on_the_page(tmp_path: Path):
    page = (ROOT / "docs/http.md").read_text()
    routes = create_app(Settings(home=tmp_path, workspace=tmp_path)).openapi()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, methods in routes.items()
        for method in methods
        if f"`{method.upper()} {path}`" not in page
    ]
    assert missing == []
