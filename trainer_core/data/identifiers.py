"""Columns of a table that name its rows instead of describing them: a model learns them by heart, and is asked for others."""

import re

import numpy as np
import pandas as pd

from schemas.events import Alert
from trainer_core.data.columns import Kind

# Rows below which a column whose cells all differ says nothing.
_FEWEST = 10
# Cells that differ although, drawn at random from their range, so many pairs of them were equal: by chance that happens in one
# column of three thousand (exp(-8)), and a measurement, whose values crowd together, has more equal ones.
_PAIRS = 8.0
_NAME = re.compile(r"(?:^|[^a-z])(?:id|ids|uuid|guid|identifier|rowid|index|idx|serial|key)$", re.I)
# A place in time is another in every row too, and describes it.
_TIME = re.compile(r"(?:^|[^a-z])(?:year|month|week|day|hour|minute|second|time|timestamp|date|step|t)$", re.I)


def identifiers(table: pd.DataFrame, kinds: dict[str, Kind]) -> list[str]:
    """Those of the columns named in ``kinds`` that name the rows of ``table``: another text, or another whole number, in
    every row. Whole numbers must lie so close that a measurement had repeated itself, or be called an id. None where no
    other column is left."""
    found = [name for name, kind in kinds.items() if _names_rows(table[name], name, kind)]
    return found if len(found) < len(kinds) else []


def _names_rows(column: pd.Series, name: str, kind: Kind) -> bool:
    if len(column) < _FEWEST or kind == "boolean" or column.isna().any() or not column.is_unique:
        return False
    if kind == "category":
        return True
    values = column.to_numpy(dtype=np.float64)
    if not np.equal(values, np.floor(values)).all():
        return False
    # saleYear is sale_Year, and valid no id.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    apart = float(values.max() - values.min()) + 1
    close = len(values) * (len(values) - 1) / (2 * apart) >= _PAIRS
    return _NAME.search(words) is not None or (close and _TIME.search(words) is None)


def alert_of(names: list[str], rows: int) -> list[Alert]:
    """What to say of columns that name the ``rows``."""
    if not names:
        return []
    listed = ", ".join(repr(name) for name in names[:20])
    return [
        Alert(
            code="identifier_column",
            level="warning",
            message=f"{listed}: another value in each of the {rows} training rows, as identifiers have. What a model learns of "
            "them holds for no other row, and where rows stand in order they give the answer away to the validation rows between.",
            evidence={"columns": names, "rows": rows},
            remedy="Leave them out: name the other columns in dataConfig.features.",
        )
    ]
