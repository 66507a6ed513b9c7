"""The loops that turn rows into columns, compiled on first use: entries are packed row by row, and scattered by gene.

A packed entry is the distance from the gene before it in its row, seven bits a byte with the last byte below 128, and
its value: one byte from 1 to 255, or a byte 0 and then the value as it is. That is two bytes for most counts, where
a column number and a value take eight, so that a quarter of the memory holds a slide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from zarrscope.compiled import jit

LONGEST = 5  # bytes of a distance below 2**31


@functools.cache
def pack_kernel() -> Callable[..., Any]:
    """Pack the entries of some genes.

    Parameters
    ----------
    starts, indices, data, raw
        int64 ``(rows + 1,)``, int32 and any values ``(k,)``: sparse rows, by increasing gene; ``raw`` are the bytes
        of the values.
    first, stop
        The genes that are wanted.
    ends, sizes, counts, packed
        Are filled: int32 ``(rows,)``, where each row ends in ``packed``; int64 ``(genes,)`` twice, to which bytes and
        entries of each gene are added. ``packed`` must hold ``LONGEST + 1`` bytes and a value for each entry.

    Returns
    -------
    Bytes used.
    """
    from numba import types

    numbers = [types.Array(kind, 1, "C", readonly=True) for kind in (types.int32, types.int64, types.float64)]
    i64, i32s, i64s, u8s = types.int64, types.int32[::1], types.int64[::1], types.uint8[::1]
    raw_bytes = types.Array(types.uint8, 1, "C", readonly=True)

    @jit([i64(i64s, numbers[0], data, raw_bytes, i64, i64, i32s, i64s, i64s, u8s) for data in numbers])
    def pack(
        starts: Any,
        indices: Any,
        data: Any,
        raw: Any,
        first: Any,
        stop: Any,
        ends: Any,
        sizes: Any,
        counts: Any,
        packed: Any,
    ) -> Any:
        width = raw.size // max(1, data.size)
        at = 0
        for row in range(starts.size - 1):
            before, place, last = first, starts[row], starts[row + 1]
            if first > 0:
                place += np.searchsorted(indices[place:last], first)
            while place < last and indices[place] < stop:
                gene, began = indices[place], at
                step, before = gene - before, gene
                while step >= 128:
                    packed[at] = (step & 127) | 128
                    at, step = at + 1, step >> 7
                packed[at] = step
                at += 1
                value = data[place]
                if 0 < value < 256 and value == np.uint8(value):
                    packed[at] = np.uint8(value)
                    at += 1
                else:
                    packed[at] = 0
                    at += 1
                    for byte in range(place * width, (place + 1) * width):
                        packed[at] = raw[byte]
                        at += 1
                sizes[gene] += at - began
                counts[gene] += 1
                place += 1
            ends[row] = at
        return at

    return pack


@functools.cache
def scatter_kernel() -> Callable[..., Any]:
    """Place the entries of the next genes, those below ``stop``, each behind what its gene has already.

    Parameters
    ----------
    packed, ends
        As :func:`pack_kernel` fills them.
    cursors, genes
        int32 ``(rows,)``: how far each row is read, and the gene it is at; moved on.
    first_row, stop
        The row that the first of these is, and the first gene that waits.
    base, free
        The first gene of those that are placed now, and int64 ``(genes,)`` from that one on: where the next entry of
        each gene belongs; moved on.
    rows, data, raw
        Are filled: row numbers, values, and the bytes of the values.
    totals
        int64 or float64 ``(genes,)``: values are added, in the order of the rows.
    """
    from numba import types

    i64, i32s, i64s, u8s = types.int64, types.int32[::1], types.int64[::1], types.uint8[::1]
    kinds = ((types.int32, types.int64), (types.int64, types.float64), (types.float64, types.float64))

    @jit(
        [
            types.void(
                *(u8s, i32s, i32s, i32s, i64, i64, i64, i64s),
                *(i32s, data[::1], u8s, total[::1]),
            )
            for data, total in kinds
        ]
    )
    def scatter(
        packed: Any,
        ends: Any,
        cursors: Any,
        genes: Any,
        first_row: Any,
        stop: Any,
        base: Any,
        free: Any,
        rows: Any,
        data: Any,
        raw: Any,
        totals: Any,
    ) -> None:
        width = raw.size // max(1, data.size)
        for row in range(ends.size):
            at, gene, end = np.int64(cursors[row]), np.int64(genes[row]), np.int64(ends[row])
            while at < end:
                ahead, step, shift = at, np.int64(packed[at]), np.int64(7)
                while packed[ahead] >= 128:
                    ahead += 1
                    step = (step & ((1 << shift) - 1)) | (np.int64(packed[ahead]) << shift)
                    shift += 7
                if gene + step >= stop:
                    break
                gene += step
                place = free[gene - base]
                free[gene - base] += 1
                rows[place] = first_row + row
                if packed[ahead + 1]:
                    data[place] = packed[ahead + 1]
                    at = ahead + 2
                else:
                    at = ahead + 2
                    for byte in range(place * width, (place + 1) * width):
                        raw[byte] = packed[at]
                        at += 1
                totals[gene] += data[place]
            cursors[row], genes[row] = at, gene

    return scatter
