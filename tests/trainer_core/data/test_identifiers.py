"""Columns that name the rows of a table are told from those that describe them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

ROWS = 120
COLUMNS = {
    "row numbers": ("n", np.arange(ROWS)),
    "row numbers as fractions": ("n", np.arange(ROWS) + 0.0),
    "numbers in any order": ("code", np.random.default_rng(0).permutation(3 * ROWS)[:ROWS]),
    "an id": ("customer_id", np.random.default_rng(0).integers(0, 10**9, ROWS)),
    "an id in one word": ("PassengerId", 7919 * np.arange(ROWS) % 1_000_003),
}
OTHERS = {
    "a year": ("year", np.arange(ROWS) + 1900),
    "a year in one word": ("saleYear", np.arange(ROWS) + 1900),
    "whole measurements far apart": ("price", np.random.default_rng(1).integers(10**4, 10**6, ROWS)),
    "a measurement that ends like an id": ("paid", np.random.default_rng(1).integers(10**4, 10**6, ROWS)),
    "numbers that come twice": ("n", np.arange(ROWS) // 2),
    "an id that comes twice": ("id", np.arange(ROWS) // 2),
    "fractions": ("id", np.arange(ROWS) + 0.5),
    "missing cells": ("id", np.where(np.arange(ROWS) == 3, np.nan, np.arange(ROWS))),
    "texts that come twice": ("city", np.array([f"town {row % 40}" for row in range(ROWS)])),
}


def table_with(name: str, values: object) -> pd.DataFrame:
    generator = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "size": generator.normal(size=ROWS),
            name: values,
            "weight": generator.normal(size=ROWS),
            "y": np.arange(ROWS) % 2,
        }
    )


@pytest.mark.parametrize(("name", "values"), COLUMNS.values(), ids=COLUMNS.keys())
def test_it_is_said_with_the_columns_that_are_left(load, codes, tmp_path: Path, name, values):
    table_with(name, values).to_csv(tmp_path / "t.csv", index=False)
    data = load("t.csv")
    assert codes(data).count("identifier_column") == 1
    assert data.profile["identifiers"] == {"columns": [name], "others": ["size", "weight"]}
    again = load("t.csv", features=data.profile["identifiers"]["others"])
    assert "identifier_column" not in codes(again)
    assert "identifiers" not in again.profile


@pytest.mark.parametrize(("name", "values"), OTHERS.values(), ids=OTHERS.keys())
def test_what_describes_a_row_is_no_identifier(load, codes, tmp_path: Path, name, values):
    table_with(name, values).to_csv(tmp_path / "t.csv", index=False)
    assert "identifier_column" not in codes(load("t.csv"))


def test_texts_that_all_differ_are_said_and_too_many_of_them_are_left_out_by_the_fix(
    load, refuse, codes, tmp_path: Path
):
    table = table_with("name", [f"person {row}" for row in range(ROWS)])
    table["note"] = table["name"] + "!"
    table = table[["size", "name", "weight", "note", "y"]]
    table[:80].to_csv(tmp_path / "few.csv", index=False)
    table.to_csv(tmp_path / "many.csv", index=False)
    assert load("few.csv", valPath="few.csv").profile["identifiers"]["columns"] == ["name", "note"]
    error = refuse("many.csv", valPath="few.csv")
    assert "and so do note" in error.message
    ((path, left),) = [(move.path, move.value) for move in error.fix]
    assert (path, left) == ("/dataConfig/features", ["size", "weight"])
    assert codes(load("many.csv", features=left)) == codes(load("few.csv", features=left))


def test_the_only_column_is_not_left_out(load, codes, tmp_path: Path):
    table_with("n", np.arange(ROWS))[["n", "y"]].to_csv(tmp_path / "t.csv", index=False)
    assert "identifier_column" not in codes(load("t.csv"))


@pytest.mark.parametrize("read", [load_breast_cancer, load_wine, load_diabetes, load_digits, load_iris])
def test_no_column_of_real_measurements_is_taken_for_one(load, codes, tmp_path: Path, read):
    frame = read(as_frame=True).frame
    frame.to_parquet(tmp_path / "t.parquet")
    frame.sample(frac=0.2, random_state=0).to_parquet(tmp_path / "few.parquet")
    assert "identifier_column" not in codes(load("t.parquet")) + codes(load("few.parquet"))


@pytest.mark.parametrize("rows", [40, 600, 6000])
def test_no_column_of_a_census_is_taken_for_one(load, codes, tmp_path: Path, rows):
    """Made like the blocks of the California census: whole numbers of people, rooms and dollars, far apart where rows are few."""
    generator = np.random.default_rng(rows)
    columns = {
        "MedInc": generator.lognormal(1.2, 0.5, rows).round(4),
        "HouseAge": generator.integers(1, 53, rows),
        "TotalRooms": generator.lognormal(7.6, 0.8, rows).astype(int),
        "Population": generator.lognormal(7.0, 0.8, rows).astype(int),
        "Households": generator.lognormal(6.0, 0.7, rows).astype(int),
        "Latitude": generator.uniform(32, 42, rows).round(2),
        "Rent": 100 * generator.lognormal(3.0, 0.4, rows).astype(int),
        "MedHouseVal": generator.lognormal(12.0, 0.5, rows),
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    assert "identifier_column" not in codes(load("t.parquet"))
