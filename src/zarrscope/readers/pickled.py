"""Read the plain values in a pickle without running anything that the pickle names.

A pickle is a program for a stack machine. Python's own machine imports and calls what the program names; this one
knows the operations that build plain values, and a closed list of names that stand for functions of ours
(:mod:`zarrscope.readers.standins`). Nothing is imported, looked up, called or changed on behalf of the data.
"""

from __future__ import annotations

import struct
from typing import Any

from zarrscope.errors import DecodeError
from zarrscope.readers.machine import Machine
from zarrscope.readers.opcodes import OPERATIONS
from zarrscope.readers.standins import Array, Plain, refuse

MAX_BYTES = 1 << 20
MAX_OPERATIONS = 200_000
_STOP = ord(".")


def unpickle(data: bytes, shape: tuple[int, ...] | None = None) -> Plain:
    """Read a pickle of plain values, of protocol 0 to 5.

    Parameters
    ----------
    data
        The pickle, up to and including its STOP; at most 1 MiB.
    shape
        If given, the pickle must hold an array of objects of this shape, as ``numpy.save`` writes it.

    Returns
    -------
    A str, int, float, bool or None; or lists and dicts of them. Tuples, sets and arrays become (nested) lists, an
    array without axes its one value, a complex number ``[real, imaginary]``, numpy scalars Python's. Bytes become
    text, and what is not UTF-8 in bytes or text is written as backslash escapes.

    Raises
    ------
    DecodeError
        If the pickle names anything else, is malformed, or is larger or deeper than plain values have reason to be.

    Examples
    --------
    >>> import pickle
    >>> unpickle(pickle.dumps({"level": 3, "size": (2, 2.5)}))
    {'level': 3, 'size': [2, 2.5]}
    """
    if len(data) > MAX_BYTES:
        raise DecodeError(f"refused to unpickle {len(data)} bytes: expected at most {MAX_BYTES}.")
    machine = Machine(data)
    try:
        value = _run(machine)
        plain: Plain = machine.writer.plain(value)
    except DecodeError:
        raise
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise DecodeError(
            f"expected a pickle of plain values, found a malformed one at byte {machine.at} of {len(data)} "
            f"({type(error).__name__})."
        ) from None
    if shape is not None and not (type(value) is Array and value.shape == shape and value.dtype == "O"):
        raise DecodeError(f"expected a pickled array of objects of shape {shape}, found another value.")
    return plain


def _run(machine: Machine) -> Any:
    data = machine.data
    for _ in range(MAX_OPERATIONS):
        code = data[machine.at]
        machine.at += 1
        if code == _STOP:
            break
        operation = OPERATIONS.get(code)
        if operation is None:
            raise refuse(f"by the operation {_name(code)}")
        operation(machine)
    else:
        raise DecodeError(f"refused to unpickle more than {MAX_OPERATIONS} operations.")
    if machine.at != len(data) or machine.marks or len(machine.stack) != 1:
        raise DecodeError(
            f"expected a pickle to end with one value, found {len(machine.stack)}, "
            f"{len(machine.marks)} unfinished and {len(data) - machine.at} bytes after it."
        )
    return machine.stack[0]


def _name(code: int) -> str:
    import pickletools

    return next((known.name for known in pickletools.opcodes if ord(known.code) == code), f"{code:#04x}")
