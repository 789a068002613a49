"""Files that hold a table. What cannot be read is ``data_unreadable``, with the line."""

import json
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from schemas.data import DataFormat
from schemas.result import Place
from trainer_core.failure import Failure

# Every column is looked at and fitted by itself, for about a millisecond.
MOST_COLUMNS = 20_000


def read_csv(path: Path) -> pd.DataFrame:
    """A table with a header line; fields are separated by commas, or by tabs in a ``.tsv`` file."""
    separator = "\t" if ".tsv" in path.suffixes else ","
    try:
        header = pd.read_csv(path, sep=separator, encoding="utf-8-sig", nrows=0)
        check_width(len(header.columns), path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Kept whole: a column read in pieces may end with several types. And without index_col=False pandas takes the
            # first fields of rows that are too long for their names, and shifts all others by a column.
            table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False, index_col=False)
    except pd.errors.ParserWarning as error:
        message = f"The rows of {path.name} have more fields than its header names ({len(header.columns)})."
        next_move = "Name every column in the header."
        place = Place(path=str(path), line=2)
        raise Failure("data_unreadable", message, next_move=next_move, place=place, detail=str(error)) from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        message = f"{path.name} cannot be read or unpacked ({type(error).__name__})."
        raise Failure("data_unreadable", message, place=Place(path=str(path)), detail=str(error)) from error
    except pd.errors.EmptyDataError as error:
        raise Failure("data_empty", f"{path} is empty.", place=Place(path=str(path))) from error
    except pd.errors.ParserError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found.group(1)) if found else None
        where = f"line {line} of {path.name}" if line else path.name
        message = f"{where} does not fit the table: {_reason(error)}."
        place = Place(path=str(path), line=line)
        raise Failure("data_unreadable", message, place=place, detail=str(error)) from error
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    return table


def check_width(columns: int, path: Path) -> None:
    """Raise ``data_invalid`` for a table so wide that its columns would take minutes, one by one."""
    if columns > MOST_COLUMNS:
        raise Failure(
            "data_invalid",
            f"{path.name} has {columns:,} columns; at most {MOST_COLUMNS:,} are read as a table.",
            next_move="Save so many numbers as one array: np.savez(path, x=..., y=...).",
            place=Place(path=str(path)),
        )


def read_jsonl(path: Path) -> pd.DataFrame:
    """A table of one JSON object in each line; empty lines are passed over, and an absent key is a missing cell."""
    rows = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    rows.append(_row(text, path, number))
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    try:
        table = pd.DataFrame.from_records(rows)
    except UnicodeEncodeError as error:
        message = f"{path.name} holds half a surrogate pair ({error.object[error.start]!r}), which is no text."
        raise Failure("data_unreadable", message, place=Place(path=str(path))) from error
    check_width(len(table.columns), path)
    return table


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file."""
    try:
        check_width(len(pyarrow.parquet.read_schema(path).names), path)
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"{path.name} cannot be read as Parquet ({type(error).__name__})."
        raise Failure("data_unreadable", message, place=Place(path=str(path)), detail=str(error)) from error
    for name, column in table.items():
        nested = (
            column.map(lambda cell: isinstance(cell, dict | list | np.ndarray)) if column.dtype == object else column
        )
        if column.dtype == object and nested.any():
            row = int(np.argmax(nested)) + 1
            raise _nested(f"Row {row} of {path.name}", str(name), Place(path=str(path), row=row))
    return table.reset_index(drop=True)


READERS: dict[DataFormat, Callable[[Path], pd.DataFrame]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "jsonl": read_jsonl,
}


def _row(text: str, path: Path, number: int) -> dict[str, object]:
    place = Place(path=str(path), line=number)
    try:
        row = json.loads(text)
    except (RecursionError, OverflowError) as error:
        raise Failure("data_unreadable", f"Line {number} of {path.name} is nested too deep.", place=place) from error
    except json.JSONDecodeError as error:
        message = f"Line {number} of {path.name} is not JSON: {error.msg} at column {error.colno}."
        raise Failure("data_unreadable", message, place=place) from error
    except ValueError as error:
        message = f"Line {number} of {path.name} holds a number of too many digits."
        raise Failure("data_unreadable", message, place=place, detail=str(error)) from error
    if not isinstance(row, dict):
        message = f"Line {number} of {path.name} is a {type(row).__name__}; an object was expected."
        raise Failure("data_unreadable", message, place=place)
    nested = next((name for name, value in row.items() if isinstance(value, dict | list)), None)
    if nested is not None:
        raise _nested(f"Line {number} of {path.name}", nested, place)
    return row


def _nested(where: str, column: str, place: Place) -> Failure:
    message = f"{where} holds a nested value in {column!r}; a table has plain cells."
    place = place.model_copy(update={"column": column})
    return Failure("data_invalid", message, next_move="Flatten the value into columns of its own.", place=place)


def _reason(error: Exception) -> str:
    """``Expected 3 fields in line 5, saw 4`` of the parser's message."""
    return str(error).strip().rsplit("C error: ", maxsplit=1)[-1].rstrip(".")


def _not_text(path: Path, error: UnicodeDecodeError) -> Failure:
    message = f"{path.name} is not UTF-8 text (byte {error.start})."
    return Failure(
        "data_unreadable", message, next_move="Save it as UTF-8.", place=Place(path=str(path)), detail=str(error)
    )
