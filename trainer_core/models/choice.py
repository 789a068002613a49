"""Which model a model file means, and how it is built."""

import ast
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from schemas.model import ModelConfig
from schemas.problems import PatchOperation
from schemas.result import Place
from trainer_core.failure import Failure
from trainer_core.models.signature import Known, check_arguments
from trainer_core.models.user_code import running


def build(module: ModuleType, path: Path, source: str, config: ModelConfig, kind: type, known: Known) -> Any:
    """The model of ``module``; see ``ModelFile.build`` for the order and the failures."""
    maker = _maker(module, path, source, config, kind)
    if maker is None:
        return _ready_model(module, path, config, kind)
    name, call = maker
    place = Place(path=str(path), line=_line_of(source, name))
    check_arguments(name, call, config, place, known)
    with running(path, "model_invalid", f"building the model with {name}"):
        model = call(**config.args)
    if not isinstance(model, kind):
        message = f"{name} returned {_kind_name(type(model))}; {_kind_name(kind)} was expected."
        raise Failure("model_invalid", message, next_move=f"Make {name} return the model.", place=place)
    if config.class_name is not None and config.class_name not in [item.__name__ for item in type(model).__mro__]:
        raise _another_class(model, config.class_name, list(own_classes(module, kind)), place)
    return model


def _maker(
    module: ModuleType, path: Path, source: str, config: ModelConfig, kind: type
) -> tuple[str, Callable[..., Any]] | None:
    """Name and callable that make the model, or None when the file holds a finished one."""
    function = getattr(module, "build_model", None)
    if function is not None:
        if not callable(function):
            message = f"`build_model` in {path.name} is a {type(function).__name__}; a function was expected."
            raise Failure("model_invalid", message, place=Place(path=str(path)))
        return "build_model", function
    if config.class_name is not None:
        return config.class_name, _named_class(module, path, config.class_name, kind, config)
    own = own_classes(module, kind)
    if len(own) == 1:
        return next(iter(own.items()))
    if hasattr(module, "model"):
        return None
    raise _ambiguous(path, source, list(own), config) if own else _nothing_found(path, kind)


def own_classes(module: ModuleType, kind: type) -> dict[str, type]:
    """The subclasses of ``kind`` that ``module`` defines itself, in the order of the file; abstract classes and the class
    of its ``loss`` are no models."""
    loss = getattr(module, "loss", None)
    return {
        name: item
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and issubclass(item, kind)
        and item.__module__ == module.__name__
        and item.__name__ == name
        and not inspect.isabstract(item)
        and item is not loss
        and item is not type(loss)
    }


def _named_class(module: ModuleType, path: Path, name: str, kind: type, config: ModelConfig) -> type:
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, kind):
        return found
    own = list(own_classes(module, kind))
    near = get_close_matches(name, own, n=1, cutoff=0.5) or (own if len(own) == 1 else [])
    what = (
        f"{path.name} has no class {name!r}" if found is None else f"{name!r} in {path.name} is no {_kind_name(kind)}"
    )
    raise Failure(
        "model_invalid",
        f"{what}; it defines {', '.join(own) or 'none'}." + (f" Did you mean {near[0]!r}?" if near else ""),
        next_move="Set modelConfig.className to one of the classes in the message.",
        place=Place(path=str(path), pointer="/modelConfig/className"),
        fix=_class_name_fix(near[0], config) if near else None,
    )


def _another_class(model: Any, wanted: str, own: list[str], place: Place) -> Failure:
    """The failure of a request that names one class where ``build_model``, which comes first, builds another."""
    built = type(model).__name__
    others = [name for name in own if name != built]
    return Failure(
        "model_invalid",
        f"build_model, which comes before classes, built a {built}; modelConfig.className names {wanted!r}. The file offers "
        f"build_model and the classes {', '.join(own) or '(none of its own)'}.",
        next_move=f"Drop modelConfig.className to train what build_model builds, or let build_model take an argument that "
        f"chooses {' or '.join(others) or wanted}, and give it in modelConfig.args.",
        place=place.model_copy(update={"pointer": "/modelConfig/className"}),
        fix=[PatchOperation(op="remove", path="/modelConfig/className")],
    )


def _ready_model(module: ModuleType, path: Path, config: ModelConfig, kind: type) -> Any:
    model = module.model
    place = Place(path=str(path))
    if not isinstance(model, kind):
        message = f"`model` in {path.name} is {_kind_name(type(model))}; {_kind_name(kind)} was expected."
        raise Failure("model_invalid", message, place=place)
    if config.args:
        raise Failure(
            "model_invalid",
            f"modelConfig.args ({', '.join(config.args)}) has nowhere to go: `model` in {path.name} is built already.",
            next_move="Define build_model(**args) in the model file, or drop modelConfig.args.",
            place=place.model_copy(update={"pointer": "/modelConfig/args"}),
            fix=[PatchOperation(op="remove", path="/modelConfig/args")],
        )
    return model


def _ambiguous(path: Path, source: str, names: list[str], config: ModelConfig) -> Failure:
    top = _top_classes(source, names)
    return Failure(
        "model_invalid",
        f"{path.name} defines {len(names)} models ({', '.join(names)}) and does not say which one to train.",
        next_move="Set modelConfig.className to one of them, or define build_model().",
        place=Place(path=str(path), pointer="/modelConfig/className"),
        fix=_class_name_fix(top[0], config) if len(top) == 1 else None,
    )


def _nothing_found(path: Path, kind: type) -> Failure:
    wanted = _kind_name(kind)
    return Failure(
        "model_invalid",
        f"{path.name} defines no model. It may define build_model(**args) that returns {wanted}; several subclasses of "
        f"{wanted}, one named by modelConfig.className; a single subclass; or a module-level `model`.",
        next_move=f"Define `def build_model(): ...` that returns {wanted}.",
        place=Place(path=str(path)),
    )


def _top_classes(source: str, names: list[str]) -> list[str]:
    """Those of ``names`` that no other class of the file mentions: what is built from the rest."""
    mentioned: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            inside = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
            mentioned |= inside - {node.name}
    return [name for name in names if name not in mentioned]


def _line_of(source: str, name: str) -> int | None:
    """The line of ``def name`` or, for a class, of its ``__init__`` (of the class when it has none)."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node.lineno
        if isinstance(node, ast.ClassDef) and node.name == name:
            methods = [
                item.lineno for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"
            ]
            return next(iter(methods), node.lineno)
    return None


def _kind_name(kind: type) -> str:
    """``torch.nn.Module`` rather than ``torch.nn.modules.module.Module``."""
    root = kind.__module__.split(".")[0]
    return {"torch": "torch.nn." if kind.__name__ == "Module" else "torch.", "sklearn": "sklearn.base."}.get(
        root if kind.__name__ in ("Module", "BaseEstimator") else "", ""
    ) + kind.__name__


def _class_name_fix(name: str, config: ModelConfig) -> list[PatchOperation]:
    """The whole of modelConfig, which the request may lack."""
    named = config.model_copy(update={"class_name": name})
    return [PatchOperation(op="add", path="/modelConfig", value=named.given())]
