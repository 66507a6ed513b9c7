"""The loops over pixels, compiled on first use; they hold no lock while they run.

Importing this module compiles nothing and imports no compiler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from zarrscope.compiled import jit

KEYS = 1 << 16
TOGETHER = 16  # arrays that are counted in one call


@functools.cache
def value_kernel() -> Callable[..., Any]:
    """Count the 16-bit keys in words of eight bytes: one uint16 pixel or two uint8 pixels are one key.

    Counting bytes in pairs halves the increments, and increments (one store a cycle) are what counting costs. Two
    tables take turns, so that equal neighbours don't wait for each other's store. It takes ``TOGETHER`` arrays, some of
    them empty, since each call gives up the interpreter lock: to have it back from another thread takes longer than
    to count a small array.
    """
    from numba import types

    words = types.Array(types.uint64, 1, "C", readonly=True, aligned=False)

    @jit([types.void(types.UniTuple(words, TOGETHER), types.uint32[:, ::1])])
    def count(arrays: Any, tables: Any) -> None:
        one, key = np.uint32(1), np.uint64(0xFFFF)
        even, odd = np.uint64(0), np.uint64(1)
        for words in arrays:
            for index in range(words.size):
                word = words[index]
                tables[even, word & key] += one
                tables[odd, (word >> np.uint64(16)) & key] += one
                tables[even, (word >> np.uint64(32)) & key] += one
                tables[odd, word >> np.uint64(48)] += one

    return count


@functools.cache
def float_kernel() -> Callable[..., Any]:
    """Sum float32 or float64 pixels in float64, in their order, and count their keys."""
    from numba import types

    arrays = [types.Array(kind, 1, "C", readonly=True, aligned=False) for kind in (types.float32, types.float64)]
    result = types.UniTuple(types.float64, 4)

    @jit([result(array, types.uint32[::1]) for array in arrays])
    def count(pixels: Any, table: Any) -> Any:
        low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
        for index in range(pixels.size):
            value = np.float64(pixels[index])
            if np.isfinite(value):
                low, high = min(low, value), max(high, value)
                total += value
                squares += value * value
                bits = np.float32(value + 0.0).view(np.uint32)  # -0.0 becomes 0.0
                bits = ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
                # A float64 may round to infinity: it stays with the largest finite float32 of its sign.
                table[min(max(bits >> np.uint32(16), np.uint32(0x0080)), np.uint32(0xFF7F))] += np.uint32(1)
        return low, high, total, squares

    return count


@functools.cache
def integer_kernel() -> Callable[..., Any]:
    """Sum uint32 or int32 pixels exactly, their squares by halves of 16 bits, and count their keys as float32."""
    from numba import types

    arrays = [types.Array(kind, 1, "C", readonly=True, aligned=False) for kind in (types.uint32, types.int32)]
    result = types.Tuple((types.int64, types.int64, types.int64, types.uint64, types.uint64, types.uint64))

    @jit([result(array, types.uint32[::1]) for array in arrays])
    def count(pixels: Any, table: Any) -> Any:
        low = high = np.int64(pixels[0])
        total = np.int64(0)
        squares, products, rest = np.uint64(0), np.uint64(0), np.uint64(0)
        for index in range(pixels.size):
            value = np.int64(pixels[index])
            low, high = min(low, value), max(high, value)
            total += value
            size = np.uint64(abs(value))
            upper, lower = size >> np.uint64(16), size & np.uint64(0xFFFF)
            squares += upper * upper
            products += upper * lower
            rest += lower * lower
            bits = np.float32(value).view(np.uint32)
            bits = ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
            table[bits >> np.uint32(16)] += np.uint32(1)
        return low, high, total, squares, products, rest

    return count
