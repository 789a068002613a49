"""What commands print: JSON or tables on standard output, remarks on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from app.cli.exits import refuse


def write_json(document: Any) -> None:
    """The document alone, indented, on standard output."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=not utf8), flush=True)


def write_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under titles. Long cells fold on a terminal and stay whole in a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)


def remark(text: str) -> None:
    """A line for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def read_request(name: str) -> bytes:
    """The bytes of a request file, or of standard input for ``-``. The service judges them, not the client."""
    if name == "-":
        return sys.stdin.buffer.read()
    path = Path(name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise refuse(
            "not_found" if isinstance(error, FileNotFoundError) else "unreadable",
            "The request file cannot be read",
            f"{path.absolute()}: {error.strerror}. Give the path of a JSON file, or - for standard input.",
        ) from error
