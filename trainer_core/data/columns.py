"""What each column of a table is: a number, a boolean or a category; and which ones teach nothing."""

import re
from typing import Literal

import numpy as np
import pandas as pd

from schemas.events import Alert
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.data.samples import Indices
from trainer_core.failure import Failure

MOST_CATEGORIES = 100

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]|$)")
_EXACT = 2**53

Kind = Literal["number", "boolean", "category"]


def choose_columns(table: pd.DataFrame, rows: Indices, path: str) -> tuple[dict[str, Kind], list[Alert]]:
    """The kind of each column that teaches something; empty, constant and index columns are left out, with a warning.

    ``rows`` are the row numbers of ``table`` in its file, from 0. Raises ``data_invalid`` naming the column: dates, text
    of more than 100 kinds, numbers with words among them, and when no column is left.
    """
    kinds: dict[str, Kind] = {}
    dropped: dict[str, str] = {}
    texts: list[str] = []
    for name in table.columns:
        reason = _useless(table[name], str(name))
        if reason:
            dropped[str(name)] = reason
            continue
        kind = _kind(table[name], rows, Place(path=path, column=str(name)))
        if kind == "category" and table[name].nunique() > MOST_CATEGORIES:
            texts.append(str(name))
        else:
            kinds[str(name)] = kind
    if texts:
        raise _many_texts(table, texts, list(kinds), path)
    if not kinds:
        message = f"No column is left to learn from: {_listed(dropped)}."
        raise Failure("data_invalid", message, place=Place(path=path, pointer="/dataConfig/features"))
    notes = _long_numbers(table, kinds)
    if not dropped:
        return kinds, notes
    alert = Alert(
        code="columns_dropped",
        level="warning",
        message=f"{len(dropped)} columns were left out: {_listed(dropped)}.",
        evidence={"columns": dropped},
        remedy="Name the columns to learn from in dataConfig.features.",
    )
    return kinds, [alert, *notes]


def _long_numbers(table: pd.DataFrame, kinds: dict[str, Kind]) -> list[Alert]:
    """Whole numbers beyond 2^53 are not told apart in float64, let alone in what the model gets."""
    names = [
        name
        for name, kind in kinds.items()
        if kind == "number"
        and pd.api.types.is_integer_dtype(table[name].dtype)
        and (table[name].max() > _EXACT or table[name].min() < -_EXACT)
    ]
    if not names:
        return []
    return [
        Alert(
            code="digits_lost",
            level="warning",
            message=f"Whole numbers beyond 2^53 lose their last digits: {', '.join(names[:20])}.",
            evidence={"columns": names},
            remedy="Numbers this long are often identifiers: leave them out with dataConfig.features.",
        )
    ]


def _listed(dropped: dict[str, str]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in list(dropped.items())[:20])


def _useless(column: pd.Series, name: str) -> str | None:
    present = column.dropna()
    if present.empty:
        return "empty"
    if present.nunique() == 1 and len(present) == len(column):
        return "constant"
    if name.startswith("Unnamed: ") and present.is_monotonic_increasing and present.is_unique:
        return "a row number without a name"
    return None


def _kind(column: pd.Series, rows: Indices, place: Place) -> Kind:
    types = pd.api.types
    if types.is_bool_dtype(column.dtype) and not column.isna().any():
        return "boolean"
    if is_date(column):
        raise dates(place)
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        return "number"
    _check_no_numbers(column, rows, place)
    return "category"


def _many_texts(table: pd.DataFrame, names: list[str], others: list[str], path: str) -> Failure:
    """The failure of columns of more texts than categories may be; the fix names the ``others``."""
    column = table[names[0]]
    more = f" (and so do {', '.join(names[1:20])})" if len(names) > 1 else ""
    return Failure(
        "data_invalid",
        f"Column {names[0]!r} holds {column.nunique()} different texts (such as {str(column.dropna().iloc[0])[:40]!r}); at most "
        f"{MOST_CATEGORIES} are taken as categories{more}.",
        next_move="Leave it out with dataConfig.features, or turn it into numbers with build_dataset in the model file.",
        place=Place(path=path, column=names[0]),
        fix=[PatchOperation(op="add", path="/dataConfig/features", value=others)] if others else None,
    )


def is_date(column: pd.Series) -> bool:
    """Whether ``column`` holds dates, as such or written as 2026-01-31 (with or without a time) in every cell."""
    types = pd.api.types
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return True
    if types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype):
        return False
    present = column.dropna()
    return not present.empty and all(_DATE.match(str(item)) for item in present)


def dates(place: Place) -> Failure:
    """The failure of a column of dates."""
    message = (
        f"Column {place.column!r} holds dates: how they become numbers (days since, weekday, month) is yours to say."
    )
    next_move = "Leave it out with dataConfig.features, or replace it by number columns."
    return Failure("data_invalid", message, next_move=next_move, place=place)


def _check_no_numbers(column: pd.Series, rows: Indices, place: Place) -> None:
    """Text of which more than half reads as numbers is a column of numbers with a stray word in it."""
    present = column.dropna().astype(str)
    numbers = pd.to_numeric(present, errors="coerce")
    stray = numbers.isna().to_numpy()
    if not stray.any() or stray.mean() >= 0.5:
        return
    position = int(np.flatnonzero(column.notna().to_numpy())[np.argmax(stray)])
    row = int(rows[position]) + 1
    raise Failure(
        "data_invalid",
        f"Column {place.column!r} holds numbers, but {present.iloc[int(np.argmax(stray))][:40]!r} in row {row} "
        f"({int(stray.sum())} such cells in all).",
        next_move="Correct the cell, or leave it empty: an empty cell counts as missing.",
        place=place.model_copy(update={"row": row}),
    )
