"""What the names in a pickle stand for: a closed list of inert records and checked functions, never the real thing.

The list covers what numpy 1 and numpy 2 write at protocols 0 to 5 for objects made of dicts, lists, text, numbers and
small arrays. Arrays are kept as :class:`Array` records, and only a :class:`Writer` turns them, and the containers
around them, into plain values, under one budget: a list that names itself ten times over, ten levels deep, is refused
rather than expanded.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zarrscope.errors import DecodeError

MAX_DEPTH = 64
MAX_LENGTH = 1 << 20  # of one axis of an array
BUDGET = 4 << 20  # bytes that the values of one pickle may cost in all
VALUE_COST = 16  # of which each value, however small, costs this many

# Kinds and widths whose bytes numpy can show as numbers or text without following a pointer.
_ELEMENT = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,4}|O8?")

type Plain = str | int | float | bool | list[Plain] | dict[str, Plain] | None
type Call = Callable[[Writer, tuple[Any, ...]], Any]


def refuse(what: str) -> DecodeError:
    """Make the error for something that plain values have no need of."""
    return DecodeError(f"refused to unpickle {what}: an npz may hold only plain values.")


@dataclass(frozen=True, slots=True)
class Global:
    """The stand-in for a name: ``call`` is what calling it means here, None if it is never called."""

    name: str
    call: Call | None = field(compare=False)


@dataclass(slots=True, eq=False)
class Element:
    """An array's element type: a kind and a width, and a byte order that may be set once."""

    text: str
    order: str | None = None


@dataclass(slots=True, eq=False)
class Array:
    """An array before it is written out; ``dtype`` is None until it is filled, and "O" for objects."""

    shape: tuple[int, ...] = (0,)
    dtype: str | None = None
    data: Any = b""
    order: str = "C"


class Set(list[Any]):
    """The members of a set in the order of the file: nothing is hashed, since hashing a deep tuple can crash."""

    __slots__ = ()


