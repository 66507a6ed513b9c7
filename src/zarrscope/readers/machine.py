"""The stack machine that reads a pickle, and what can happen on its stack: plain values are made, filled and kept.

Calling and changing are for the stand-ins of :mod:`zarrscope.readers.standins` alone.
"""

from __future__ import annotations

from typing import Any

from zarrscope.errors import DecodeError
from zarrscope.readers.standins import NAMES, Array, Element, Global, Writer, filled, refuse

MAX_MEMO = 100_000


class Machine:
    """The state of one reading: where it is, the stack, the stacks below the marks, and the memo."""

    __slots__ = ("at", "data", "marks", "memo", "stack", "writer")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.writer = Writer()

    def take(self, length: int) -> bytes:
        """Read that many bytes."""
        piece = self.data[self.at : self.at + length]
        if length < 0 or len(piece) != length:
            raise DecodeError(f"expected {length} bytes from byte {self.at} of a pickle, found {len(piece)}.")
        self.at += length
        return piece

    def line(self) -> bytes:
        """Read up to the end of the line, and past it."""
        end = self.data.index(b"\n", self.at)
        piece = self.data[self.at : end]
        self.at = end + 1
        return piece

    def unmark(self) -> list[Any]:
        """Take everything above the last mark off the stack."""
        items = self.stack
        self.stack = self.marks.pop()
        return items


def _find(machine: Machine, module: Any, name: Any) -> None:
    if type(module) is not str or type(name) is not str:
        raise refuse("a name that is no text")
    found = NAMES.get((module, name))
    if found is None:
        raise refuse(f"{module:.80}.{name:.80}")
    machine.stack.append(found)


def find_line(machine: Machine) -> None:
    """Push the stand-in whose module and name stand on the next two lines."""
    module = machine.line().decode("utf-8")
    _find(machine, module, machine.line().decode("utf-8"))


def find_stacked(machine: Machine) -> None:
    """Push the stand-in whose module and name are on the stack."""
    name = machine.stack.pop()
    _find(machine, machine.stack.pop(), name)


def call(machine: Machine) -> None:
    """Replace a stand-in and its arguments by what the stand-in makes of them."""
    arguments = machine.stack.pop()
    called = machine.stack.pop()
    if type(called) is not Global or called.call is None or type(arguments) is not tuple:
        raise refuse(f"a call of {called.name if type(called) is Global else 'a value'}")
    machine.stack.append(called.call(machine.writer, arguments))


def fill_once(machine: Machine) -> None:
    """Fill an array or set the byte order of an element type, each once; nothing else can be changed."""
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(state) is tuple and type(target) is Array and target.dtype is None and len(state) == 5:
        version, shape, kind, fortran, data = state
        if version == 1 and type(fortran) is bool:
            made = filled(shape, kind, "F" if fortran else "C", data)
            target.shape, target.dtype, target.data, target.order = made.shape, made.dtype, made.data, made.order
            return
    if type(state) is tuple and type(target) is Element and target.order is None and len(state) == 8:
        version, order, *rest = state
        if version == 3 and type(order) is str and order in set("<>|=") and rest[:3] == [None] * 3:
            target.order = order
            return
    raise refuse(f"a change of {target.name if type(target) is Global else 'a value'}")


def _fill(target: Any, items: list[Any]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise refuse("items of something else than a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str:
            raise refuse(f"a dict with a key of type {type(key).__name__}")
        target[key] = value


def set_item(machine: Machine) -> None:
    """Put a key and its value into the dict below them."""
    value = machine.stack.pop()
    key = machine.stack.pop()
    _fill(machine.stack[-1], [key, value])


def set_items(machine: Machine) -> None:
    """Put the keys and values above the mark into the dict below it."""
    items = machine.unmark()
    _fill(machine.stack[-1], items)


def make_dict(machine: Machine) -> None:
    """Make a dict of the keys and values above the mark."""
    made: dict[str, Any] = {}
    _fill(made, machine.unmark())
    machine.stack.append(made)


def append(machine: Machine) -> None:
    """Put a value at the end of the list below it."""
    item = machine.stack.pop()
    extend(machine.stack[-1], [item], list)


def extend(target: Any, items: list[Any], kind: type[list[Any]]) -> None:
    """Put items at the end of a list or a set."""
    if type(target) is not kind:
        raise refuse("items of something else than a list or a set")
    target.extend(items)


def mark(machine: Machine) -> None:
    """Mark the stack: what comes now belongs together."""
    machine.marks.append(machine.stack)
    machine.stack = []


def pop(machine: Machine) -> None:
    """Drop the top of the stack, or the mark that is there."""
    if machine.stack:
        machine.stack.pop()
    else:
        machine.unmark()


def pop_mark(machine: Machine) -> None:
    """Drop everything above the mark, and the mark."""
    machine.unmark()


def put(machine: Machine, index: int) -> None:
    """Remember the top of the stack by a number."""
    if not 0 <= index <= MAX_MEMO:
        raise DecodeError(f"refused to unpickle with a memo of {index:,} values: expected at most {MAX_MEMO:,}.")
    machine.memo[index] = machine.stack[-1]
