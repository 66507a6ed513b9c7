"""Every row's pixels, decoded, against the digests in its table: what is wrong is named by row and member."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import xxhash

from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.groups import ImageGroup
from zarrscope.loaders.table import Table
from zarrscope.record import ROWS, Element
from zarrscope.storage import Storage

TOGETHER = 64 << 20  # bytes of pixels decoded at once


def check_pixels(target: Storage, element: Element, only: Collection[str] | None = None) -> list[Problem]:
    """Decode an image row by row and compare with the digests of pixels in its ``rows`` table.

    Parameters
    ----------
    target, element
        The store and the image.
    only
        Objects, as messages name them, whose rows are to be looked at; None for all.
    """
    try:
        array = ImageGroup(target, element).level(0).array
        table = Table(target, f"{element.path}/{ROWS}")
        digests = table.array("obsm/pixels_xxh3_128").read(())
        names = np.asarray(table.columns(["index"])["index"])
    except StoreError as error:
        return [Problem(where=target.at(element.path), kind="content", message=f"its rows can't be checked: {error}")]
    if len(digests) != array.shape[0]:
        message = f"{array.shape[0]} rows of pixels, but {len(digests)} rows in the table"
        return [Problem(where=target.at(element.path), kind="content", message=message)]
    expected = [bytes(one) for one in digests]
    owners = {digest: row for row, digest in reversed(list(enumerate(expected)))}
    problems: list[Problem] = []
    for shard, start, stop in _spans(element):
        where = target.at(f"{element.path}/0/c/{shard}" + "/0" * (len(element.shape) - 1))
        if only is not None and where not in only:
            continue
        for row in range(start, stop, step := _rows_together(element)):
            end = min(row + step, stop)
            try:
                pixels = array.read((slice(row, end),))
            except StoreError:
                problems += _row_by_row(target, element, array, range(row, end), names)
                continue
            for place, one in enumerate(pixels, row):
                found = xxhash.xxh3_128_digest(np.ascontiguousarray(one).data)
                if found != expected[place]:
                    problems.append(_misplaced(target, element, place, str(names[place]), owners.get(found)))
    return problems


def _row_by_row(target: Storage, element: Element, array: object, rows: range, names: object) -> list[Problem]:
    """Find which rows of a block can't be read; one problem stands for neighbours with one cause."""
    problems: list[Problem] = []
    for row in rows:
        try:
            array[row]  # type: ignore[index]  # a ShardedArray
        except StoreError as error:
            name = names[row]  # type: ignore[index]  # an array of text
            message = f"row {row} ({name}) can't be read: {error}"
            problems.append(Problem(where=target.at(element.path), kind="content", message=message))
            if "missing" in str(error) and len(rows) > 1 and not problems[:-1]:
                last = f"rows {row} to {rows[-1]} can't be read: {error}"
                return [Problem(where=target.at(element.path), kind="missing", message=last)]
    return problems


def _misplaced(target: Storage, element: Element, row: int, name: str, owner: int | None) -> Problem:
    where = target.at(element.path)
    if owner is None:
        message = f"row {row} ({name}): its pixels are not those that were written"
    else:
        message = f"row {row} ({name}): it holds the pixels of row {owner}"
    return Problem(where=where, kind="content", message=message)


def _spans(element: Element) -> Iterator[tuple[int, int, int]]:
    for shard, start in enumerate(range(0, element.shape[0], element.shards[0])):
        yield shard, start, min(start + element.shards[0], element.shape[0])


def _rows_together(element: Element) -> int:
    row = max(1, int(np.prod(element.shape[1:])) * np.dtype(element.dtype).itemsize)
    chunk = element.chunks[0]
    return max(chunk, TOGETHER // row // chunk * chunk)
