"""Which attributes of which classes a body of source reads, found by following types through annotations.

The sources are typed throughout, so parameters, fields, properties and return values say what a name is; assignments pass it on.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Types = frozenset[str]
Scope = dict[str, Types]
NOTHING: Types = frozenset()

# Methods of pydantic models that return one of the same class, and those of the class that make one.
_ALIKE = frozenset({"model_copy"})
_MAKERS = frozenset({"model_validate", "model_validate_json"})


@dataclass
class AttributeReads:
    """Reads in ``sources``; classes are known by their name, those of the same name as one."""

    sources: dict[Path, ast.Module]
    members: dict[str, Scope] = field(default_factory=lambda: defaultdict(dict))
    functions: Scope = field(default_factory=dict)
    found: set[tuple[str, str]] = field(default_factory=set)

    @staticmethod
    def of(paths: Iterator[Path], read: Iterator[Path]) -> "AttributeReads":
        """What the files ``read`` read of classes that stand in any of ``paths``, and what their properties and methods that
        are read so read in turn."""
        reads = AttributeReads({path: ast.parse(path.read_text()) for path in paths})
        names = [(path, node) for path, tree in reads.sources.items() for node in ast.walk(tree)]
        for _, node in names:
            if isinstance(node, ast.ClassDef):
                reads.members[node.name].update({})
        for _, node in names:
            if isinstance(node, ast.ClassDef):
                reads._declare(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                reads.functions[node.name] = reads.functions.get(node.name, NOTHING) | reads._named(node.returns)
        for path in read:
            reads._body(reads.sources[path].body, {}, None)
        reads._follow([node for _, node in names if isinstance(node, ast.ClassDef)])
        return reads

    def _follow(self, classes: list[ast.ClassDef]) -> None:
        """Look into methods that are read, until that brings up no others."""
        methods = {
            (owner.name, item.name): item
            for owner in classes
            for item in owner.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        while ready := methods.keys() & self.found:
            for key in ready:
                self._visit(methods.pop(key), {}, key[0])

    def _declare(self, node: ast.ClassDef) -> None:
        members = self.members[node.name]
        for item in ast.walk(node):
            if isinstance(item, ast.AnnAssign):
                place = item.target
                name = (
                    place.id if isinstance(place, ast.Name) else place.attr if isinstance(place, ast.Attribute) else ""
                )
                members[name] = members.get(name, NOTHING) | self._named(item.annotation)
            elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                members[item.name] = members.get(item.name, NOTHING) | self._named(item.returns)
                arguments = {one.arg: self._named(one.annotation) for one in item.args.args}
                for step in ast.walk(item):
                    if isinstance(step, ast.Assign):
                        self._keep(step, arguments, members)

    def _keep(self, step: ast.Assign, arguments: Scope, members: Scope) -> None:
        """``self._config = config`` in a method."""
        for target, value in _pairs(step):
            if isinstance(target, ast.Attribute) and _is_name(target.value, "self"):
                members[target.attr] = members.get(target.attr, NOTHING) | self._type(value, arguments)

    def _named(self, annotation: ast.expr | None) -> Types:
        """The known classes that an annotation names, those in quotes too."""
        if annotation is None:
            return NOTHING
        words = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        words |= {str(node.value) for node in ast.walk(annotation) if isinstance(node, ast.Constant)}
        return frozenset(words & self.members.keys())

    def _body(self, nodes: list[ast.stmt], scope: Scope, owner: str | None) -> None:
        for node in nodes:
            self._visit(node, scope, owner)

    def _visit(self, node: ast.AST, scope: Scope, owner: str | None) -> None:
        if isinstance(node, ast.ClassDef):
            self._body(node.body, scope, node.name)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            scope = {**scope, **{one.arg: self._named(one.annotation) for one in every}}
            scope |= {"self": frozenset({owner})} if owner and every and every[0].arg == "self" else {}
        elif isinstance(node, ast.Assign):
            for target, value in _pairs(node):
                if isinstance(target, ast.Name):
                    scope[target.id] = self._type(value, scope)
        elif isinstance(node, ast.For):
            self._loop(node, scope)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            scope = dict(scope)
            for loop in node.generators:
                self._loop(loop, scope)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            scope[node.target.id] = self._named(node.annotation)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            self.found |= {(owner_of, node.attr) for owner_of in self._type(node.value, scope)}
        for child in ast.iter_child_nodes(node):
            self._visit(child, scope, owner)

    def _loop(self, loop: ast.For | ast.comprehension, scope: Scope) -> None:
        """``for group in groups``: a container is known by what is in it. In enumerate and zip, by what is in any."""
        of = self._type(loop.iter, scope)
        if isinstance(loop.iter, ast.Call):
            of = of.union(*(self._type(argument, scope) for argument in loop.iter.args))
        scope |= {name.id: of for name in ast.walk(loop.target) if isinstance(name, ast.Name)}

    def _type(self, node: ast.expr, scope: Scope) -> Types:
        """The known classes that ``node`` may be of."""
        if isinstance(node, ast.Name):
            return scope.get(node.id, NOTHING)
        if isinstance(node, ast.Attribute):
            owners = self._type(node.value, scope)
            return frozenset().union(*(self.members[owner].get(node.attr, NOTHING) for owner in owners))
        if isinstance(node, ast.IfExp | ast.BoolOp):
            branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            return frozenset().union(*(self._type(branch, scope) for branch in branches))
        if isinstance(node, ast.Call):
            return self._called(node.func, scope)
        return NOTHING

    def _called(self, function: ast.expr, scope: Scope) -> Types:
        if isinstance(function, ast.Name):
            return frozenset({function.id} & self.members.keys()) or self.functions.get(function.id, NOTHING)
        if isinstance(function, ast.Attribute) and function.attr in _ALIKE:
            return self._type(function.value, scope)
        if isinstance(function, ast.Attribute) and function.attr in _MAKERS and isinstance(function.value, ast.Name):
            return frozenset({function.value.id} & self.members.keys())
        return self._type(function, scope)


def _pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """Target and value, one by one: ``a, b = x, y`` is two."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
