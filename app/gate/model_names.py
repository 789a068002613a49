"""What a model file binds at its top level, as far as its text says it for certain."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Who uses these may bind any name.
_BINDERS = frozenset({"globals", "vars", "locals", "setattr", "exec", "eval", "__dict__"})


@dataclass(frozen=True)
class Names:
    """The names of a model file: ``bound`` in any way, an import and a branch of an ``if`` included; of those ``made`` are
    defined there or assigned, for certain and not as None; ``classes`` are in the order of the file. ``takes`` are the
    keyword arguments of a function or class, where nothing but its own text decides them. With ``open`` there may be more
    names than one sees (a star import, ``globals()``)."""

    bound: frozenset[str]
    made: frozenset[str]
    classes: tuple[str, ...]
    takes: dict[str, tuple[str, ...]]
    open: bool

    def lacks(self, name: str) -> bool:
        """Whether nothing of that name is there, for certain."""
        return not self.open and name not in self.bound

    def to_json(self) -> dict[str, Any]:
        """As JSON: a large file is read in another process."""
        takes = {name: list(arguments) for name, arguments in self.takes.items()}
        lists = {"bound": sorted(self.bound), "made": sorted(self.made), "classes": list(self.classes)}
        return {**lists, "takes": takes, "open": self.open}

    @staticmethod
    def from_json(said: dict[str, Any]) -> "Names":
        """What ``to_json`` wrote."""
        takes = {name: tuple(arguments) for name, arguments in said["takes"].items()}
        return Names(frozenset(said["bound"]), frozenset(said["made"]), tuple(said["classes"]), takes, said["open"])


def find_names(tree: ast.Module) -> Names:
    """The names of the model file that is parsed as ``tree``; each node is looked at once."""
    bound = Counter(_bound(tree))
    classes = tuple(dict.fromkeys(node.name for node in tree.body if isinstance(node, ast.ClassDef)))
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    # A name that is bound twice is whatever came last.
    once = {name: node for name, node in definitions.items() if bound[name] == 1}
    takes = {name: arguments for name, node in once.items() if (arguments := _arguments(node)) is not None}
    hidden = any(_hides(node) for node in ast.walk(tree))
    return Names(frozenset(bound), frozenset(_made(tree)), classes, takes, hidden)


def _bound(tree: ast.Module) -> Iterator[str]:
    """Every name that is bound outside functions and classes, as often as it is."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _made(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _hides(node: ast.AST) -> bool:
    """Whether ``node`` may bind names that cannot be seen."""
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    return (isinstance(node, ast.Name) and node.id in _BINDERS) or (
        isinstance(node, ast.Attribute) and node.attr in _BINDERS
    )


def _arguments(node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...] | None:
    """The keyword arguments that ``node`` takes; None where they may be others (a decorator, ``**``, a base's ``__init__``)."""
    function = node if isinstance(node, ast.FunctionDef) else _constructor(node)
    if function is None or node.decorator_list or function.decorator_list or function.args.kwarg is not None:
        return None
    positional = [*function.args.posonlyargs, *function.args.args]
    unnamed = max(len(function.args.posonlyargs), 0 if function is node else 1)
    return tuple(argument.arg for argument in (*positional[unnamed:], *function.args.kwonlyargs))


def _constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    """The one ``__init__`` that ``node`` defines, when nothing else decides how it is called."""
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    made = [method for method in methods if method.name in ("__init__", "__new__")]
    return made[0] if len(made) == 1 and made[0].name == "__init__" and not node.keywords else None
