"""Tables: CSV, Parquet and JSON Lines, a target column and the rest to learn from."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from schemas.data import DataConfig, DataFormat
from schemas.events import Alert
from schemas.problems import PatchOperation
from schemas.request import TrainingRequest
from schemas.result import Place
from trainer_core.data.columns import choose_columns, dates, is_date
from trainer_core.data.encoder import Encoder
from trainer_core.data.identifiers import alert_of, identifiers
from trainer_core.data.samples import ArraySamples, Data, Indices, each_input
from trainer_core.data.split import hold_out
from trainer_core.data.table_files import READERS
from trainer_core.data.targets import FEW, TASK_RULE, TargetCoding, code_column, count_classes, describe
from trainer_core.failure import Failure
from trainer_core.models.file import ModelFile


def load(request: TrainingRequest, format: DataFormat, _model_file: ModelFile) -> Data:
    """Rows as float32: numbers (standardized), booleans, and texts as one column per category.

    What is missing is filled (median; a category of its own) and said. Raises, with line, row or column, ``data_unreadable``,
    ``data_empty``, ``data_column_missing``, ``data_not_finite`` (a target that is missing is, too), ``data_single_class``, and
    ``data_invalid`` for what fits neither table nor task.
    """
    config = request.data_config
    table = _read(config.train_path, format)
    target = _target_name(table, config)
    features = _feature_names(table, config, target)
    place = Place(path=config.train_path, column=target)
    values = target_values(table[target], place)
    coding = code_column(values, request.training_config.meant_task, place)
    targets = coding.encode(values, place)
    warnings = [*_looks_like_classes(values, coding, target), *_lost_digits(values, coding, target)]
    if config.val_path is None:
        labels = None if coding.classes is None else targets
        split = hold_out(len(table), config, request.training_config.seed, labels)
        warnings += split.warnings
        sides = [(table.iloc[rows], targets[rows], rows, config.train_path) for rows in (split.train, split.validation)]
    else:
        sides = [
            (table, targets, np.arange(len(table)), config.train_path),
            _validation_side(config.val_path, format, target, features, coding),
        ]
    columns, notes = choose_columns(sides[0][0][features], sides[0][2], config.train_path)
    named = identifiers(sides[0][0], columns)
    encoder = Encoder.fit(sides[0][0], columns, config.preprocessing.standardize)
    parts = [ArraySamples(encoder.encode(rows, numbers, path), answers) for rows, answers, numbers, path in sides]
    warnings += alert_of(named, len(sides[0][0])) + notes + encoder.alerts([rows for rows, *_ in sides])
    profile = _profile(parts, encoder, coding, target)
    if named:
        profile["identifiers"] = {"columns": named, "others": [name for name in columns if name not in named]}
    preprocessing = {**encoder.to_json(), "target": target, "classes": list(coding.classes) if coding.classes else None}
    return Data(parts[0], parts[1], coding.task, coding.classes, format, profile, preprocessing, warnings)


def _read(path: str, format: DataFormat) -> pd.DataFrame:
    table = READERS[format](Path(path))
    if len(table.columns) < 2:
        message = f"{path} has {len(table.columns)} column(s); a target and at least one feature were expected."
        separated = format == "csv" and len(table.columns) and any(mark in str(table.columns[0]) for mark in ";|\t")
        next_move = "Separate the fields by commas, or by tabs in a .tsv file." if separated else None
        raise Failure("data_invalid", message, next_move=next_move, place=Place(path=path))
    if len(table) == 0:
        raise Failure("data_empty", f"{path} has a header and no rows.", place=Place(path=path))
    return table


def _validation_side(
    path: str, format: DataFormat, target: str, features: list[str], coding: TargetCoding
) -> tuple[pd.DataFrame, NDArray, Indices, str]:
    table = _read(path, format)
    missing = [name for name in [*features, target] if name not in table.columns]
    if missing:
        message = f"{path} lacks columns of the training table: {', '.join(missing)}."
        place = Place(path=path, column=missing[0], pointer="/dataConfig/valPath")
        raise Failure("data_column_missing", message, next_move="Give both tables the same columns.", place=place)
    place = Place(path=path, column=target)
    return table, coding.encode(target_values(table[target], place), place), np.arange(len(table)), path


def _target_name(table: pd.DataFrame, config: DataConfig) -> str:
    if config.target is None:
        return str(table.columns[-1])
    if config.target not in table.columns:
        raise _several_targets(config.target, table, config) or _unknown_column(
            config.target, table, config.train_path, "/dataConfig/target"
        )
    return config.target


def _several_targets(name: str, table: pd.DataFrame, config: DataConfig) -> Failure | None:
    """The failure of a target that names several columns of ``table``: one of them is learnt, and from none of the others."""
    columns = [str(column) for column in table.columns]
    wanted = [part.strip() for part in re.split(r"[,;|+]", name)]
    if len(wanted) < 2 or not all(part in columns for part in wanted):
        return None
    left = [column for column in config.features or columns if column not in wanted]
    fix = [PatchOperation(op="replace", path="/dataConfig/target", value=wanted[0])]
    fix += [PatchOperation(op="add", path="/dataConfig/features", value=left)] if left else []
    return Failure(
        "data_invalid",
        f"dataConfig.target {name!r} names {len(wanted)} columns; a table has one target.",
        next_move=f"Learn one at a time, and none from another, as the fix does for {wanted[0]!r}; or save all as an array y of "
        f"shape (rows, {len(wanted)}) in an .npz file, with the features as x.",
        place=Place(path=config.train_path, column=name, pointer="/dataConfig/target"),
        fix=fix,
    )


def _feature_names(table: pd.DataFrame, config: DataConfig, target: str) -> list[str]:
    if config.features is None:
        return [str(name) for name in table.columns if name != target]
    for number, name in enumerate(config.features):
        if name not in table.columns:
            raise _unknown_column(name, table, config.train_path, f"/dataConfig/features/{number}")
    if target in config.features:
        pointer = f"/dataConfig/features/{config.features.index(target)}"
        raise Failure(
            "data_invalid",
            f"Column {target!r} is the target and stands among the features too: the answer would be given away.",
            place=Place(path=config.train_path, column=target, pointer=pointer),
            fix=[PatchOperation(op="remove", path=pointer)],
        )
    return list(dict.fromkeys(config.features))


def _unknown_column(name: str, table: pd.DataFrame, path: str, pointer: str) -> Failure:
    columns = [str(column) for column in table.columns]
    near = get_close_matches(name, columns, n=1, cutoff=0.5)
    listed = ", ".join(columns[:50]) + (" ..." if len(columns) > 50 else "")
    return Failure(
        "data_column_missing",
        f"{Path(path).name} has no column {name!r}; it has {listed}." + (f" Did you mean {near[0]!r}?" if near else ""),
        next_move=f"Set {pointer} to a column of the table.",
        place=Place(path=path, column=name, pointer=pointer),
        fix=[PatchOperation(op="replace", path=pointer, value=near[0])] if near else None,
    )


def target_values(column: pd.Series, place: Place) -> NDArray:
    """The targets as an array of numbers, booleans or text; ``data_not_finite`` with the row of a missing or infinite one."""
    missing = column.isna().to_numpy()
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise Failure(
            "data_not_finite",
            f"The target {place.column!r} is missing in row {row} ({int(missing.sum())} rows in all). Empty cells and "
            "NA, NaN, null and None count as missing.",
            next_move="Fill or drop these rows: a row without an answer teaches nothing.",
            place=place.model_copy(update={"row": row}),
        )
    if is_date(column):
        raise dates(place)
    values = _plain_array(column)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values))) + 1
        message = f"The target {place.column!r} is infinite in row {row}."
        raise Failure("data_not_finite", message, place=place.model_copy(update={"row": row}))
    return values


def _plain_array(column: pd.Series) -> NDArray:
    """A column without missing cells as int64, float64, bool or text."""
    types = pd.api.types
    if types.is_bool_dtype(column.dtype):
        return np.asarray(column, dtype=bool)
    if types.is_integer_dtype(column.dtype):
        return np.asarray(column, dtype=np.uint64 if types.is_unsigned_integer_dtype(column.dtype) else np.int64)
    if types.is_numeric_dtype(column.dtype):
        return np.asarray(column, dtype=np.float64)
    return np.array([str(item) for item in column])


def _looks_like_classes(values: NDArray, coding: TargetCoding, target: str) -> list[Alert]:
    """Whole numbers that are few, but written as 0.0 and 1.0, may be meant as classes."""
    if coding.task != "regression" or values.dtype.kind != "f" or not np.equal(values, np.floor(values)).all():
        return []
    distinct = len(np.unique(values))
    if distinct > FEW:
        return []
    return [
        Alert(
            code="target_looks_like_classes",
            level="warning",
            message=f"Column {target!r} holds {distinct} whole values, written with a decimal point: it is regressed.",
            evidence={"column": target, "distinct": distinct},
            remedy="If these are classes, set trainingConfig.task to classification.",
        )
    ]


def _lost_digits(values: NDArray, coding: TargetCoding, target: str) -> list[Alert]:
    """Whole numbers that differ, and are the same in float32."""
    if coding.task != "regression" or values.dtype.kind not in "iu":
        return []
    before, after = len(np.unique(values)), len(np.unique(values.astype(np.float32)))
    if before == after:
        return []
    return [
        Alert(
            code="digits_lost",
            level="warning",
            message=f"The {before} distinct whole numbers of the target {target!r} are {after} in float32.",
            evidence={"column": target, "distinct": before, "inFloat32": after},
            remedy="Subtract an offset, or take another target: numbers this long are often identifiers.",
        )
    ]


def _profile(parts: list[ArraySamples], encoder: Encoder, coding: TargetCoding, target: str) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "inputs": each_input(describe, parts[0].inputs),
        "columns": encoder.input_names,
        "missing": encoder.missing,
        "target": target,
        "targets": describe(parts[0].targets),
        "taskRule": TASK_RULE,
    }
    if coding.classes is not None:
        sides = zip(("train", "validation"), parts, strict=True)
        profile["classCounts"] = {name: count_classes(part.targets, coding.classes) for name, part in sides}
    return profile
