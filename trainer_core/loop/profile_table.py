"""The operations of profiled steps as a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

_ROWS = 30
_LONGEST = 60
_RANGES = ("ProfilerStep", "Optimizer.")


@dataclass(frozen=True)
class OperationRow:
    """One operation: its calls, and milliseconds over all of them. ``own`` is without what it calls in turn, on the run's
    device."""

    name: str
    calls: int
    own: float
    host: float
    device: float


def rows_of(averages: Iterable[Any], device: torch.device) -> list[OperationRow]:
    """The operations of ``torch.profiler.profile.key_averages()``, the one that took the most time first. Ranges that stand for
    whole steps are none."""
    on_device = device.type != "cpu"
    rows = [
        OperationRow(
            name=average.key,
            calls=average.count,
            own=(average.self_device_time_total if on_device else average.self_cpu_time_total) / 1e3,
            host=average.cpu_time_total / 1e3,
            device=average.device_time_total / 1e3,
        )
        for average in averages
        if not average.key.startswith(_RANGES)
    ]
    return sorted(rows, key=lambda row: row.own, reverse=True)


def table_of(rows: list[OperationRow]) -> str:
    """The first ``rows`` as aligned text."""
    total = sum(row.own for row in rows) or 1.0
    cells = [("operation", "calls", "own ms", "share", "host ms", "device ms")]
    cells += [
        (
            row.name[:_LONGEST],
            f"{row.calls:,}",
            f"{row.own:.3f}",
            f"{row.own / total:.1%}",
            f"{row.host:.3f}",
            f"{row.device:.3f}",
        )
        for row in rows[:_ROWS]
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            [f"{line[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in cells
    ]
    more = f"... and {len(rows) - _ROWS} more\n" if len(rows) > _ROWS else ""
    return "\n".join(lines) + "\n" + more
