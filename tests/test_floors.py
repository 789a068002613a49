"""No release of a dependency that is known to be unsafe can be installed beside the project, and CI installs none."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# Below these there are releases with published advisories that concern a service like this one.
FLOORS = {"torch": "2.10", "starlette": "1.3.1", "mlflow": "3.17", "safetensors": "0.8"}


def lowest(requirement: Requirement) -> Version:
    (bound,) = [item.version for item in requirement.specifier if item.operator == ">="]
    return Version(bound)


@pytest.mark.parametrize("name", FLOORS)
def test_the_lowest_release_allowed_and_the_one_installed_are_safe(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [item for item in map(Requirement, project["dependencies"]) if item.name == name]
    (pin,) = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith(f"{name}==")]
    assert lowest(wanted) >= Version(FLOORS[name])
    assert Version(pin.partition("==")[2]) in wanted.specifier
