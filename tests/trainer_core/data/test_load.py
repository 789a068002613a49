"""Which source reads a path, and what all of them share."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.problems import PatchOperation


def test_a_path_that_is_not_there_names_its_neighbours(refuse, tmp_path: Path):
    (tmp_path / "digits").mkdir()
    error = refuse("digts")
    assert error.code == "data_not_found"
    assert "Near it: digits" in error.message
    assert error.place.pointer == "/dataConfig/trainPath"
    assert error.fix == [PatchOperation(op="replace", path="/dataConfig/trainPath", value=str(tmp_path / "digits"))]
    assert "does not exist either" in refuse("no/where").message
    assert refuse("digits", valPath="vla").place.pointer == "/dataConfig/valPath"


def test_a_suffix_that_says_nothing(refuse, tmp_path: Path):
    (tmp_path / "data.bin").write_bytes(b"x")
    error = refuse("data.bin")
    assert error.code == "data_invalid"
    assert "known are .csv" in error.message


def test_the_format_that_is_given_wins_over_the_suffix(load, tmp_path: Path):
    (tmp_path / "data.txt").write_text("a,y\n1,0\n2,1\n3,0\n4,1\n")
    assert load("data.txt", format="csv", valPath="data.txt").format == "csv"


@pytest.mark.parametrize(("count", "said"), [(999, True), (1000, False)])
def test_few_samples_are_mentioned(load, tmp_path: Path, codes, count, said):
    np.savez(tmp_path / "a.npz", x=np.ones((count, 1)), y=np.arange(count) % 2)
    assert ("small_data" in codes(load("a.npz"))) == said


def test_the_same_request_gives_the_same_samples(load, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.arange(50.0)[:, None], y=np.arange(50) % 2)
    first, again, other = (load("a.npz", training={"seed": seed}) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train.arrays[0], again.train.arrays[0])
    assert not np.array_equal(first.train.arrays[0], other.train.arrays[0])


def test_no_source_of_data_and_no_engine_but_one_needs_torch():
    modules = [f"trainer_core.data.{name}" for name in ("images", "tables", "tensors", "datasets")]
    program = (
        f"import sys\nimport {', '.join([*modules, 'trainer_core.engines.sklearn'])}\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
