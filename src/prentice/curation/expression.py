"""The small language of `keep` and `rank_by`: Python's own grammar, cut down to what cannot do harm.

Names, numbers, strings, True, False, tuples, `and or not`, comparisons (chains and `in` too) and `+ - * /` on numbers.
Calls, attributes, subscripts and everything else are refused. What is allowed means what it means in Python.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from prentice.errors import ConfigError

Scalar = bool | int | float | str

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}
_SHAPES: set[type[ast.AST]] = {ast.Expression, ast.Load, ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Compare}
_LOGIC: set[type[ast.AST]] = {ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp}
_ALLOWED = frozenset({*_SHAPES, *_LOGIC, *_ARITHMETIC, *_COMPARE})
_MAX_LENGTH, _MAX_DEPTH = 2000, 100
_HINT = 'write names of metrics, numbers, "texts", and or not, comparisons, in, + - * / and parentheses'


class Expression:
    """A parsed expression.

    Args:
        text: what the user wrote.
        key: the name of the setting, for errors.
    Raises: ConfigError in one line, with a `^` where the text stops making sense.
    """

    def __init__(self, text: str, key: str) -> None:
        self.text = text.strip()
        self.key = key
        self._body = _parse(self.text.replace("\n", " "), key)
        names = [node for node in ast.walk(self._body) if isinstance(node, ast.Name)]
        names.sort(key=lambda node: node.col_offset)
        self.names = tuple(dict.fromkeys(node.id for node in names))

    def value(self, names: Mapping[str, Scalar]) -> Any:
        """What the expression is worth; `names` must hold every one of `self.names`.

        Raises: ConfigError if values of these types cannot be combined so; ArithmeticError for a division by zero.
        """
        try:
            return _evaluate(self._body, names)
        except TypeError as error:
            values = ", ".join(f"{name} = {names[name]!r}" for name in self.names)
            raise ConfigError(f"{self.key}: `{self.text}`: {error}, with {values or 'no names'}") from error

    def holds(self, names: Mapping[str, Scalar]) -> bool:
        """Whether the expression says yes.

        Raises: as `value`, and ConfigError if the value is neither true nor false nor 1 nor 0.
        """
        value = self.value(names)
        if value not in (0, 1):
            raise ConfigError(
                f"{self.key}: `{self.text}` gives {value!r}, which is neither yes nor no",
                f"compare it with something, e.g. `{self.text} >= 0.5`",
            )
        return bool(value)

    def number(self, names: Mapping[str, Scalar]) -> float:
        """The expression as a number, to rank by.

        Raises: as `value`, and ConfigError if the value is not a number.
        """
        value = self.value(names)
        if not isinstance(value, int | float) or math.isnan(value):
            raise ConfigError(f"{self.key}: `{self.text}` gives {value!r}, which is not a number")
        return float(value)


def _parse(text: str, key: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise ConfigError(f"{key}: the expression has {len(text)} characters, more than {_MAX_LENGTH}")
    if not text:
        raise ConfigError(f"{key}: the expression is empty", 'e.g. "success"')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about odd numbers and escapes; they still parse
            tree = ast.parse(text, mode="eval")
        _check_depth(tree)
        for node in ast.walk(tree):
            _check(node, text, key)
        return tree.body
    except SyntaxError as error:
        end = len(text) + 1  # Python gives no offset for a text that stops too early
        raise _mistake(text, key, (error.offset or end) - 1, error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "it is nested too deeply" if not isinstance(error, ValueError) else str(error)
        raise ConfigError(f"{key}: the expression cannot be read: {reason}") from error


def _check_depth(tree: ast.AST) -> None:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
        if depth > _MAX_DEPTH:
            raise RecursionError


def _check(node: ast.AST, text: str, key: str) -> None:
    wrong = ""
    if type(node) not in _ALLOWED:
        wrong = _NAMES.get(type(node), f"{type(node).__name__} is not allowed here")
    elif isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
        wrong = f"{node.value!r} is not allowed here"
    if wrong:
        bytes_before = getattr(node, "col_offset", 0)
        raise _mistake(text, key, len(text.encode()[:bytes_before].decode()), wrong)


_NAMES: Mapping[type[ast.AST], str] = {
    ast.Call: "calls are not allowed here",
    ast.Attribute: "attributes are not allowed here",
    ast.Subscript: "subscripts are not allowed here",
    ast.JoinedStr: "f-strings are not allowed here",
}


def _mistake(text: str, key: str, index: int, reason: str) -> ConfigError:
    index = max(0, min(index, len(text)))
    return ConfigError(f"{key}: {reason}, at ^ (character {index + 1}): {text[:index]}^{text[index:]}", _HINT)


def _evaluate(node: ast.AST, names: Mapping[str, Scalar]) -> Any:
    return _MEANING[type(node)](node, names)


def _group(node: ast.Tuple | ast.List, names: Mapping[str, Scalar]) -> Any:
    return tuple(_evaluate(item, names) for item in node.elts)


def _either(node: ast.BoolOp, names: Mapping[str, Scalar]) -> Any:
    stop = isinstance(node.op, ast.Or)
    value: Any = not stop
    for part in node.values:
        value = _evaluate(part, names)
        if bool(value) is stop:
            break
    return value


def _chain(node: ast.Compare, names: Mapping[str, Scalar]) -> Any:
    left = _evaluate(node.left, names)
    result: Any = True
    for symbol, part in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(part, names)
        result = _COMPARE[type(symbol)](left, right)
        if not result:
            break
        left = right
    return result


def _combine(node: ast.BinOp, names: Mapping[str, Scalar]) -> Any:
    left, right = _evaluate(node.left, names), _evaluate(node.right, names)
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise TypeError(f"`{ast.unparse(node)}` calculates with something that is not a number")
    return _ARITHMETIC[type(node.op)](left, right)


def _unary(node: ast.UnaryOp, names: Mapping[str, Scalar]) -> Any:
    value = _evaluate(node.operand, names)
    if isinstance(node.op, ast.Not):
        return not value
    return -value if isinstance(node.op, ast.USub) else +value


_MEANING: Mapping[type[ast.AST], Callable[[Any, Mapping[str, Scalar]], Any]] = {
    ast.Name: lambda node, names: names[node.id],
    ast.Constant: lambda node, _: node.value,
    ast.Tuple: _group,
    ast.List: _group,
    ast.BoolOp: _either,
    ast.Compare: _chain,
    ast.BinOp: _combine,
    ast.UnaryOp: _unary,
}
