"""What a model file says of itself without being run: its imports, and so its engine."""

import ast
from dataclasses import dataclass
from pathlib import Path

from app.gate.spellings import closest
from schemas.engines import ENGINES, EngineName

MAX_BYTES = 1024 * 1024


class SourceError(Exception):
    """The model file cannot be read as Python; ``line`` where it breaks, when that is known."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


@dataclass(frozen=True)
class ModelSource:
    """A model file, parsed."""

    content: bytes
    libraries: frozenset[str]
    engine: EngineName | None
    builds_dataset: bool


def read_source(path: Path) -> ModelSource:
    """Parse the model file at ``path``. Raises SourceError naming the line, or OSError when it cannot be read."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SourceError("too_large", f"is larger than {MAX_BYTES // 1024} KiB; a model file holds code, not weights")
    try:
        tree = ast.parse(content, filename=path.name)
    except SyntaxError as error:
        where = f" (line {error.lineno})" if error.lineno else ""
        raise SourceError("model_import_failed", f"is not valid Python: {error.msg}{where}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        what = str(error) or "too deeply nested"
        raise SourceError("model_import_failed", f"is not valid Python: {what}") from None
    bound = _imported_names(tree)
    return ModelSource(
        content=content,
        libraries=frozenset(bound.values()),
        engine=_engine(tree, bound),
        builds_dataset=any(isinstance(node, ast.FunctionDef) and node.name == "build_dataset" for node in tree.body),
    )


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
    used = {
        name.id
        for definition in ast.walk(tree)
        if isinstance(definition, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for name in ast.walk(definition)
        if isinstance(name, ast.Name)
    }
    return next((name for name in imported if used & _names_of(bound, ENGINES[name].imports)), imported[-1])


def _names_of(bound: dict[str, str], libraries: tuple[str, ...]) -> set[str]:
    return {name for name, package in bound.items() if package in libraries}
