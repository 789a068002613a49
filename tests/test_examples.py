"""Every example, as a reader runs it: its script makes the data, the command line trains, one payload comes back."""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("pytorch-trainer")


class Promise(NamedTuple):
    """What an example's README says of its result."""

    status: str
    accuracy: float
    engine: str


PROMISES = {
    "digits": Promise("success", 0.97, "native"),
    "table": Promise("early_stopped", 0.9, "native"),
    "text": Promise("success", 0.8, "native"),
    "estimator": Promise("success", 0.9, "sklearn"),
}
LONGEST_TRAINING_SECONDS = 60


def copy(name: str, folder: Path) -> Path:
    """The example's files, without what earlier runs left in its folder."""
    return shutil.copytree(
        ROOT / "examples" / name, folder / name, ignore=shutil.ignore_patterns("data", "checkpoints")
    )


def prepare(example: Path) -> None:
    """Run the example's script."""
    runpy.run_path(str(example / "prepare_data.py"), run_name="__main__")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROMISES)
def test_a_request_trains_to_what_its_readme_promises(name, tmp_path):
    example = copy(name, tmp_path)
    prepare(example)
    home = tmp_path / "home"
    # One store of MLflow's is enough, and making it takes as long as the smallest training.
    mlflow = f"sqlite:///{home / 'mlflow.db'}" if name == "estimator" else "off"
    environment = {**os.environ, "PT_HOME": str(home), "PT_WORKSPACE": str(example), "PT_MLFLOW_URI": mlflow}
    ended = subprocess.run(
        [COMMAND, "run", "request.json"], cwd=example, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    payload = json.loads(ended.stdout)
    for schema in ("seed.output", "output"):
        document = json.loads((ROOT / "schemas" / "json" / f"{schema}.schema.json").read_text())
        Draft202012Validator(document).validate(payload)
    promise = PROMISES[name]
    assert payload["status"] == promise.status
    assert payload["provenance"]["engine"] == promise.engine
    assert payload["metrics"]["valAccuracy"] >= promise.accuracy
    assert payload["metrics"]["trainingTime"] <= LONGEST_TRAINING_SECONDS
    assert Path(payload["checkpointPath"]).is_relative_to(example / "checkpoints")
    table = example / "checkpoints" / payload["jobId"] / "metrics.csv"
    assert len(table.read_text().splitlines()) == 1 + payload["metrics"]["epochsTrained"]
    assert [tracking["status"] for tracking in payload["tracking"]] == ([] if mlflow == "off" else ["complete"])


@pytest.mark.parametrize("name", PROMISES)
def test_preparing_data_again_changes_nothing(name, tmp_path):
    example = copy(name, tmp_path)
    first, second = (prepare(example) or digest(example / "data") for _ in range(2))
    assert first == second


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below ``folder``."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_example_is_promised_listed_and_explained():
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/request.json")}
    assert folders == set(PROMISES)
    table = (ROOT / "examples" / "README.md").read_text()
    for name in folders:
        assert f"]({name})" in table
        assert 5 <= len((ROOT / "examples" / name / "README.md").read_text().splitlines()) <= 20
