"""What each operation of a pickle does to the stack machine that reads it, where it builds a plain value.

The operations for persistent ids, extension codes, instances of classes and out-of-band buffers don't exist here.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any

from zarrscope.errors import DecodeError
from zarrscope.readers import machine as stack
from zarrscope.readers.machine import Machine
from zarrscope.readers.standins import Set

type Operation = Callable[[Machine], None]


def _extends(kind: type[list[Any]]) -> Operation:
    def operation(machine: Machine) -> None:
        items = machine.unmark()
        stack.extend(machine.stack[-1], items, kind)

    return operation


def _tuple(count: int) -> Operation:
    def operation(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise IndexError
        items = tuple(machine.stack[-count:])
        machine.stack[-count:] = [items]

    return operation


def _puts(index: Callable[[Machine], int]) -> Operation:
    return lambda machine: stack.put(machine, index(machine))


def _pushes(make: Callable[[Machine], Any]) -> Operation:
    def operation(machine: Machine) -> None:
        value = make(machine)  # first: it may change which stack is on top
        machine.stack.append(value)

    return operation


def _gets(index: Callable[[Machine], int]) -> Operation:
    return _pushes(lambda machine: machine.memo[index(machine)])


def _number(layout: str) -> Callable[[Machine], Any]:
    """Read one number of a ``struct`` layout."""
    form = struct.Struct(layout)

    def read(machine: Machine) -> Any:
        (value,) = form.unpack_from(machine.data, machine.at)
        machine.at += form.size
        return value

    return read


def _counted(count: Callable[[Machine], int]) -> Callable[[Machine], bytes]:
    """Read bytes that follow their count."""
    return lambda machine: machine.take(count(machine))


def _text(count: Callable[[Machine], int]) -> Callable[[Machine], str]:
    return lambda machine: machine.take(count(machine)).decode("utf-8", "surrogatepass")


def _long(count: Callable[[Machine], int]) -> Callable[[Machine], int]:
    return lambda machine: int.from_bytes(machine.take(count(machine)), "little", signed=True)


def _integer_line(machine: Machine) -> int | bool:
    line = machine.line()
    return line == b"01" if line in {b"00", b"01"} else int(line.removesuffix(b"L"))


def _protocol(machine: Machine) -> None:
    if (protocol := machine.take(1)[0]) > 5:
        raise DecodeError(f"expected a pickle of protocol 0 to 5, found {protocol}.")


def _frame(machine: Machine) -> None:
    length = int.from_bytes(machine.take(8), "little")
    if length > len(machine.data) - machine.at:
        raise DecodeError(f"expected a frame of {length} bytes, found {len(machine.data) - machine.at}.")


def _operations() -> dict[int, Operation]:
    """Give what each operation does, by its code; the names are those of :mod:`pickletools`."""
    u1, u2, u4, u8, i4 = map(_number, ("<B", "<H", "<I", "<Q", "<i"))
    table: dict[str, Operation] = {
        "PROTO": _protocol,
        "FRAME": _frame,
        "NONE": _pushes(lambda _: None),
        "NEWTRUE": _pushes(lambda _: True),
        "NEWFALSE": _pushes(lambda _: False),
        "INT": _pushes(_integer_line),
        "LONG": _pushes(_integer_line),
        "BININT": _pushes(i4),
        "BININT1": _pushes(u1),
        "BININT2": _pushes(u2),
        "LONG1": _pushes(_long(u1)),
        "LONG4": _pushes(_long(i4)),
        "FLOAT": _pushes(lambda machine: float(machine.line())),
        "BINFLOAT": _pushes(_number(">d")),
        "UNICODE": _pushes(lambda machine: machine.line().decode("raw-unicode-escape")),
        "SHORT_BINUNICODE": _pushes(_text(u1)),
        "BINUNICODE": _pushes(_text(u4)),
        "BINUNICODE8": _pushes(_text(u8)),
        "SHORT_BINBYTES": _pushes(_counted(u1)),
        "BINBYTES": _pushes(_counted(u4)),
        "BINBYTES8": _pushes(_counted(u8)),
        "BYTEARRAY8": _pushes(_counted(u8)),
        "EMPTY_LIST": _pushes(lambda _: []),
        "EMPTY_TUPLE": _pushes(lambda _: ()),
        "EMPTY_DICT": _pushes(lambda _: {}),
        "EMPTY_SET": _pushes(lambda _: Set()),
        "MARK": stack.mark,
        "POP": stack.pop,
        "POP_MARK": stack.pop_mark,
        "DUP": _pushes(lambda machine: machine.stack[-1]),
        "LIST": _pushes(Machine.unmark),
        "TUPLE": _pushes(lambda machine: tuple(machine.unmark())),
        "TUPLE1": _tuple(1),
        "TUPLE2": _tuple(2),
        "TUPLE3": _tuple(3),
        "DICT": stack.make_dict,
        "FROZENSET": _pushes(lambda machine: Set(machine.unmark())),
        "APPEND": stack.append,
        "APPENDS": _extends(list),
        "ADDITEMS": _extends(Set),
        "SETITEM": stack.set_item,
        "SETITEMS": stack.set_items,
        "PUT": _puts(lambda machine: int(machine.line())),
        "BINPUT": _puts(u1),
        "LONG_BINPUT": _puts(u4),
        "MEMOIZE": lambda machine: stack.put(machine, len(machine.memo)),
        "GET": _gets(lambda machine: int(machine.line())),
        "BINGET": _gets(u1),
        "LONG_BINGET": _gets(u4),
        "GLOBAL": stack.find_line,
        "STACK_GLOBAL": stack.find_stacked,
        "REDUCE": stack.call,
        "BUILD": stack.fill_once,
    }
    return {ord(opcode.code): table[opcode.name] for opcode in pickletools.opcodes if opcode.name in table}


OPERATIONS = _operations()
