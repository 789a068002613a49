"""The model file: imported once, from the copy made at submit, under the name and place the user knows."""

import hashlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from schemas.assignment import Assignment
from schemas.model import ModelConfig
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.models.choice import build
from trainer_core.models.signature import Known, nothing_known
from trainer_core.models.user_code import guarded, running, user_place

__all__ = ["ModelFile", "user_place"]

Function = Callable[..., Any]

# What a model file may define beside its model, and what each is given, by position.
_CALLED_WITH = {
    "loss": ("output", "targets"),
    "metrics": ("outputs", "targets"),
    "build_dataset": ("path", "split"),
    "collate": ("items",),
}


@dataclass(frozen=True)
class ModelFile:
    """A model file that has been executed.

    ``path`` is the user's own file (tracebacks name it), ``sha256`` that of the copy that ran. ``loss``,
    ``metrics``, ``build_dataset`` and ``collate`` are what the file defines under these names, or None.
    """

    path: Path
    sha256: str
    source: str
    module: ModuleType
    loss: Function | None
    metrics: Function | None
    build_dataset: Function | None
    collate: Function | None

    @staticmethod
    def load(assignment: Assignment) -> "ModelFile":
        """Compile and execute the assignment's copy of the model file.

        The file's folder and the workspace stand first on ``sys.path``, so that its siblings import; the module is in
        ``sys.modules``, so that what it defines can be pickled. Raises ``Failure("model_import_failed")`` with file
        and line for whatever goes wrong, ``Failure("model_invalid")`` for a ``loss`` (...) that cannot be called, or not with what it will be given.
        """
        path = Path(assignment.request.model_path)
        content = Path(assignment.model_snapshot).read_bytes()
        source, code = _compile(content, path)
        # Tracebacks and inspect show the lines that ran, also when the user's file has changed since.
        linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
        _put_first_on_path(Path(assignment.workspace), path.parent)
        module = _execute(code, path)
        functions = _functions(module, path, assignment)
        metrics = functions["metrics"]
        return ModelFile(
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            source=source,
            module=module,
            loss=functions["loss"],
            metrics=None if metrics is None else guarded(metrics, path, "computing metrics"),
            build_dataset=functions["build_dataset"],
            collate=functions["collate"],
        )

    def build(self, config: ModelConfig, kind: type, known: Known = nothing_known) -> Any:
        """The model, an instance of ``kind`` (``torch.nn.Module`` or ``sklearn.base.BaseEstimator``).

        The first of these that there is: ``build_model(**args)``; the class named by ``config.class_name``; the only
        subclass of ``kind`` defined in the file; a module-level ``model``. Raises ``Failure("model_invalid")`` with place
        and fix when none or several fit, when ``build_model`` builds something else than the class that is named (a name
        that was ignored would be a lie), when ``args`` do not fit the signature (``known`` are arguments that the data
        could fill in, by their usual names), when the constructor raises, and when the result is of another type.
        """
        return build(self.module, self.path, self.source, config, kind, known)


def _compile(content: bytes, path: Path) -> tuple[str, CodeType]:
    try:
        return importlib.util.decode_source(content), compile(content, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _syntax_failure(error, path) from error
    except ValueError as error:
        raise Failure(
            "model_import_failed", f"{path.name} is not Python text: {error}.", place=Place(path=str(path))
        ) from error


def _syntax_failure(error: SyntaxError, path: Path) -> Failure:
    place = Place(path=error.filename or str(path), line=error.lineno)
    detail = "".join(traceback.format_exception_only(error))
    where = f" (line {error.lineno})" if error.lineno else ""
    message = f"{Path(error.filename or path).name} is not valid Python{where}."
    return Failure("model_import_failed", message, place=place, detail=detail)


def _put_first_on_path(workspace: Path, folder: Path) -> None:
    for entry in (str(workspace), str(folder)):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)


def _execute(code: CodeType, path: Path) -> ModuleType:
    module = ModuleType(_module_name(path))
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    with running(path, "model_import_failed", "importing the model file"):
        try:
            exec(code, module.__dict__)
        except SyntaxError as error:
            raise _syntax_failure(error, path) from error
        except ImportError as error:
            raise _import_failure(error, path) from error
    return module


def _module_name(path: Path) -> str:
    """The file's own name, so that siblings may import it back; another one when that would hide a library."""
    name = path.stem
    if not name.isidentifier() or name in sys.stdlib_module_names or name in sys.modules:
        return f"model_file_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    return name


def _import_failure(error: ImportError, path: Path) -> Failure:
    place = user_place(error, path) or Place(path=str(path))
    where = f"line {place.line} of {path.name}" if place.line else path.name
    if isinstance(error, ModuleNotFoundError):
        message = f"No module named {error.name!r} (imported at {where})."
        next_move = (
            f"Install {error.name} in the worker's environment, or put it beside the model file or in the workspace."
        )
    elif error.name is None and "relative import" in str(error):
        message = f"A relative import failed (at {where}): the model file is no part of a package."
        next_move = (
            "Import what lies beside the model file by its own name: `import helper`, not `from . import helper`."
        )
    else:
        message = f"An import{f' from {error.name!r}' if error.name else ''} failed (at {where})."
        next_move = "Mend the import; the error's text is in untrusted."
    detail = "".join(traceback.format_exception(error))
    return Failure("model_import_failed", message, next_move=next_move, place=place, detail=detail)


def _functions(module: ModuleType, path: Path, assignment: Assignment) -> dict[str, Function | None]:
    """What a model file may define beside its model. Those that this run calls must take what they will be given."""
    found = {name: _function(module, path, name) for name in _CALLED_WITH}
    request = assignment.request
    makes_data = found["build_dataset"] is not None and request.data_config.format in (None, "modelFile")
    called = {
        "loss": assignment.engine == "native" and request.training_config.loss is None,
        "metrics": True,
        "build_dataset": makes_data,
        "collate": makes_data,
    }
    for name, function in found.items():
        if function is not None and called[name]:
            _require_call(function, path, name, _CALLED_WITH[name])
    return found


def _function(module: ModuleType, path: Path, name: str) -> Function | None:
    """What ``module`` calls ``name``; None when it is absent or an imported module (``from sklearn import metrics``)."""
    found = getattr(module, name, None)
    if found is None or isinstance(found, ModuleType):
        return None
    if not callable(found):
        message = f"`{name}` in {path.name} is a {type(found).__name__}; a function was expected."
        raise Failure(
            "model_invalid", message, next_move=f"Make `{name}` a function, or rename it.", place=Place(path=str(path))
        )
    return found  # type: ignore[no-any-return]


def _require_call(function: Function, path: Path, name: str, arguments: tuple[str, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some callables written in C have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        call = f"{name}({', '.join(arguments)})"
        line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
        raise Failure(
            "model_invalid",
            f"`{name}` in {path.name} is defined as {name}{signature}, and will be called as {call}: {error}.",
            next_move=f"Define it as {call}: what it is given comes by position.",
            place=Place(path=str(path), line=line),
        ) from error
