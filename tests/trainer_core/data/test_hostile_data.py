"""Data files of every kind that is wrong: each is refused with its place and what to do; none hangs, none is guessed at."""

import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
Y = np.arange(20) % 2


def cells(template: str) -> str:
    """A table ``x,y`` of 20 rows made from a template of row number i and class c."""
    return "x,y\n" + "".join(template.format(i=i, c=i % 2, big=2**63 + i) + "\n" for i in range(20))


TABLES: dict[str, tuple[str, str | bytes, str, str]] = {
    "semicolons": ("a.csv", cells("{i};{c}").replace(",", ";"), "data_invalid", "1 column"),
    "more fields than names": ("a.csv", cells("{i},{c},7"), "data_unreadable", "more fields than its header names"),
    "dates as text": ("a.csv", cells("2020-01-{i:02d},{c}").replace("-00", "-30"), "data_invalid", "holds dates"),
    "target beyond float32": ("a.csv", cells("{i},{i}.5e300"), "data_not_finite", "float32 ends at"),
    "no gzip": ("a.csv.gz", "plain", "data_unreadable", "cannot be read or unpacked (BadGzipFile)"),
    "too wide": ("a.csv", ",".join(map(str, range(20_001))) + "\n", "data_invalid", "20,001 columns"),
    "too many digits": ("a.jsonl", '{"x":' + "9" * 5000 + ',"y":1}\n', "data_unreadable", "too many digits"),
    "too deep": ("a.jsonl", "[" * 100_000 + "\n", "data_unreadable", "nested too deep"),
    "half a pair": ("a.jsonl", '{"x":"\\ud800","y":1}\n' * 20, "data_unreadable", "half a surrogate pair"),
}


@pytest.mark.parametrize(("name", "content", "code", "message"), TABLES.values(), ids=TABLES.keys())
def test_a_table_is_refused(refuse, tmp_path: Path, name, content, code, message):
    (tmp_path / name).write_text(content)
    error = refuse(name)
    assert error.code == code
    assert message in error.message
    assert error.place.path == str(tmp_path / name)


def test_semicolons_are_recognised(refuse, tmp_path: Path):
    (tmp_path / "a.csv").write_text("x;y\n1;2\n")
    assert "by commas" in refuse("a.csv").next_move


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[i] for i in range(20)], "nested value in 'x'"),
        ([{"a": i} for i in range(20)], "nested value in 'x'"),
        (pd.date_range("2020", periods=20), "holds dates"),
    ],
)
@pytest.mark.parametrize("target", ["x", "y"])
def test_cells_of_parquet_that_are_no_cells(refuse, tmp_path: Path, column, message, target):
    pd.DataFrame({"x": column, "y": Y}).to_parquet(tmp_path / "a.parquet")
    error = refuse("a.parquet", target=target)
    assert error.code == "data_invalid"
    assert message in error.message


def test_columns_of_one_name_and_decimals(refuse, load, tmp_path: Path):
    table = pa.table([pa.array(X[:, 0]), pa.array(X[:, 1]), pa.array(Y)], names=["x", "x", "y"])
    pyarrow.parquet.write_table(table, tmp_path / "twice.parquet")
    assert refuse("twice.parquet").code == "data_unreadable"
    pd.DataFrame({"x": [Decimal(i % 7) for i in range(20)], "y": Y}).to_parquet(tmp_path / "decimals.parquet")
    assert load("decimals.parquet").task == "classification"


def test_long_whole_numbers_are_said_and_not_wrapped(load, codes, tmp_path: Path):
    (tmp_path / "target.csv").write_text(cells("{i},{big}").replace(",9", ",1", 1))
    data = load("target.csv", training={"task": "regression"})
    assert (data.train.arrays[1] > 0).all(), "a number beyond 2^63 is not negative"
    assert "digits_lost" in codes(data)
    (tmp_path / "input.csv").write_text(cells("{big},{c}"))
    assert "digits_lost" in codes(load("input.csv"))


ARRAYS = {
    "no features": ({"x": X[:, :0], "y": Y}, "data_invalid", "no samples of numbers"),
    "complex targets": ({"x": X, "y": Y + 1j}, "data_invalid", "no samples of numbers"),
    "dates": ({"x": X, "y": Y.astype("datetime64[D]")}, "data_invalid", "no samples of numbers"),
    "records": ({"x": X, "y": np.zeros(20, dtype=[("a", int)])}, "data_invalid", "no samples of numbers"),
    "texts in rows": ({"x": X, "y": np.array([["a", "b"]] * 20)}, "data_invalid", "one class a sample"),
    "inputs beyond float32": ({"x": X.astype(float) * 1e300, "y": Y}, "data_not_finite", "such values in all"),
    "class of a billion": ({"x": X, "y": Y * 10**9}, "data_invalid", "holds 1000000000 in row 2 (index [1])"),
    "class beyond 2^63": (
        {"x": X, "y": Y.astype(np.uint64) + np.uint64(2**63)},
        "data_invalid",
        "holds 9223372036854775808 in row 1",
    ),
    "all ignored": ({"x": X, "y": np.full(20, -100)}, "data_invalid", "Every target is -100"),
    "negative in a sequence": (
        {"x": X, "y": np.where(np.eye(20, 6) > 0, -1, 1)},
        "data_invalid",
        "holds -1 in row 1 (index [0, 0])",
    ),
}


@pytest.mark.parametrize(("arrays", "code", "message"), ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_are_refused(refuse, tmp_path: Path, arrays, code, message):
    np.savez(tmp_path / "a.npz", **arrays)
    error = refuse("a.npz")
    assert error.code == code
    assert message in error.message


@pytest.mark.parametrize(("task", "targets"), [("classification", Y - 1), ("binary", Y * 2)])
def test_targets_of_validation_are_looked_at_too(refuse, tmp_path: Path, task, targets):
    np.savez(tmp_path / "train.npz", x=X, y=Y)
    np.savez(tmp_path / "val.npz", x=X, y=targets)
    error = refuse("train.npz", valPath="val.npz", training={"task": task})
    assert error.code == "data_invalid"
    assert error.place.path == str(tmp_path / "val.npz")


def test_damage_inside_an_archive(refuse, tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[100:104] = b"zzzz"
    path.write_bytes(content)
    assert "cannot be read as npz" in refuse("a.npz").message
    with path.open("wb") as file:
        np.save(file, X)
    assert "cannot be read as npz" in refuse("a.npz").message


def test_an_ignored_class_number_is_no_class(load, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=X, y=np.where(np.arange(20) == 3, 255, Y))
    data = load("a.npz", training={"lossArgs": {"ignore_index": 255}})
    assert data.classes == ("0", "1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of two pictures."""
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path / "pictures"


def test_a_pipe_among_pictures_is_not_waited_for(load, codes, pictures: Path):
    os.mkfifo(pictures / "a" / "pipe.png")
    assert "files_skipped" in codes(load("pictures"))


def test_a_pipe_for_data_is_not_waited_for(refuse, tmp_path: Path):
    os.mkfifo(tmp_path / "a.csv")
    assert "neither a file nor a folder" in refuse("a.csv").message


def test_a_name_that_is_no_text_can_still_be_told(refuse, pictures: Path):
    os.mkdir(os.fsencode(pictures) + b"/c\xff")
    error = refuse("pictures")
    assert r"'c\udcff'" in error.message
    assert error.model_dump_json()
