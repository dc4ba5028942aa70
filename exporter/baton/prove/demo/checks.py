"""Static checks of one Python function, on its syntax tree: what the demo's reviewers do.

The checks and their limits are those that linters commonly ship with; each is deterministic, so
that the review of a file is the same whoever does it and however often it is begun.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef

ARGUMENTS_MAX = 6
BRANCHES_MAX = 12
RETURNS_MAX = 6
STATEMENTS_MAX = 50

_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
_LITERALS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


class Unit(NamedTuple):
    """One function or method of a module.

    Attributes:
        name: dotted, with the classes around it and its line, which tells namesakes apart.
        function: its syntax tree.
    """

    name: str
    function: Function


class Remark(NamedTuple):
    """Something a reviewer would say.

    Attributes:
        line: where, counted from 1.
        rule: which check says so.
        text: what it says.
    """

    line: int
    rule: str
    text: str


def units(tree: ast.AST, inside: str = "") -> Iterator[Unit]:
    """The functions of a module and the methods of its classes, in their order.

    A function within a function belongs to the one around it.

    Args:
        tree: a module, or whatever else holds statements.
        inside: the dotted name so far, with its last dot.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield Unit(f"{inside}{node.name}:{node.lineno}", node)
        elif isinstance(node, ast.ClassDef):
            yield from units(node, f"{inside}{node.name}.")
        elif isinstance(node, ast.stmt | ast.ExceptHandler):
            yield from units(node, inside)


def review(function: Function) -> list[Remark]:
    """Every remark on one function, by line."""
    return sorted(remark for check in CHECKS for remark in check(function))


def _bare_except(function: Function) -> Iterator[Remark]:
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield Remark(node.lineno, "bare-except", "catches SystemExit and KeyboardInterrupt too")


def _mutable_default(function: Function) -> Iterator[Remark]:
    arguments = function.args
    for default in (*arguments.defaults, *arguments.kw_defaults):
        if isinstance(default, _LITERALS):
            text = f"{ast.unparse(default)} is shared by all calls"
            yield Remark(default.lineno, "mutable-default", text)


def _too_many_arguments(function: Function) -> Iterator[Remark]:
    if (found := len(_arguments(function))) > ARGUMENTS_MAX:
        yield _excess(function, "too-many-arguments", found, ARGUMENTS_MAX)


def _too_many_branches(function: Function) -> Iterator[Remark]:
    found = sum(isinstance(node, _BRANCHES) for node in ast.walk(function))
    if found > BRANCHES_MAX:
        yield _excess(function, "too-many-branches", found, BRANCHES_MAX)


def _too_many_returns(function: Function) -> Iterator[Remark]:
    found = sum(isinstance(node, ast.Return) for node in ast.walk(function))
    if found > RETURNS_MAX:
        yield _excess(function, "too-many-returns", found, RETURNS_MAX)


def _too_many_statements(function: Function) -> Iterator[Remark]:
    found = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    if found > STATEMENTS_MAX:
        yield _excess(function, "too-many-statements", found, STATEMENTS_MAX)


def _excess(function: Function, rule: str, found: int, most: int) -> Remark:
    return Remark(function.lineno, rule, f"{found}, and {most} are plenty")


def _missing_docstring(function: Function) -> Iterator[Remark]:
    if not function.name.startswith("_") and ast.get_docstring(function) is None:
        yield Remark(function.lineno, "missing-docstring", "a public function that says nothing")


def _shadowed_builtin(function: Function) -> Iterator[Remark]:
    names = {argument.arg: argument.lineno for argument in _arguments(function)}
    for name, line in {**_stored(function), **names}.items():
        if name in _BUILTINS:
            yield Remark(line, "shadowed-builtin", name)


def _unused_variable(function: Function) -> Iterator[Remark]:
    read = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
    }
    elsewhere = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.Global | ast.Nonlocal)
        for name in node.names
    }
    for name, line in _stored(function).items():
        if name not in read | elsewhere and not name.startswith("_"):
            yield Remark(line, "unused-variable", name)


def _none_by_equality(function: Function) -> Iterator[Remark]:
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            for operator, right in zip(node.ops, node.comparators, strict=True):
                is_none = isinstance(right, ast.Constant) and right.value is None
                if is_none and isinstance(operator, ast.Eq | ast.NotEq):
                    yield Remark(node.lineno, "none-by-equality", ast.unparse(node))


def _arguments(function: Function) -> list[ast.arg]:
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _stored(function: Function) -> dict[str, int]:
    """The names that assignments bind by themselves, each with its first line.

    Names in a tuple are left out: unpacking often has a place to fill.
    """
    targets = [
        target
        for node in ast.walk(function)
        for target in (node.targets if isinstance(node, ast.Assign) else ())
        if isinstance(target, ast.Name)
    ]
    ordered = sorted(targets, key=lambda target: target.lineno, reverse=True)
    return {target.id: target.lineno for target in ordered}


CHECKS: tuple[Callable[[Function], Iterator[Remark]], ...] = (
    _bare_except,
    _mutable_default,
    _too_many_arguments,
    _too_many_branches,
    _too_many_returns,
    _too_many_statements,
    _missing_docstring,
    _shadowed_builtin,
    _unused_variable,
    _none_by_equality,
)
