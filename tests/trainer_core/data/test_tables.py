"""Tables: what is read, how columns become numbers, and each thing that is refused, with its place."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from schemas.problems import PatchOperation

PEOPLE = "age,city,member,income\n30,Bonn,True,low\n40,Kiel,False,high\n50,Bonn,True,low\n60,Kiel,True,high\n"


def write(path: Path, text: str, name: str = "table.csv") -> str:
    (path / name).write_text(text)
    return name


def test_real_measurements_are_standardized_by_the_training_rows_alone(load, tmp_path: Path):
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_csv(tmp_path / "cancer.csv", index=False)
    data = load("cancer.csv")
    inputs, targets = data.train.arrays
    assert (len(data.train), len(data.validation)) == (455, 114)
    assert (data.task, data.classes, data.format) == ("classification", ("0", "1"), "csv")
    assert (inputs.dtype, targets.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=0), 1, atol=1e-4)
    assert abs(data.validation.arrays[0].mean()) > 1e-4
    assert data.profile["classCounts"]["train"] == {"0": 170, "1": 285}
    json.dumps([data.profile, data.preprocessing], allow_nan=False)


def test_preprocessing_repeats_the_transform(load, tmp_path: Path):
    frame = load_wine(as_frame=True).frame
    frame.to_parquet(tmp_path / "wine.parquet")
    data = load("wine.parquet", valPath="wine.parquet")
    columns = data.preprocessing["columns"]
    by_hand = np.stack([(frame[item["name"]] - item["mean"]) / item["std"] for item in columns], axis=1)
    np.testing.assert_allclose(by_hand, data.validation.arrays[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_gives_the_same_samples(load, tmp_path: Path, suffix):
    frame = load_diabetes(as_frame=True).frame.round(6)
    frame.to_csv(tmp_path / "reference.csv", index=False)
    path = tmp_path / f"table.{suffix}"
    match suffix:
        case "csv" | "tsv":
            frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
        case "parquet":
            frame.to_parquet(path)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=10)
    data, reference = load(path.name), load("reference.csv")
    assert data.task == "regression"
    assert data.classes is None
    np.testing.assert_allclose(data.train.arrays[0], reference.train.arrays[0], rtol=1e-5)
    np.testing.assert_array_equal(data.train.arrays[1], reference.train.arrays[1])
    assert data.train.arrays[1].dtype == np.float32


def test_numbers_booleans_and_texts(load, tmp_path: Path):
    write(tmp_path, PEOPLE)
    data = load("table.csv", valPath="table.csv")
    assert data.profile["columns"] == ["age", "city=Bonn", "city=Kiel", "member"]
    assert data.classes == ("high", "low")
    inputs, targets = data.train.arrays
    np.testing.assert_array_equal(inputs[:, 1:], [[1, 0, 1], [0, 1, 0], [1, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(targets, [1, 0, 1, 0])


def test_not_standardized_when_switched_off(load, tmp_path: Path):
    write(tmp_path, PEOPLE)
    data = load("table.csv", valPath="table.csv", preprocessing={"standardize": False})
    np.testing.assert_array_equal(data.train.arrays[0][:, 0], [30, 40, 50, 60])


def test_features_and_target_are_chosen(load, tmp_path: Path):
    write(tmp_path, PEOPLE)
    data = load("table.csv", valPath="table.csv", features=["city"], target="age", training={"task": "regression"})
    assert data.train.arrays[0].shape == (4, 2)
    np.testing.assert_array_equal(data.train.arrays[1], [30, 40, 50, 60])


def test_missing_cells_are_filled_and_said(load, tmp_path: Path, codes):
    write(tmp_path, "a,b,y\n1,red,0\n,blue,1\n3,,0\n8,red,1\n")
    data = load("table.csv", valPath="table.csv", preprocessing={"standardize": False})
    np.testing.assert_array_equal(data.train.arrays[0][:, 0], [1, 3, 3, 8])
    assert data.profile["columns"] == ["a", "b=(missing)", "b=blue", "b=red"]
    assert data.profile["missing"] == {"a": 1, "b": 1}
    alert = next(alert for alert in data.warnings if alert.code == "missing_values_filled")
    assert alert.evidence == {"columns": {"a": 2, "b": 2}}


def test_columns_that_teach_nothing_are_left_out_and_said(load, tmp_path: Path):
    write(tmp_path, "Unnamed: 0,same,void,a,y\n0,7,,1,x\n1,7,,2,z\n2,7,,5,x\n")
    data = load("table.csv", valPath="table.csv")
    alert = next(alert for alert in data.warnings if alert.code == "columns_dropped")
    assert alert.evidence["columns"] == {
        "Unnamed: 0": "a row number without a name",
        "same": "constant",
        "void": "empty",
    }
    assert data.profile["columns"] == ["a"]


def test_a_category_that_only_validation_has_is_all_zeros(load, tmp_path: Path):
    write(tmp_path, "c,a,y\nred,1,0\nblue,2,1\n", "train.csv")
    write(tmp_path, "c,a,y\ngreen,1,0\nblue,2,1\n", "val.csv")
    data = load("train.csv", valPath="val.csv")
    np.testing.assert_array_equal(data.validation.arrays[0][:, :2], [[0, 0], [1, 0]])
    alert = next(alert for alert in data.warnings if alert.code == "unseen_categories")
    assert alert.evidence == {"columns": {"c": 1}}


@pytest.mark.parametrize(
    ("targets", "task", "wanted"),
    [
        ("a b a", None, ("classification", ("a", "b"))),
        ("True False True", None, ("classification", ("False", "True"))),
        ("10 2 10", None, ("classification", ("2", "10"))),
        ("0.5 1.5 2.0", None, ("regression", None)),
        ("1.0 0.0 1.0", None, ("regression", None)),
        ("1.0 0.0 1.0", "classification", ("classification", ("0", "1"))),
        ("yes no yes", "binary", ("binary", ("no", "yes"))),
        ("3 1 2", "regression", ("regression", None)),
    ],
)
def test_the_task_follows_from_the_targets_unless_it_is_given(load, tmp_path: Path, targets, task, wanted):
    rows = "".join(f"{row},{target}\n" for row, target in enumerate(targets.split()))
    write(tmp_path, f"a,y\n{rows}")
    data = load("table.csv", valPath="table.csv", training={"task": task} if task else {})
    assert (data.task, data.classes) == wanted
    assert data.train.arrays[1].dtype == (np.int64 if data.task == "classification" else np.float32)


def test_more_than_twenty_whole_numbers_are_regressed(load, tmp_path: Path):
    write(tmp_path, "a,y\n" + "".join(f"{row % 7},{row}\n" for row in range(21)))
    assert load("table.csv").task == "regression"


def test_classes_written_with_a_decimal_point_are_suspected(load, tmp_path: Path, codes):
    write(tmp_path, "a,y\n1,0.0\n2,1.0\n3,1.0\n")
    assert "target_looks_like_classes" in codes(load("table.csv", valPath="table.csv"))


REFUSED = [
    ("a,y\n1,0\n2,1,9\n", "data_unreadable", {}, {"line": 3}, "Expected 2 fields in line 3, saw 3"),
    ("a,y\n1,0\n2,\n", "data_not_finite", {}, {"row": 2, "column": "y"}, "target 'y' is missing in row 2"),
    ("a,y\n1,0.5\n2,inf\n", "data_not_finite", {}, {"row": 2, "column": "y"}, "infinite in row 2"),
    ("a,y\n1,0\ninf,1\n3,0\n", "data_not_finite", {}, {"row": 2, "column": "a"}, "'a' holds inf in row 2"),
    ("a,y\n1e39,0\n2,1\n", "data_not_finite", {}, {"row": 1, "column": "a"}, "float32 ends at 3.4e+38"),
    ("a,y\n1,0\n2,0\n", "data_single_class", {}, {"column": "y"}, "one class only (0)"),
    ("a,y\n1,0\n?,1\n3,1\n", "data_invalid", {}, {"row": 2, "column": "a"}, "holds numbers, but '?' in row 2"),
    ("a,y\n", "data_empty", {}, {}, "a header and no rows"),
    ("", "data_empty", {}, {}, "is empty"),
    ("y\n1\n2\n", "data_invalid", {}, {}, "1 column(s)"),
    (
        "a,y\n7,0\n7,1\n",
        "data_invalid",
        {},
        {"pointer": "/dataConfig/features"},
        "No column is left to learn from: a (constant)",
    ),
    ("a,y\n1,x\n2,z\n", "data_invalid", {"training": {"task": "regression"}}, {"column": "y"}, "cannot be regressed"),
    (
        "a,y\n1,x\n2,z\n3,w\n",
        "data_invalid",
        {"training": {"task": "binary"}},
        {"column": "y"},
        "there are 3 classes: w, x, z",
    ),
    (
        "a,y\n1,0.5\n2,1\n",
        "data_invalid",
        {"training": {"task": "classification"}},
        {"row": 1},
        "fractions are no classes",
    ),
]


@pytest.mark.parametrize(("text", "code", "arguments", "place", "message"), REFUSED)
def test_a_table_that_is_refused_names_the_place(refuse, tmp_path: Path, text, code, arguments, place, message):
    write(tmp_path, text)
    error = refuse("table.csv", valPath="table.csv", **arguments)
    assert error.code == code
    assert message in error.message
    found = error.place.model_dump(exclude_none=True)
    assert place.items() <= found.items()
    assert "pointer" in found or found["path"] == str(tmp_path / "table.csv")


def test_rows_are_those_of_the_file_after_a_split_too(refuse, tmp_path: Path):
    rows = ["1,0", "2,1"] * 30
    rows[41] = "inf,1"
    write(tmp_path, "a,y\n" + "\n".join(rows) + "\n")
    assert refuse("table.csv").place.row == 42


def test_an_unknown_column_is_listed_with_its_nearest(refuse, tmp_path: Path):
    write(tmp_path, PEOPLE)
    error = refuse("table.csv", target="incom")
    assert "it has age, city, member, income" in error.message
    assert error.fix == [PatchOperation(op="replace", path="/dataConfig/target", value="income")]
    error = refuse("table.csv", features=["age", "citty"])
    assert error.fix == [PatchOperation(op="replace", path="/dataConfig/features/1", value="city")]
    assert error.place.column == "citty"


def test_the_answer_is_not_given_away(refuse, tmp_path: Path):
    write(tmp_path, PEOPLE)
    error = refuse("table.csv", features=["age", "income"])
    assert error.fix == [PatchOperation(op="remove", path="/dataConfig/features/1")]


def test_text_of_a_hundred_kinds_is_a_category_and_no_more(load, refuse, tmp_path: Path):
    lines = [f"{row},word{row},{row % 2}" for row in range(101)]
    write(tmp_path, "a,b,y\n" + "\n".join(lines[:100]) + "\n")
    assert len(load("table.csv", valPath="table.csv").profile["columns"]) == 101
    write(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n")
    error = refuse("table.csv", valPath="table.csv")
    assert error.place.column == "b"
    assert "101 different texts" in error.message


def test_dates_are_left_to_the_user(refuse, tmp_path: Path):
    days = pd.date_range("2024-01-01", periods=4)
    pd.DataFrame({"a": [1, 2, 3, 4], "day": days, "y": [0, 1, 0, 1]}).to_parquet(tmp_path / "table.parquet")
    error = refuse("table.parquet", valPath="table.parquet")
    assert error.place.column == "day"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"a": 1, "y": 0}\n{"a": 2,\n', 2, "is not JSON"),
        ('{"a": 1, "y": 0}\n\n[1]\n', 3, "an object was expected"),
        ('{"a": {"b": 1}, "y": 0}\n', 1, "nested value in 'a'"),
    ],
)
def test_a_line_that_is_no_object(refuse, tmp_path: Path, text, line, message):
    write(tmp_path, text, "table.jsonl")
    error = refuse("table.jsonl")
    assert error.place.line == line
    assert message in error.message


def test_files_that_are_something_else(refuse, tmp_path: Path):
    (tmp_path / "table.parquet").write_bytes(b"PAR?")
    assert "cannot be read as Parquet" in refuse("table.parquet").message
    (tmp_path / "table.csv").write_bytes(b"a,y\n\xff\xfe,1\n")
    assert "is not UTF-8" in refuse("table.csv").message


def test_validation_needs_the_same_columns_and_classes(refuse, tmp_path: Path):
    write(tmp_path, PEOPLE, "train.csv")
    write(tmp_path, "age,city,income\n30,Bonn,low\n", "short.csv")
    assert "lacks columns of the training table: member" in refuse("train.csv", valPath="short.csv").message
    write(tmp_path, PEOPLE.replace("60,Kiel,True,high", "60,Kiel,True,huge"), "other.csv")
    error = refuse("train.csv", valPath="other.csv")
    assert "Classes huge are not among those of the training samples: high, low" in error.message
    assert error.place.row == 4


@pytest.mark.parametrize("name", ["age,city", "age; city", "age|city"])
def test_several_target_columns_are_learnt_one_at_a_time_and_none_from_another(load, refuse, tmp_path: Path, name):
    table = write(tmp_path, PEOPLE)
    error = refuse(table, target=name)
    assert (error.code, error.place.pointer) == ("data_invalid", "/dataConfig/target")
    assert "names 2 columns" in error.message
    fix = {move.path: move.value for move in error.fix}
    assert fix == {"/dataConfig/target": "age", "/dataConfig/features": ["member", "income"]}
    assert load(table, target="age", features=["member", "income"]).preprocessing["target"] == "age"


def test_a_comma_in_the_name_of_a_target_is_a_comma(load, tmp_path: Path):
    frame = pd.DataFrame({"a": range(4), "b": range(4), "a,b": [0, 1, 0, 1]})
    frame.to_csv(tmp_path / "comma.csv", index=False)
    assert load("comma.csv", target="a,b").preprocessing["target"] == "a,b"
