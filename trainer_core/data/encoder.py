"""Columns of a table as numbers: learnt from the training rows and repeated on all others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from schemas.events import Alert
from schemas.result import Place
from trainer_core.data.columns import Kind
from trainer_core.data.samples import Indices
from trainer_core.data.targets import LARGEST
from trainer_core.failure import Failure

MISSING = "(missing)"


@dataclass(frozen=True)
class Column:
    """One fitted column. ``fill`` replaces what is missing; ``mean`` and ``std`` are 0 and 1 when not standardized."""

    name: str
    kind: Kind
    missing: int = 0
    fill: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    categories: tuple[str, ...] = ()

    @staticmethod
    def fit(column: pd.Series, name: str, kind: Kind, standardize: bool) -> "Column":
        """Learn median, mean and standard deviation, or the categories, from the training rows."""
        missing = int(column.isna().sum())
        if kind == "category":
            return Column(name, kind, missing, categories=tuple(sorted(set(_texts(column)))))
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        fill = float(np.nanmedian(values))
        filled = np.where(np.isnan(values), fill, values)
        # An infinite cell is refused, with its row, when the rows are encoded.
        finite = filled[np.isfinite(filled)]
        if kind == "boolean" or not standardize or finite.size == 0:
            return Column(name, kind, missing, fill)
        std = float(finite.std())
        return Column(name, kind, missing, fill, float(finite.mean()), std if std > 0 else 1.0)

    @property
    def input_names(self) -> list[str]:
        """What its inputs are called: ``age``, or ``colour=red``, ``colour=blue``."""
        return [f"{self.name}={item}" for item in self.categories] if self.kind == "category" else [self.name]

    def encode(self, column: pd.Series, rows: Indices, path: str) -> NDArray[np.float32]:
        """The column as float32, (rows, inputs). Raises ``data_not_finite`` with the row of what is no finite number."""
        if self.kind == "category":
            codes = pd.Index(self.categories).get_indexer(_texts(column))
            one_hot: NDArray[np.float32] = np.equal.outer(codes, np.arange(len(self.categories))).astype(np.float32)
            return one_hot
        values = self._numbers(column, path)
        values = np.where(np.isnan(values), self.fill, values)
        wrong = ~(np.abs(values) <= LARGEST)
        if wrong.any():
            position = int(np.argmax(wrong))
            row = int(rows[position]) + 1
            raise Failure(
                "data_not_finite",
                f"Column {self.name!r} holds {values[position]} in row {row}; float32 ends at {LARGEST:.1e}.",
                next_move="Correct the cell, or leave it empty: an empty cell counts as missing.",
                place=Place(path=path, column=self.name, row=row),
            )
        return ((values - self.mean) / self.std).astype(np.float32)[:, None]

    def _numbers(self, column: pd.Series, path: str) -> NDArray[np.float64]:
        try:
            values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError) as error:
            message = f"Column {self.name!r} holds numbers in the training rows and {column.dtype} in {path}."
            place = Place(path=path, column=self.name)
            raise Failure("data_invalid", message, place=place, detail=str(error)) from error
        return values

    def unseen(self, column: pd.Series) -> int:
        """Cells whose category the training rows do not have."""
        return sum(item not in self.categories for item in _texts(column)) if self.kind == "category" else 0

    def to_json(self) -> dict[str, Any]:
        """What an inference needs to repeat it."""
        if self.kind == "category":
            return {"name": self.name, "kind": self.kind, "categories": list(self.categories), "missingAs": MISSING}
        return {"name": self.name, "kind": self.kind, "median": self.fill, "mean": self.mean, "std": self.std}


def _texts(column: pd.Series) -> list[str]:
    return [MISSING if absent else str(item) for item, absent in zip(column, column.isna(), strict=True)]


@dataclass(frozen=True)
class Encoder:
    """All columns, fitted on the training rows."""

    columns: tuple[Column, ...]

    @staticmethod
    def fit(table: pd.DataFrame, kinds: dict[str, Kind], standardize: bool) -> "Encoder":
        """Learn every column named in ``kinds`` from the rows of ``table``."""
        return Encoder(tuple(Column.fit(table[name], name, kind, standardize) for name, kind in kinds.items()))

    @property
    def input_names(self) -> list[str]:
        """One name per input of the model."""
        return [name for column in self.columns for name in column.input_names]

    @property
    def missing(self) -> dict[str, int]:
        """Column -> missing cells among the training rows."""
        return {column.name: column.missing for column in self.columns if column.missing}

    def encode(self, table: pd.DataFrame, rows: Indices, path: str) -> NDArray[np.float32]:
        """All columns of ``table`` as float32, (rows, inputs); ``rows`` are their numbers in the file, from 0."""
        return np.concatenate([column.encode(table[column.name], rows, path) for column in self.columns], axis=1)

    def alerts(self, sides: list[pd.DataFrame]) -> list[Alert]:
        """Warnings on what was filled in, and on categories that only the validation rows (the second side) have."""
        missing = {column.name: sum(int(side[column.name].isna().sum()) for side in sides) for column in self.columns}
        unseen = {column.name: column.unseen(sides[1][column.name]) for column in self.columns}
        return [
            *_alert(
                "missing_values_filled",
                f"Missing cells were filled, numbers by the median of the training rows, text by {MISSING!r}",
                missing,
                "Fill them yourself, or leave the columns out with dataConfig.features.",
            ),
            *_alert(
                "unseen_categories",
                "Validation rows hold categories that no training row has; their inputs are all 0",
                unseen,
                "Give the training rows samples of these categories.",
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """What an inference needs to repeat it."""
        return {"kind": "table", "columns": [column.to_json() for column in self.columns], "inputs": self.input_names}


def _alert(code: str, message: str, counts: dict[str, int], remedy: str) -> list[Alert]:
    """A warning that lists the columns with a count, or none when there are none."""
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:20])
    return [
        Alert(code=code, level="warning", message=f"{message}: {listed}.", evidence={"columns": counts}, remedy=remedy)
    ]
