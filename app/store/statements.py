"""SQL statements, each under its name, from the files beside this one."""

import re
from pathlib import Path

_STATEMENT = re.compile(r"^-- name: (\w+)\n(.*?;)$", re.MULTILINE | re.DOTALL)


def statements(file: str) -> dict[str, str]:
    """Name to statement, for every ``-- name: NAME`` in ``file``."""
    return dict(_STATEMENT.findall(Path(__file__).with_name(file).read_text()))
