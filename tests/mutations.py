"""The faults that :mod:`tests.mutants` puts into a function, one node of its tree at a time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
WORDING = (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)
SPOKEN = {"print", "warn_user", "Progress", "advance"}
UNORDERED = {"min", "max", "equal"}
UNMUTATED = {"annotation", "returns", "args", "decorator_list"}


class Fault(NamedTuple):
    """A word for it, where it is, and the change itself, in place."""

    what: str
    line: int
    change: Callable[[Any], None]


def nodes(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Every node that may have a fault, with the name of the function or method that it is in.

    A node of an expression has the line of its statement.
    """
    for top in tree.body:
        inside = top.body if isinstance(top, ast.ClassDef) else [top]
        prefix = f"{top.name}." if isinstance(top, ast.ClassDef) else ""
        for function in inside:
            if isinstance(function, ast.FunctionDef):
                yield from ((prefix + function.name, node) for node in _below(function, 0))


def _below(node: ast.AST, line: int) -> Iterator[ast.AST]:
    if isinstance(node, WORDING) or (isinstance(node, ast.Call) and _name(node) in SPOKEN):
        return
    if isinstance(node, ast.stmt):
        line = node.lineno
    if isinstance(node, ast.stmt | ast.expr):
        node.lineno = line  # where a test is seen to run it
        yield node
    for field, value in ast.iter_fields(node):
        # arguments of a call are in its field "args" too
        if field not in UNMUTATED or (field == "args" and isinstance(node, ast.Call)):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _below(child, line)


def faults(node: Any) -> Iterator[Fault]:
    """What can be done to one node."""

    def fault(what: str, **fields: Any) -> Fault:
        return Fault(what, node.lineno, _put(**fields))

    match node:
        case ast.Compare(ops=[op]):
            for kind in SWAPS[type(op)]:
                yield fault(f"{type(op).__name__} -> {kind.__name__}", ops=[kind()])
        case ast.BinOp(op=ast.MatMult()) if _differ(node.left, node.right):
            yield fault("factors of @ swapped", left=node.right, right=node.left)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            for kind in SWAPS.get(type(op), ()):
                yield fault(f"{type(op).__name__} -> {kind.__name__}", op=kind())
        case ast.Constant(value=bool()):
            yield fault(f"{node.value} -> {not node.value}", value=not node.value)
        case ast.Constant(value=int() | float()):
            yield fault(f"{node.value} -> {node.value + 1}", value=node.value + 1)
        case ast.UnaryOp(op=ast.Not()):
            yield fault(f"{ast.unparse(node)}: not left out", operand=_negated(node.operand))
        case ast.UnaryOp(op=ast.USub()):
            yield fault(f"{ast.unparse(node)}: - left out", op=ast.UAdd())
        case ast.If() | ast.IfExp() | ast.While():
            yield fault(f"{ast.unparse(node.test)} negated", test=_negated(node.test))
        case ast.Return(value=ast.expr()):
            yield fault("None returned", value=ast.Constant(None))
        case ast.Call():
            yield from _faults_of_arguments(node)
    yield from _statements_left_out(node)


def _faults_of_arguments(call: ast.Call) -> Iterator[Fault]:
    match call.args:
        case [first, second, *rest] if _differ(first, second) and _name(call) not in UNORDERED:
            yield Fault(
                f"{_name(call)}: arguments swapped", call.lineno, _put(args=[second, first, *rest])
            )
    for i, keyword in enumerate(call.keywords):
        others = call.keywords[:i] + call.keywords[i + 1 :]
        yield Fault(f"{_name(call)}: {keyword.arg}= left out", call.lineno, _put(keywords=others))


def _statements_left_out(node: ast.AST) -> Iterator[Fault]:
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        for i, one in enumerate(statements if isinstance(statements, list) else ()):
            match one:
                case (
                    ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break()
                    | ast.Assign(targets=[ast.Subscript() | ast.Attribute()])
                ):  # fmt: skip
                    counts = True
                case ast.Expr(value=ast.Call()):
                    counts = _name(one.value) not in SPOKEN
                case _:
                    counts = False
            if counts:
                kept = [*statements[:i], ast.Pass(), *statements[i + 1 :]]
                yield Fault(f"{ast.unparse(one)[:60]} left out", one.lineno, _put(**{field: kept}))


def _put(**fields: Any) -> Callable[[Any], None]:
    def put(node: Any) -> None:
        for name, value in fields.items():
            setattr(node, name, value)

    return put


def _differ(one: ast.expr, other: ast.expr) -> bool:
    return not isinstance(other, ast.Starred) and ast.dump(one) != ast.dump(other)


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _name(call: Any) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))
