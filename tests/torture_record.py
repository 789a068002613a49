"""The record of a run of the large tier: which tests have passed, with their figures, so that it can be gone on with."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class TortureRecord:
    """A file of JSON lines, one for each test that passed. Of another commit than the present one nothing counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
        self._commit = head.stdout.strip()

    def passed(self) -> set[str]:
        """The tests that need not be run again."""
        return {entry["test"] for entry in self._entries() if entry["commit"] == self._commit}

    def add(self, test: str, seconds: float, figures: dict[str, Any]) -> None:
        """A test has passed."""
        entry = {"test": test, "commit": self._commit, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({**entry, "seconds": round(seconds, 1), "figures": figures}) + "\n")

    def _entries(self) -> Iterator[dict[str, Any]]:
        if self._path.exists():
            yield from map(json.loads, self._path.read_text().splitlines())