class Writer:
    """Writes values out as plain ones, as long as its budget lasts."""

    __slots__ = ("budget",)

    def __init__(self) -> None:
        self.budget = BUDGET

    def spend(self, cost: int) -> None:
        """Take a cost in bytes off the budget."""
        self.budget -= cost
        if self.budget < 0:
            raise DecodeError(f"refused to unpickle values that take more than {BUDGET} bytes when written out.")

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Write a value out, ``depth`` levels below the top."""
        self.spend(VALUE_COST)
        if depth > MAX_DEPTH:
            raise DecodeError(f"refused to unpickle values nested more than {MAX_DEPTH} deep.")
        kind = type(value)
        if kind is str:
            return value if value.isascii() else self._text(value)
        if kind is int and value.bit_length() > 64:
            raise DecodeError(f"expected integers of at most 64 bits, found one of {value.bit_length()}.")
        if value is None or kind is int or kind is float or kind is bool:
            return value
        if kind is dict:
            return self._dict(value, depth)
        if kind is list or kind is tuple or kind is Set:
            return [self.plain(item, depth + 1) for item in value]
        if kind is Array:
            return self.nested(value, depth)
        return [value.real, value.imag] if kind is complex else self._bytes(value)

    def _bytes(self, value: Any) -> str:
        if type(value) is not bytes:
            raise refuse(value.name if type(value) is Global else "numpy.dtype")
        self.spend(len(value))
        return value.decode("utf-8", "backslashreplace")

    def _text(self, value: str) -> str:
        self.spend(len(value))
        return value.encode("utf-8", "backslashreplace").decode("utf-8")

    def _dict(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        plain = {self._text(key): self.plain(item, depth + 1) for key, item in value.items()}
        if len(plain) != len(value):
            raise DecodeError("expected the keys of a dict to differ, found two that are written alike.")
        return plain

    def nested(self, array: Array, depth: int = 0) -> Any:
        """Write an array out as lists in lists, its shape checked against what it holds."""
        size = math.prod(array.shape)
        self.spend(VALUE_COST * math.prod(max(length, 1) for length in array.shape) + len(array.data))
        if array.dtype is None:
            raise DecodeError("expected an array with its content, found one without.")
        if array.dtype == "O":
            if type(array.data) is not list or len(array.data) != size:
                raise DecodeError(f"expected {size} objects for an array of shape {array.shape}.")
            return _nest([self.plain(item, depth + 1) for item in array.data], array.shape)
        dtype = np.dtype(array.dtype)
        if type(array.data) is not bytes or len(array.data) != size * dtype.itemsize:
            raise DecodeError(f"expected {size * dtype.itemsize} bytes for an array of shape {array.shape} {dtype}.")
        if dtype.kind == "U" and np.frombuffer(array.data, dtype.str[0] + "u4").max(initial=0) > sys.maxunicode:
            raise DecodeError("expected an array of text, found numbers that are no characters.")
        values = np.ndarray(array.shape, dtype, array.data, order="F" if array.order == "F" else "C").tolist()
        # Text may hold what UTF-8 can't, and bytes and complex numbers have no plain form of their own.
        return self.plain(values, depth) if dtype.kind in "SUc" else values


def _nest(items: list[Any], shape: tuple[int, ...]) -> Any:
    """Cut items in C order into lists in lists; an array without axes is its one item."""
    if not shape:
        return items[0]
    if len(shape) == 1:
        return items
    step = math.prod(shape[1:])
    return [_nest(items[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]


def filled(shape: Any, kind: Any, order: str, data: Any) -> Array:
    """Make an array of what a pickle says of it; the data are checked when it is written out."""
    if (
        type(kind) is not Element
        or type(shape) is not tuple
        or len(shape) > 8
        or not all(type(length) is int and 0 <= length <= MAX_LENGTH for length in shape)
    ):
        raise refuse("an array whose shape or element type is none")
    return Array(shape, "O" if kind.text[0] == "O" else (kind.order or "=") + kind.text, data, order)


# What calling a name means. Each argument is checked: the data chose them.


def _array(_: Writer, arguments: tuple[Any, ...]) -> Array:
    base, shape, code = arguments
    if base is not NAMES["numpy", "ndarray"] or shape != (0,) or type(code) is not bytes or code != b"b":
        raise refuse("an array of a class of its own")
    return Array()


def _element(_: Writer, arguments: tuple[Any, ...]) -> Element:
    text = arguments[0]
    if type(text) is not str or not _ELEMENT.fullmatch(text):
        raise refuse(f"the element type {text!r:.40}")
    return Element(text)


def _scalar(writer: Writer, arguments: tuple[Any, ...]) -> Any:
    kind, data = arguments
    return writer.nested(filled((), kind, "C", data))


def _frombuffer(_: Writer, arguments: tuple[Any, ...]) -> Array:
    data, kind, shape, order = arguments
    if type(order) is not str or order not in {"C", "F"}:
        raise refuse(f"an array of memory order {order!r:.40}")
    return filled(shape, kind, order, data)


def _encode(writer: Writer, arguments: tuple[Any, ...]) -> bytes:
    text, codec = arguments
    if type(text) is not str or type(codec) is not str or codec != "latin1":
        raise refuse("bytes that are not written as latin1")
    writer.spend(len(text))
    return text.encode("latin1")


def _bytes(_: Writer, arguments: tuple[Any, ...]) -> bytes:
    if arguments and (len(arguments) > 1 or type(arguments[0]) is not bytes):
        raise refuse("bytes that are made of something else")
    made: bytes = arguments[0] if arguments else b""
    return made


def _set(writer: Writer, arguments: tuple[Any, ...]) -> Set:
    (items,) = arguments or ([],)
    if type(items) is not list:
        raise refuse("a set that is made of something else than a list")
    writer.spend(VALUE_COST * len(items))
    return Set(items)


def _complex(_: Writer, arguments: tuple[Any, ...]) -> complex:
    real, imaginary = arguments
    if type(real) is not float or type(imaginary) is not float:
        raise refuse("a complex number that is made of something else than two floats")
    return complex(real, imaginary)


def _names() -> Mapping[tuple[str, str], Global]:
    calls: dict[tuple[str, str], Call | None] = {
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _element,
        ("_codecs", "encode"): _encode,
    }
    for numpy in ("numpy.core", "numpy._core"):
        calls[f"{numpy}.multiarray", "_reconstruct"] = _array
        calls[f"{numpy}.multiarray", "scalar"] = _scalar
        calls[f"{numpy}.numeric", "_frombuffer"] = _frombuffer
    for builtins in ("builtins", "__builtin__"):
        calls[builtins, "bytes"] = calls[builtins, "bytearray"] = _bytes
        calls[builtins, "set"] = calls[builtins, "frozenset"] = _set
        calls[builtins, "complex"] = _complex
    return {key: Global(".".join(key), call) for key, call in calls.items()}


NAMES = _names()
