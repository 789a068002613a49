"""What a model file says of itself without being run: its imports, and so its engine, and what it defines."""

import ast
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.foreign_files import open_foreign
from app.gate.model_names import Names, find_names
from app.gate.spellings import closest
from schemas.engines import ENGINES, EngineName

MAX_BYTES = 1024 * 1024

# A file up to this size is parsed in a tenth of a second, whatever it holds; a larger one in a process of its own.
_PARSED_HERE_BYTES = 16 * 1024
_PARSE_SECONDS = 5
_PARSE_MEMORY = 1 << 30


class SourceError(Exception):
    """The model file cannot be read as Python; ``line`` where it breaks, when that is known."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


@dataclass(frozen=True)
class ModelSource:
    """A model file, parsed. ``names`` are those that it binds at its top level."""

    content: bytes
    libraries: frozenset[str]
    engine: EngineName | None
    names: Names

    @property
    def builds_dataset(self) -> bool:
        """Whether it reads the data itself."""
        return "build_dataset" in self.names.bound


def read_source(path: Path) -> ModelSource:
    """Parse the model file at ``path``, which has no link in it: one that has come since it was resolved is not followed.

    Raises SourceError naming the line, or OSError when it cannot be read.
    """
    with open_foreign(path) as file:
        if os.path.realpath(f"/proc/self/fd/{file.fileno()}") != str(path):
            raise SourceError("not_found", "leads elsewhere than a moment ago")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SourceError("too_large", f"is larger than {MAX_BYTES // 1024} KiB; a model file holds code, not weights")
    said = _outline(content) if len(content) <= _PARSED_HERE_BYTES else _outline_apart(content)
    if "code" in said:
        raise SourceError(said["code"], said["message"], said["line"])
    return ModelSource(content, frozenset(said["libraries"]), said["engine"], Names.from_json(said["names"]))


def _outline(content: bytes) -> dict[str, Any]:
    """What a model file says of itself, or what is wrong with it, as JSON."""
    try:
        return _outline_of_tree(_parse(content))
    except SourceError as error:
        return {"code": error.code, "message": str(error), "line": error.line}


@lru_cache(maxsize=8)
def _outline_apart(content: bytes) -> dict[str, Any]:
    """As ``_outline``, in a process with limits of its own: Python's parser needs minutes for some files of a mebibyte
    (100,000 replacement fields in an f-string), and while it parses, this process would answer nobody."""
    command = [sys.executable, "-P", "-m", "app.gate.model_source"]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, input=content, capture_output=True, timeout=_PARSE_SECONDS * 4, check=False)
        if done.returncode == 0:
            said: dict[str, Any] = json.loads(done.stdout)
            return said
    message = f"takes Python more than {_PARSE_SECONDS} s or {_PARSE_MEMORY >> 20} MiB to parse; make it smaller"
    return {"code": "model_import_failed", "message": message, "line": None}


def _parse(content: bytes) -> ast.Module:
    try:
        return ast.parse(content)
    except SyntaxError as error:
        where = f" (line {error.lineno})" if error.lineno else ""
        raise SourceError("model_import_failed", f"is not valid Python: {error.msg}{where}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        what = str(error) or "too deeply nested"
        raise SourceError("model_import_failed", f"is not valid Python: {what}") from None


def _outline_of_tree(tree: ast.Module) -> dict[str, Any]:
    bound = _imported_names(tree)
    return {
        "libraries": sorted(set(bound.values())),
        "engine": _engine(tree, bound),
        "names": find_names(tree).to_json(),
    }


def near_library(libraries: frozenset[str]) -> EngineName | None:
    """The engine whose library is spelt nearly as one of ``libraries``."""
    names = {library: name for name, entry in ENGINES.items() for library in entry.imports}
    found = next((near for library in sorted(libraries) if (near := closest(library, names))), None)
    return names[found] if found else None


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Name bound by an import, at any depth -> the top-level package it came from."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.partition(".")[0]
                bound[alias.asname or package] = package
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package = node.module.partition(".")[0]
            bound |= {alias.asname or alias.name: package for alias in node.names}
    return bound


def _engine(tree: ast.Module, bound: dict[str, str]) -> EngineName | None:
    """The engine whose library is imported; of several, the first in the table that a class or function uses."""
    imported: list[EngineName] = [
        name for name, entry in ENGINES.items() if not bound.keys().isdisjoint(_names_of(bound, entry.imports))
    ]
    if len(imported) < 2:
        return imported[0] if imported else None
    used = _names_in_definitions(tree)
    return next((name for name in imported if used & _names_of(bound, ENGINES[name].imports)), imported[-1])


def _names_in_definitions(tree: ast.Module) -> set[str]:
    """Names used inside a class or function, each node looked at once however deep the definitions are nested."""
    used: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        inside = inside or isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if inside and isinstance(node, ast.Name):
            used.add(node.id)
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]
    return used


def _names_of(bound: dict[str, str], libraries: tuple[str, ...]) -> set[str]:
    return {name for name, package in bound.items() if package in libraries}


def _main() -> None:
    """The process of its own: a model file on standard input, its outline on standard output."""
    resource.setrlimit(resource.RLIMIT_CPU, (_PARSE_SECONDS, _PARSE_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_PARSE_MEMORY, _PARSE_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(_outline(sys.stdin.buffer.read()), sys.stdout)


if __name__ == "__main__":
    _main()
