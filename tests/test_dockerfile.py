"""What can be known of the Dockerfile without Docker: what it copies is there and is enough, what it starts runs, and the
health check tells a service that lives from one that does not."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
# Without comments, a line that goes on with the next one joined to it.
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
    if line.strip()
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def said(name: str) -> list[str]:
    """What stands behind each instruction of this name."""
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def environment() -> dict[str, str]:
    """The variables that the runtime stage sets."""
    return dict(part.split("=", 1) for part in " ".join(said("ENV")).split())


def copied() -> list[str]:
    """Files and folders of the repository that go into the image."""
    sources = [rest.split()[:-1] for rest in said("COPY") if not rest.startswith("--from")]
    return [name for names in sources for name in names]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is copied, and nothing else of the repository."""
    folder = tmp_path_factory.mktemp("image")
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_every_stage_and_file_that_is_copied_exists():
    stages = {rest.partition(" AS ")[2] for rest in said("FROM")}
    used = {rest.split()[0].removeprefix("--from=") for rest in said("COPY") if rest.startswith("--from=")}
    assert used <= stages
    assert {"service", "cuda"} <= stages
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in copied():
        assert (ROOT / name).exists(), name
        assert not any(fnmatch(name, pattern) for pattern in ignored), name


def test_the_packages_hold_every_file_that_is_no_module():
    """Migrations, queries and schemas: what is not named would be missing from the image alone."""
    named = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("app", "schemas", "trainer_core"):
        for path in (ROOT / package).rglob("*"):
            below = path.relative_to(ROOT / package)
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            if path.suffix == ".py":
                assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package"
            else:
                assert any(below.match(pattern) for pattern in named.get(package, ())), f"{path} is in no package"


def test_versions_extras_and_ports_are_those_of_the_project():
    (cpu,) = re.findall(r'"torch==(\S+)\+cpu"', TEXT)
    assert f"torch=={cpu}" in (ROOT / "constraints.txt").read_text().splitlines()
    (example,) = re.findall(r"EXTRAS=(\S+) adds", TEXT)
    assert set(example.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    values = environment()
    assert said("EXPOSE") == [values["PT_PORT"]]
    assert json.loads(said("VOLUME")[0]) == [values["PT_HOME"], values["PT_WORKSPACE"]]


def test_it_is_nobody_important_who_runs_it_with_the_tools_at_hand():
    (user,) = said("USER")
    assert user not in ("root", "0")
    (setup,) = [rest for rest in said("RUN") if "apt-get" in rest]
    for wanted in ("bubblewrap", "git", "tini", f"install -d -o {user}"):
        assert wanted in setup
    entry = json.loads(said("ENTRYPOINT")[0])
    assert entry[0] in setup


def test_what_is_copied_is_enough_to_serve_and_the_health_check_tells_life_from_death(image: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "workspace").mkdir()
    here = {"PT_HOST": "127.0.0.1", "PT_PORT": str(port), "PT_HOME": str(tmp_path / "home")}
    here |= {"PT_WORKSPACE": str(tmp_path / "workspace"), "PYTHONPATH": str(image), "PT_WARM": "off"}
    inside = {**os.environ, **environment(), **here, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    program, *arguments = json.loads(said("CMD")[0])
    assert program in PROJECT["project"]["scripts"]
    check = json.loads(said("HEALTHCHECK")[0].partition(" CMD ")[2])

    def health() -> int:
        return subprocess.run(check, env=inside, cwd=tmp_path, capture_output=True, timeout=60).returncode

    where = [
        sys.executable,
        "-c",
        "import app, schemas, trainer_core as t; print(app.__file__, schemas.__file__, t.__file__)",
    ]
    used = subprocess.run(where, env=inside, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert used == [str(image / package / "__init__.py") for package in ("app", "schemas", "trainer_core")]
    assert health() != 0
    with subprocess.Popen(
        [program, *arguments, "--json"], env=inside, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as service:
        try:
            assert service.stdout is not None
            assert json.loads(service.stdout.readline())["url"].endswith(f":{port}")
            assert health() == 0
            service.terminate()
            assert service.wait(30) == 0
        finally:
            service.kill()
    assert health() != 0
