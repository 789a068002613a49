"""A level of isolation that was asked for is had or refused; the strongest of what service and request ask for holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.gate.gate import Gate
from app.gate.patches import apply
from app.isolation import available, require_isolation, why_not
from app.main import serve
from app.planning import plan_of
from app.settings import Settings
from schemas.isolation import IsolationLevel, stricter
from tests.app.workspace import REQUEST, make_workspace


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", workspace=make_workspace(tmp_path / "workspace"))


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where it is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def useless_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that allows no container."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'setting up uid map: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def contained(**sections: Any) -> dict[str, Any]:
    return {**REQUEST, "resources": {"isolation": "contained"}, **sections}


@pytest.mark.usefixtures("no_bubblewrap")
def test_a_level_that_cannot_be_had_is_refused_with_what_is_missing_and_no_weaker_one_is_suggested(settings: Settings):
    found = Gate(settings).examine(contained(), "paths")
    (error,) = found.errors
    assert (error.pointer, error.code, error.fix) == ("/resources/isolation", "not_available", None)
    assert "apt install bubblewrap" in error.message
    assert error.allowed == ["none", "guarded"]
    assert found.suggested_input is None


@pytest.mark.usefixtures("useless_bubblewrap")
def test_a_container_is_tried_and_not_only_looked_for():
    reason = why_not("contained")
    assert reason is not None
    assert "Permission denied" in reason
    assert "user namespaces" in reason


@pytest.mark.usefixtures("no_bubblewrap")
def test_a_service_does_not_start_with_a_level_that_cannot_be_had(settings: Settings):
    wanted = Settings(home=settings.home, workspace=settings.workspace, isolation="contained")
    with pytest.raises(ValueError, match="apt install bubblewrap"):
        serve(wanted)
    assert available() == ["none", "guarded"]
    require_isolation(settings)


@pytest.mark.parametrize("level", ["none", "guarded"])
def test_what_every_machine_can_give_is_taken(settings: Settings, level: str):
    assert Gate(settings).examine({**REQUEST, "resources": {"isolation": level}}, "paths").errors == []


@pytest.mark.parametrize(
    ("service", "asked", "in_force"),
    [
        ("guarded", None, "guarded"),
        ("guarded", "none", "guarded"),
        ("guarded", "contained", "contained"),
        ("none", None, "none"),
        ("none", "guarded", "guarded"),
        ("contained", "guarded", "contained"),
    ],
)
def test_the_stronger_level_holds(service: IsolationLevel, asked: IsolationLevel | None, in_force: str):
    assert stricter(service, asked) == in_force


@pytest.mark.parametrize(
    ("service", "asked", "warned"),
    [
        ("guarded", "none", True),
        ("contained", "guarded", True),
        ("contained", "none", True),
        ("guarded", "guarded", False),
        ("none", "none", False),
        ("none", "guarded", False),
        ("guarded", None, False),
    ],
)
def test_a_weaker_level_than_the_services_is_warned_of_and_lowers_nothing(
    settings: Settings, service: IsolationLevel, asked: str | None, warned: bool
):
    gate = Gate(replace(settings, isolation=service))
    document = {**REQUEST, "resources": {"isolation": asked, "threads": 1}}
    found = gate.examine(document, "paths")
    assert found.errors == []
    assert [(warning.pointer, warning.code) for warning in found.warnings] == (
        [("/resources/isolation", "no_effect")] if warned else []
    )
    for warning in found.warnings:
        assert warning.got == asked
        assert f"PT_GUARD) is stricter: {service} is in force" in warning.message
        assert gate.examine(apply(document, warning.fix or []), "paths").warnings == []
    plan = plan_of(found, "paths")
    assert plan.resolved is not None
    assert plan.resolved["resources"].get("isolation") == (None if warned else asked)


def test_the_environment_names_the_least_level():
    assert Settings.from_environment({"PT_GUARD": "none"}).isolation == "none"
    assert Settings.from_environment({"PT_GUARD": ""}).isolation == "guarded"
    with pytest.raises(ValueError, match="PT_GUARD='strict': expected one of none, guarded, contained"):
        Settings.from_environment({"PT_GUARD": "strict"})
    with pytest.raises(ValueError, match="PT_READABLE"):
        Settings.from_environment({"PT_READABLE": "/usr:/does/not/exist"})
    assert Settings.from_environment({"PT_READABLE": "/usr:/etc"}).readable == (Path("/usr"), Path("/etc"))


def test_nodes_that_could_not_meet_are_refused(settings: Settings):
    rendezvous = {"endpoint": "10.0.0.1:29500", "nodeRank": 0}
    several = {**REQUEST, "trainingConfig": {"numNodes": 2, "rendezvous": rendezvous}}
    assert Gate(settings).examine(several, "paths").errors == []
    strict = replace(settings, isolation="contained")
    (error,) = Gate(strict).examine(several, "paths").errors
    assert (error.pointer, error.code) == ("/trainingConfig/numNodes", "conflict")
    assert "no network" in error.message
