"""The paths of a request: inside the workspace, symlinks followed, and there."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as File
from typing import Any

from app.gate.model_source import ModelSource, SourceError, near_library, read_source
from app.gate.newest_run import newest_run
from app.gate.patches import Path, look, opened, pointer, remove, replace
from app.gate.request_errors import named, said, wrong
from app.gate.spellings import closest
from app.settings import Settings
from schemas.checkpointing import BEST, LATEST
from schemas.data import FORMATS, SUFFIXES, DataFormat, format_of_file
from schemas.engines import ENGINES, EngineName
from schemas.problems import RequestError

MODEL = ("modelPath",)
DATA = (("dataConfig", "trainPath"), ("dataConfig", "valPath"))
# A path, or an object with one.
WEIGHTS = (("modelConfig", "weights"), ("modelConfig", "weights", "path"))
SAVE = ("checkpointConfig", "saveDir")
RESUME = ("checkpointConfig", "resumeFrom")

# How many folder entries a search for a near name looks at.
_SEARCHED = 2000


@dataclass(frozen=True)
class Found:
    """What the paths of a request lead to. ``document`` has absolute paths wherever they could be resolved; ``engine`` and
    ``format`` are None where nothing says them."""

    document: dict[str, Any]
    errors: list[RequestError]
    source: ModelSource | None
    engine: EngineName | None
    format: DataFormat | None


class Outside(Exception):
    """A path that leads out of the folders that a request may name."""


class Paths:
    """Resolves the paths of requests. Reads names and the model file, never the data."""

    def __init__(self, settings: Settings) -> None:
        self._workspace = File(os.path.realpath(settings.workspace))
        # A payload's checkpointPath may lie in a job's own folder, and is there to be resumed from.
        self._jobs = File(os.path.realpath(settings.jobs))

    def check(self, document: dict[str, Any]) -> Found:
        """Resolve and look at every path of ``document``; places that are absent or no text are passed over."""
        errors: list[RequestError] = []
        resolved: dict[Path, str] = {}
        source = None
        for path in (MODEL, *WEIGHTS, *DATA, SAVE, RESUME):
            text = look(document, path)
            if not isinstance(text, str) or not text or (path == RESUME and text == LATEST):
                continue
            try:
                file = self._inside(text, path)
            except Outside as outside:
                errors.append(self._outside(path, text, outside))
                continue
            resolved[path] = str(file)
            if path == MODEL:
                source = self._model(file, text, errors)
            elif path == SAVE:
                errors += self._save_folder(file, text)
            elif path != RESUME or _is_first_node(document):
                errors += self._existing(path, file, text)
        errors += self._newest(document, resolved, errors)
        format = self._format(document, resolved, source, errors)
        engine = self._engine(document, source, errors)
        return Found(_with(document, resolved), errors, source, engine, format)

    def _newest(
        self, document: dict[str, Any], resolved: dict[Path, str], errors: list[RequestError]
    ) -> Iterator[RequestError]:
        """Put the run that "latest" means now in its place: when the job begins another may be the latest.

        Each job has a folder of its own: without a folder in common there is no latest checkpoint to go on from; nor
        with one that is wrong, whose fix takes it out.
        """
        if look(document, RESUME) != LATEST or not _is_first_node(document):
            return
        save, fix, found = resolved.get(SAVE), [remove(RESUME)], None
        if save is None or any(error.pointer == pointer(SAVE) and error.fix for error in errors):
            message = f'{named(RESUME)} is "latest", and there is no {named(SAVE)} to look for checkpoints in.'
            expected = f"a run's folder, or {named(SAVE)} beside it"
            yield wrong(RESUME, "conflict", message, got=LATEST, expected=expected, fix=fix)
            return
        with suppress(Outside):
            newest = newest_run(File(save))
            found = newest and self._inside(str(newest), RESUME)
        if found is None:
            text = look(document, SAVE)
            message = f'{named(RESUME)} is "latest", and there is no checkpoint under {said(text)} ({named(SAVE)}).'
            yield wrong(RESUME, "not_found", message, got=LATEST, expected="a checkpoint to go on from", fix=fix)
        else:
            resolved[RESUME] = str(found)

    def _inside(self, text: str, path: Path) -> File:
        if "\0" in text:
            raise Outside("holds a NUL character")
        file = File(os.path.realpath(self._workspace / text))
        roots = (self._workspace, self._jobs) if path in (RESUME, *WEIGHTS) else (self._workspace,)
        if not any(file.is_relative_to(root) for root in roots):
            raise Outside("leads out of the workspace")
        return file

    def _outside(self, path: Path, text: str, outside: Outside) -> RequestError:
        searched = path not in (SAVE, RESUME) and "\0" not in text
        near = self._same_name(File(text).name, folders=path != MODEL) if searched else None
        return wrong(
            path,
            "outside_workspace",
            f"{named(path)} is {said(text)}, which {outside}; paths are relative to it and stay inside.",
            got=text,
            expected="a path inside the workspace",
            suggestion=near,
            fix=self._fix(path, near),
        )

    def _fix(self, path: Path, near: str | None) -> Any:
        if near is not None:
            return [replace(path, near)]
        return [remove(path)] if path == SAVE else None

    def _model(self, file: File, text: str, errors: list[RequestError]) -> ModelSource | None:
        if not os.path.isfile(file):
            errors.append(self._missing(MODEL, text, "a Python file" if os.path.exists(file) else "", folders=False))
            return None
        try:
            return read_source(file)
        except SourceError as error:
            message = f"The model file {said(text)} {error}."
            errors.append(wrong(MODEL, error.code, message, got=text, expected="a Python file that parses"))
        except OSError as error:
            errors.append(self._unreadable(MODEL, text, error))
        return None

    def _existing(self, path: Path, file: File, text: str) -> Iterator[RequestError]:
        if not os.path.exists(file):
            yield self._missing(path, text, "", folders=True)
        elif path == RESUME and not os.path.isdir(file) and file.name not in (BEST, LATEST):
            yield self._missing(path, text, "a checkpoint's or run's folder", folders=True)
        elif not os.path.isdir(file) and not os.path.isfile(file):
            # A reader of a pipe waits for ever.
            yield self._missing(path, text, "a file or a folder", folders=True)
        elif not os.access(file, os.R_OK):
            yield self._unreadable(path, text, PermissionError(13, "permission denied"))

    def _unreadable(self, path: Path, text: str, error: OSError) -> RequestError:
        message = f"{named(path)} is {said(text)}, which cannot be read: {error.strerror}."
        return wrong(path, "not_readable", message, got=text, expected="a path that the service may read")

    def _missing(self, path: Path, text: str, expected: str, *, folders: bool) -> RequestError:
        near = self._near(text, folders=folders) or self._same_name(File(text).name, folders=folders)
        near = near if near != text else None
        what = f"is not {expected}" if expected else "does not exist in the workspace"
        message = f"{named(path)} is {said(text)}, which {what}.{f' Near it: {near}.' if near else ''}"
        fix = self._fix(path, None if path == RESUME else near)
        return wrong(
            path, "not_found", message, got=text, expected=expected or "an existing path", suggestion=near, fix=fix
        )

    def _near(self, text: str, *, folders: bool) -> str | None:
        """``text`` with the part that does not exist replaced by the nearest name beside it, when that leads somewhere."""
        steps = File(text).parts
        for length in range(len(steps)):
            parent = self._workspace.joinpath(*steps[:length])
            if os.path.exists(parent / steps[length]):
                continue
            name = closest(steps[length], _names(parent), cutoff=0.6)
            near = File(*steps[:length], name, *steps[length + 1 :]) if name else None
            return str(near) if near and self._fits(self._workspace / near, folders) else None
        return None

    def _same_name(self, name: str, *, folders: bool) -> str | None:
        """The first path of the workspace, breadth first, that ends in ``name``."""
        waiting, seen = [self._workspace], 0
        while waiting and seen < _SEARCHED and name not in ("", ".", ".."):
            parent = waiting.pop(0)
            if self._fits(parent / name, folders):
                return str((parent / name).relative_to(self._workspace))
            names = _names(parent)
            seen += len(names) + 1
            waiting += [parent / child for child in names if child[0] != "." and _is_folder(parent / child)]
        return None

    def _fits(self, file: File, folders: bool) -> bool:
        inside = File(os.path.realpath(file)).is_relative_to(self._workspace)
        return inside and (os.path.exists(file) if folders else os.path.isfile(file))

    def _save_folder(self, file: File, text: str) -> Iterator[RequestError]:
        standing = next(parent for parent in (file, *file.parents) if os.path.lexists(parent))
        if not os.path.isdir(standing):
            message = f"{named(SAVE)} is {said(text)}, but {said(standing.name)} is a file; name a folder."
        elif not os.access(standing, os.W_OK | os.X_OK):
            message = f"{named(SAVE)} is {said(text)}, but the service may not write there."
        else:
            return
        yield wrong(SAVE, "not_writable", message, got=text, expected="a folder that can be made", fix=[remove(SAVE)])

    def _format(
        self,
        document: dict[str, Any],
        resolved: dict[Path, str],
        source: ModelSource | None,
        errors: list[RequestError],
    ) -> DataFormat | None:
        train = DATA[0]
        text, given = resolved.get(train), look(document, ("dataConfig", "format"))
        near = next((error.suggestion for error in errors if error.pointer == pointer(train) and error.fix), None)
        # Judged as they will be once the path is mended: what a fix would bring up is said at once.
        text = str(self._workspace / near) if near else text
        if given is not None:
            return next((name for name in FORMATS if name == given), None)
        # With a model file that could not be read nobody knows whether it reads the data itself.
        if text is None or source is None or not os.path.exists(text):
            return None
        if source.builds_dataset:
            return "modelFile"
        if os.path.isdir(text):
            return "imageFolder"
        format = format_of_file(text)
        if format is None and os.path.isfile(text):
            message = (
                f"{named(train)} is {said(look(document, train))}, whose format its name does not say; set "
                "dataConfig.format, or define build_dataset(path, split) in the model file."
            )
            errors.append(wrong(train, "unknown_format", message, got=look(document, train), allowed=list(SUFFIXES)))
        return format

    def _engine(
        self, document: dict[str, Any], source: ModelSource | None, errors: list[RequestError]
    ) -> EngineName | None:
        given = document.get("engine")
        named_engine = next((name for name in ENGINES if name == given), None)
        if named_engine is not None:
            return named_engine
        if given is not None or source is None or source.engine is not None:
            return source.engine if source else None
        names = list(ENGINES)
        near = near_library(source.libraries)
        libraries = ", ".join(f"{name} ({', '.join(entry.imports)})" for name, entry in ENGINES.items())
        message = f"The model file imports the library of no engine: {libraries}. Import one, or name the engine."
        errors.append(
            wrong(("engine",), "engine_unknown", message, expected="an engine", allowed=list(names), suggestion=near)
        )
        return None


def _is_first_node(document: dict[str, Any]) -> bool:
    """Whether this machine has the run's checkpoints: it trains alone, or is the first of several."""
    alone: bool = look(document, ("trainingConfig", "numNodes"), 1) == 1
    first: bool = look(document, ("trainingConfig", "rendezvous", "nodeRank"), 0) == 0
    return alone or first


def _with(document: dict[str, Any], resolved: dict[Path, str]) -> dict[str, Any]:
    for path, text in resolved.items():
        document, parent = opened(document, path[:-1])
        parent[path[-1]] = text
    return document


def _names(folder: File) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _SEARCHED))
    except OSError:
        return []


def _is_folder(path: File) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
