"""The loops over bytes, compiled on first use; they hold no lock while they run.

Importing this module compiles nothing and imports no compiler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from zarrscope.compiled import jit


@functools.cache
def unfilter_kernel() -> Callable[..., int]:  # noqa: C901  # five filters, five loops
    """Undo the filters of PNG (section 9 of its specification), row by row.

    Called with the filtered rows, a filter type before each, ``(rows, 1 + bytes)``; the row above the first; where the
    result goes, ``(rows, bytes)``; and the bytes of a pixel. Returns the first row of an unknown filter, -1 for none.
    """
    from numba import types

    filtered = types.Array(types.uint8, 2, "C", readonly=True)

    @jit([types.int64(filtered, types.uint8[::1], types.uint8[:, ::1], types.int64)])
    def unfilter(rows: Any, above: Any, out: Any, step: Any) -> Any:  # noqa: C901, PLR0912  # the same
        width = out.shape[1]
        for row in range(rows.shape[0]):
            line, here = rows[row, 1:], out[row]
            kind = rows[row, 0]
            if kind == 0:
                here[:] = line
            elif kind == 1:
                here[:step] = line[:step]
                for i in range(step, width):
                    here[i] = line[i] + here[i - step]
            elif kind == 2:
                for i in range(width):
                    here[i] = line[i] + above[i]
            elif kind == 3:
                for i in range(step):
                    here[i] = line[i] + (above[i] >> 1)
                for i in range(step, width):
                    here[i] = line[i] + ((np.int32(here[i - step]) + np.int32(above[i])) >> 1)
            elif kind == 4:
                for i in range(step):
                    here[i] = line[i] + above[i]
                for i in range(step, width):
                    left, up, corner = np.int32(here[i - step]), np.int32(above[i]), np.int32(above[i - step])
                    to_left, to_up = abs(up - corner), abs(left - corner)
                    nearest = left if to_left <= to_up else up
                    nearest = nearest if min(to_left, to_up) <= abs(left + up - corner - corner) else corner
                    here[i] = line[i] + nearest
            else:
                return row
            above = here
        return -1

    return unfilter


@functools.cache
def undifference_kernel() -> Callable[..., None]:
    """Add to each sample the one to its left (predictor 2 of TIFF 6.0, section 14); arrays are ``(y, x, samples)``."""
    from numba import types

    kinds = (types.uint8, types.uint16)

    @jit([types.void(types.Array(kind, 3, "C", readonly=True), kind[:, :, ::1]) for kind in kinds])
    def undifference(differences: Any, out: Any) -> None:
        rows, columns, samples = out.shape
        for y in range(rows):
            for sample in range(samples):  # the sum stays in a register: reading back what was written takes longer
                total = differences[y, 0, sample]
                out[y, 0, sample] = total
                for x in range(1, columns):
                    total += differences[y, x, sample]
                    out[y, x, sample] = total

    return undifference


@functools.cache
def lzw_kernel() -> Callable[..., int]:  # noqa: C901  # compiled: calls would cost more than they tell
    """Unpack LZW as TIFF packs it (section 13); returns how many bytes came out, -1 where a code means nothing.

    Each string of the table is also a stretch of what is already out, so the table keeps only where and how long.
    """
    from numba import types

    packed = types.Array(types.uint8, 1, "C", readonly=True)

    @jit([types.int64(packed, types.uint8[::1])])
    def unpack(data: Any, out: Any) -> Any:  # noqa: C901  # the same
        starts, lengths = np.zeros(4096, np.int64), np.zeros(4096, np.int64)
        size, known, last, before, at, held, bits = 9, 258, 0, 0, 0, 0, 0
        for byte in data:
            held, bits = ((held << 8) | byte) & 0xFFFFFF, bits + 8
            if bits < size:
                continue
            bits -= size
            code = (held >> bits) & ((1 << size) - 1)
            if code == 257:
                break
            if code == 256:
                size, known, before = 9, 258, 0
                continue
            if before and known < 4096:
                starts[known], lengths[known] = last, before + 1
                known += 1
                if known == (1 << size) - 1 and size < 12:
                    size += 1
            if code >= known or (code > 255 and not before):
                return -1
            last, before = at, 1 if code < 256 else lengths[code]
            stop = min(at + before, out.size)
            if code < 256:
                if at < stop:
                    out[at] = code
            else:
                source = starts[code]
                for place in range(at, stop):  # forwards: a string may go on into what it writes
                    out[place] = out[source + place - at]
            at = stop
            if at == out.size:
                break
        return at

    return unpack


@functools.cache
def packbits_kernel() -> Callable[..., int]:
    """Unpack PackBits (section 9); returns how many bytes came out, -1 where the data end within a run."""
    from numba import types

    packed = types.Array(types.uint8, 1, "C", readonly=True)

    @jit([types.int64(packed, types.uint8[::1])])
    def unpack(data: Any, out: Any) -> Any:
        source: Any = 0
        at: Any = 0
        while source < data.size and at < out.size:
            head: Any = np.int64(data[source])
            source += 1
            if head == 128:  # nothing, by the specification
                continue
            length = head + 1 if head < 128 else 257 - head
            used = length if head < 128 else 1
            if source + used > data.size:
                return -1
            for index in range(min(length, out.size - at)):
                out[at + index] = data[source + index] if head < 128 else data[source]
            source += used
            at += min(length, out.size - at)
        return at

    return unpack
