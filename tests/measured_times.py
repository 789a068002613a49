"""Which tests of a file assert that a time they have measured stays below a bound, found in their source.

A reading of a clock is followed through assignments, and through the functions of the file that return it, take it or
assert on it. What an event says of its own seconds counts as measured. An assertion inside ``while`` bounds a wait for
something that comes, and is none.
"""

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

Function = ast.FunctionDef | ast.AsyncFunctionDef

# The last one is that of the module ``time``, or of an event loop.
_CLOCKS = frozenset({"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time"})
_BELOW, _ABOVE = (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)


def measuring_tests(source: str) -> set[str]:
    """The names of those tests."""
    if not any(word in source for word in (*_CLOCKS, "seconds")):
        return set()
    return MeasuredTimes.of(ast.parse(source)).tests()


def _named(node: ast.AST) -> str:
    """What a name, an attribute, or what is called is named; "" for anything else."""
    if isinstance(node, ast.Call):
        return _named(node.func)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _root(node: ast.AST) -> str:
    """The variable that ``a.b[c]`` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return _named(node)


def _is_a_number(node: ast.AST) -> bool:
    """Whether a number, or a constant by its name, is in it."""
    return any(
        (isinstance(each, ast.Constant) and isinstance(each.value, int | float)) or _named(each).isupper()
        for each in ast.walk(node)
    )


@dataclass
class MeasuredTimes:
    """What is known of the functions of one file, each by its name."""

    functions: dict[str, Function]
    timed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # variables that hold a time
    giving: set[str] = field(default_factory=set)  # functions that return one

    @staticmethod
    def of(tree: ast.Module) -> "MeasuredTimes":
        """Follow every time to where it goes."""
        found = MeasuredTimes({node.name: node for node in ast.walk(tree) if isinstance(node, Function)})
        known = -1
        while known != (known := len(found.giving) + sum(map(len, found.timed.values()))):
            for name, function in found.functions.items():
                for node in ast.walk(function):
                    found._follow(name, node)
        return found

    def tests(self) -> set[str]:
        """Those that assert on a time, in their own words or in those of a function that they call."""
        asserting, known = {name for name, function in self.functions.items() if self._asserts(name, function)}, -1
        while known != (known := len(asserting)):
            for name, function in self.functions.items():
                calls = {_named(node) for node in ast.walk(function) if isinstance(node, ast.Call)}
                asserting |= {name} if calls & asserting else set()
        return {name for name in asserting if name.startswith("test_")}

    def _is_timed(self, function: str, node: ast.AST) -> bool:
        """Whether a time goes into the value of an expression."""
        return any(
            (isinstance(each, ast.Call) and _named(each) in _CLOCKS | self.giving)
            or (isinstance(each, ast.Name) and each.id in self.timed[function])
            for each in ast.walk(node)
        )

    def _follow(self, function: str, node: ast.AST) -> None:
        """One step: into a variable, out of a function, or into another one."""
        match node:
            case ast.Assign(targets=targets, value=value) if self._is_timed(function, value):
                self.timed[function] |= {
                    _root(each) for target in targets for each in getattr(target, "elts", [target])
                }
            case ast.AugAssign(target=target, value=value) if self._is_timed(function, value):
                self.timed[function].add(_root(target))
            case ast.Return(value=value) if value and self._is_timed(function, value):
                self.giving.add(function)
            case ast.Call(func=ast.Attribute(value=target, attr="append" | "extend" | "add"), args=[value]):
                if self._is_timed(function, value):
                    self.timed[function].add(_root(target))
            case ast.Call(args=args) if (called := self.functions.get(_named(node))) is not None:
                names = [argument.arg for argument in called.args.args if argument.arg != "self"]
                timed = {name for name, value in zip(names, args, strict=False) if self._is_timed(function, value)}
                self.timed[called.name] |= timed

    def _asserts(self, name: str, function: Function) -> bool:
        """Whether one of its assertions is that a time is below a bound."""
        waits = {each for loop in ast.walk(function) if isinstance(loop, ast.While) for each in ast.walk(loop)}
        checks = [node.test for node in ast.walk(function) if isinstance(node, ast.Assert) and node not in waits]
        found = [node for check in checks for node in ast.walk(check) if isinstance(node, ast.Compare)]
        return any(self._bounds(name, comparison) for comparison in found)

    def _bounds(self, function: str, comparison: ast.Compare) -> bool:
        """Whether a time is the smaller side, and a number the other."""
        sides = pairwise([comparison.left, *comparison.comparators])
        for (left, right), operator in zip(sides, comparison.ops, strict=True):
            small, large = (left, right) if isinstance(operator, _BELOW) else (right, left)
            if not isinstance(operator, _BELOW + _ABOVE) or self._is_timed(function, large):
                continue
            said = _named(small) == "seconds" or _named(small).endswith("_seconds")
            if _is_a_number(large) and (said or self._is_timed(function, small)):
                return True
        return False
