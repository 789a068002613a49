"""Files that hold a table. What cannot be read is ``data_invalid``, with the line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from schemas.data import DataFormat
from schemas.result import Place
from trainer_core.failure import Failure


def read_csv(path: Path) -> pd.DataFrame:
    """A table with a header line; fields are separated by commas, or by tabs in a ``.tsv`` file."""
    separator = "\t" if ".tsv" in path.suffixes else ","
    try:
        # Kept whole: a column read in pieces may end with several types.
        return pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except pd.errors.EmptyDataError as error:
        raise Failure("data_invalid", f"{path} is empty.", place=Place(path=str(path))) from error
    except pd.errors.ParserError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found.group(1)) if found else None
        where = f"line {line} of {path.name}" if line else path.name
        message = f"{where} does not fit the table: {_reason(error)}."
        place = Place(path=str(path), line=line)
        raise Failure("data_invalid", message, place=place, detail=str(error)) from error
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


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
    return pd.DataFrame.from_records(rows)


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file."""
    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"{path.name} cannot be read as Parquet ({type(error).__name__})."
        raise Failure("data_invalid", message, place=Place(path=str(path)), detail=str(error)) from error


READERS: dict[DataFormat, Callable[[Path], pd.DataFrame]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "jsonl": read_jsonl,
}


def _row(text: str, path: Path, number: int) -> dict[str, object]:
    place = Place(path=str(path), line=number)
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"Line {number} of {path.name} is not JSON: {error.msg} at column {error.colno}."
        raise Failure("data_invalid", message, place=place) from error
    if not isinstance(row, dict):
        message = f"Line {number} of {path.name} is a {type(row).__name__}; an object was expected."
        raise Failure("data_invalid", message, place=place)
    nested = next((name for name, value in row.items() if isinstance(value, dict | list)), None)
    if nested is not None:
        message = f"Line {number} of {path.name} holds a nested value in {nested!r}; a table has plain cells."
        place = place.model_copy(update={"column": nested})
        raise Failure("data_invalid", message, next_move="Flatten the value into columns of its own.", place=place)
    return row


def _reason(error: Exception) -> str:
    """``Expected 3 fields in line 5, saw 4`` of the parser's message."""
    return str(error).strip().rsplit("C error: ", maxsplit=1)[-1].rstrip(".")


def _not_text(path: Path, error: UnicodeDecodeError) -> Failure:
    message = f"{path.name} is not UTF-8 text (byte {error.start})."
    return Failure(
        "data_invalid", message, next_move="Save it as UTF-8.", place=Place(path=str(path)), detail=str(error)
    )
