"""Expressions over columns: ``protein == 'psd95' and grid_row < 3``, parsed by us and evaluated by numpy.

A deliberately small language, a subset of Python's grammar: column names, literals, comparisons, ``in``, ``and``,
``or``, ``not`` (``&``, ``|``, ``~`` too) and parentheses. No calls, no attributes: an expression computes nothing but
a mask. It tells which columns it needs before any is read, and a text value that no row has is an error that lists
what there is, because a typing error should not look like an empty result.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import QueryError

type Mask = npt.NDArray[np.bool_]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True, slots=True)
class Categories:
    """A column of few distinct texts: ``values[codes[i]]``, with -1 for a missing one."""

    codes: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.codes)


type Values = npt.NDArray[Any] | Categories


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: its text, the columns it names, and its syntax tree."""

    text: str
    columns: tuple[str, ...]
    tree: ast.expr

    def mask(self, columns: Mapping[str, Values]) -> Mask:
        """Evaluate over columns of one length, ``(n,)`` each; gives ``(n,)`` bool.

        Raises
        ------
        QueryError
            For an unknown column, an impossible comparison, or a value that no row has.
        """
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise unknown_column(missing[0], list(columns))
        return _evaluate(self.tree, columns)


def unknown_column(name: str, known: list[str]) -> QueryError:
    """Say that there is no such column, and what comes close."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return QueryError(f"no column {name!r}; there are {', '.join(sorted(known))}.{hint}")


def parse(text: str) -> Expression:
    """Parse an expression.

    >>> parse("protein == 'psd95' and grid_row in (0, 1)").columns
    ('protein', 'grid_row')
    """
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # a backslash is just a backslash
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise QueryError(f"cannot read {text!r}: {error.msg} at character {error.offset}.") from None
    except (ValueError, RecursionError, MemoryError):
        raise QueryError(f"cannot read {text[:80]!r}: too deep or not text.") from None
    names: dict[str, None] = {}
    _check(tree, names, text, 0)
    return Expression(text, tuple(names), tree)


def _check(node: ast.expr, names: dict[str, None], text: str, depth: int) -> None:
    allowed = "column names, text and numbers, == != < <= > >=, in, and, or, not, parentheses"
    if depth > 64:
        raise QueryError(f"cannot read {text[:80]!r}: nested too deeply.")
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part, names, text, depth + 1)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=inner):
            _check(inner, names, text, depth + 1)
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            _check(left, names, text, depth + 1)
            _check(right, names, text, depth + 1)
        case ast.Compare(left=left, comparators=others):
            for side in (left, *others):
                if isinstance(side, ast.Name):
                    names.setdefault(side.id)
                else:
                    _literal(side, text)
        case ast.Name(id=name):
            names.setdefault(name)
        case _:
            raise QueryError(f"cannot use {_shown(node)!r} in {text!r}: expected {allowed}.")


def _shown(node: ast.expr) -> str:
    try:
        return ast.unparse(node)[:200]
    except RecursionError:
        return "something this deep"


def _literal(node: ast.expr, text: str) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise QueryError(f"cannot use {_shown(node)!r} in {text!r}: expected a column, text or a number.") from None
    plain = value if isinstance(value, (list, tuple, set)) else [value]
    if not all(isinstance(one, (str, int, float, bool, type(None))) for one in plain):
        raise QueryError(f"cannot use {_shown(node)!r} in {text!r}: expected a column, text or a number.")
    return value


def _evaluate(node: ast.expr, columns: Mapping[str, Values]) -> Mask:
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = _evaluate(parts[0], columns)
            for part in parts[1:]:
                result = join(result, _evaluate(part, columns))
            return result
        case ast.UnaryOp(operand=inner):
            return ~_evaluate(inner, columns)
        case ast.BinOp(left=left, op=op, right=right):
            both = _evaluate(left, columns), _evaluate(right, columns)
            return both[0] & both[1] if isinstance(op, ast.BitAnd) else both[0] | both[1]
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            result = _compare(sides[0], ops[0], sides[1], columns)
            for place in range(1, len(ops)):
                result &= _compare(sides[place], ops[place], sides[place + 1], columns)
            return result
        case ast.Name(id=name):
            return _truth(name, columns[name])
        case _:  # _check let nothing else through
            raise QueryError(f"cannot use {_shown(node)!r}.")


def _truth(name: str, values: Values) -> Mask:
    if isinstance(values, Categories) or values.dtype.kind != "b":
        raise QueryError(f"the column {name!r} is not true or false: compare it with something.")
    return values.astype(bool)


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, Values]) -> Mask:
    if isinstance(left, ast.Name) and isinstance(right, ast.Name):
        one, other = _plain(columns[left.id]), _plain(columns[right.id])
        return _apply(type(op), one, other, f"{left.id} and {right.id}")
    if not isinstance(left, ast.Name):
        if not isinstance(right, ast.Name) or isinstance(op, (ast.In, ast.NotIn)):
            raise QueryError(f"{_shown(left)!r} is compared with no column.")
        left, right, op = right, left, _MIRROR.get(type(op), type(op))()
    values, wanted = columns[left.id], ast.literal_eval(right)
    several = isinstance(wanted, (list, tuple, set))
    if several != isinstance(op, (ast.In, ast.NotIn)) or isinstance(op, (ast.Is, ast.IsNot)):
        raise QueryError(f"expected 'column in (a, b)' or 'column == a', found {_shown(left)} with {wanted!r}.")
    if not several:
        return _one(left.id, values, op, wanted)
    result = np.zeros(len(values), bool)
    for value in wanted:
        result |= _one(left.id, values, ast.Eq(), value)
    return ~result if isinstance(op, ast.NotIn) else result


def _one(name: str, values: Values, op: ast.cmpop, wanted: Any) -> Mask:
    if isinstance(values, Categories):
        table = _match(name, values.values, op, wanted)
        missing = isinstance(op, ast.NotEq)  # the last entry answers for code -1
        return np.asarray(np.append(table, missing)[values.codes])
    return _match(name, values, op, wanted)


def _match(name: str, values: npt.NDArray[Any], op: ast.cmpop, wanted: Any) -> Mask:
    textual = values.dtype.kind in "TUO"
    if wanted is None:
        raise QueryError(f"{name!r} can't be compared with None.")
    if textual != isinstance(wanted, str) and len(values):
        kind = "text" if textual else "numbers"
        raise QueryError(f"the column {name!r} holds {kind}, but it is compared with {wanted!r}.")
    result = _apply(type(op), values, wanted, name)
    if isinstance(op, (ast.Eq, ast.NotEq)) and textual and len(values):
        found = result if isinstance(op, ast.Eq) else ~result
        if not found.any():
            raise QueryError(f"no row has {name} == {wanted!r}; {_what_there_is(values, wanted)}")
    return result


def _apply(op: type[ast.cmpop], one: Any, other: Any, names: str) -> Mask:
    try:
        return np.asarray(_COMPARE[op](one, other), dtype=bool)
    except (KeyError, TypeError, ValueError, np.exceptions.DTypePromotionError):
        raise QueryError(f"{names} can't be compared like this.") from None


def _what_there_is(values: npt.NDArray[Any], wanted: str) -> str:
    there = sorted({str(value) for value in values[:100_000]})
    near = difflib.get_close_matches(wanted, there, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(there[:30]) + (f" and {len(there) - 30} more" if len(there) > 30 else "")
    return f"there are {shown}.{hint}"


def _plain(values: Values) -> npt.NDArray[Any]:
    if not isinstance(values, Categories):
        return values
    text = np.array([*values.values, None], dtype=object)
    return np.asarray(text[values.codes])
