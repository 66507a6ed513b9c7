"""One group of a sample against what one of its members promises, piece by piece; what differs is told in sentences.

Neither side is ever held: pictures pass as rows of chunks, matrices as bands of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from zarrscope.errors import StoreError
from zarrscope.loaders.table import Table
from zarrscope.proof.levels import Pixels, Prints, strips
from zarrscope.proof.nodes import Nodes
from zarrscope.proof.sparse import Compressed, Numbers, fingerprints
from zarrscope.proof.sparse import Prints as Prints64
from zarrscope.query import Categories
from zarrscope.recipe import Facts, Matrix, Picture
from zarrscope.recipe.expected import SparseRows
from zarrscope.storage import Storage

_TOLD = 10  # rows that differ and are told one by one


def compare_picture(target: Storage, path: str, wanted: Picture, others: Mapping[str, str]) -> Iterator[str]:
    """Compare level 0 of an image with a picture.

    Parameters
    ----------
    target, path
        The store, and the image's group.
    wanted
        The picture.
    others
        Names of samples by the digest of their pixels: whose picture the source has, if it is not this one's.
    """
    array = Nodes(target, path).array("0")
    if (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
        turned = (*array.shape[:1], *array.shape[:0:-1]) == wanted.shape
        yield (
            f"expected {wanted.dtype} {wanted.shape} (c, y, x) as in the source, found {array.dtype} {array.shape}"
            f"{': y and x are swapped' if turned else ''}"
        )
        return
    prints, first, different = Prints(array), "", 0
    for rows, pixels in zip(strips(array), _recut(wanted.bands, array.chunks[1]), strict=True):
        prints.add(pixels)
        stored = array.read((slice(None), rows))
        differ = (stored != pixels).any(axis=0)
        if differ.any():
            y, x = (int(at[0]) for at in np.nonzero(differ))
            first = (
                first
                or f"y {rows.start + y}, x {x}: {stored[:, y, x].tolist()}, in the source {pixels[:, y, x].tolist()}"
            )
            different += int(differ.sum())
    if different:
        owner = others.get(prints.text())
        told = f"; the source has the picture of {owner} there" if owner else ""
        yield f"{different:,} pixels differ from the source's, first at {first}{told}"


def _recut(bands: Iterable[Pixels], height: int) -> Iterator[Pixels]:
    """Turn bands ``(rows, x, c)`` into strips ``(c, height, x)``, the last of which may be lower."""
    held: list[Pixels] = []
    rows = 0
    for band in bands:
        held.append(band)
        rows += len(band)
        while rows >= height:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield joined[:height].transpose(2, 0, 1)
            held, rows = [joined[height:]], rows - height
    if rows:
        yield np.concatenate(held).transpose(2, 0, 1)


def compare_matrix(target: Storage, path: str, wanted: Matrix) -> Iterator[str]:
    """Compare ``X`` of a table, the names of its rows and its symbols with a matrix."""
    nodes = Nodes(target, path)
    names, symbols = nodes.column("obs", ""), nodes.column("var", "symbol")
    if names is None or symbols is None:
        raise StoreError(f"{nodes.where}: expected names of rows and symbols of columns, found none.")
    if len(symbols) != len(wanted.symbols):
        yield f"{len(symbols):,} columns, {len(wanted.symbols):,} in the source"
        return
    differ = np.flatnonzero(symbols != wanted.symbols)
    if len(differ):
        at = int(differ[0])
        yield f"{len(differ):,} symbols differ, first column {at}: {symbols[at]}, in the source {wanted.symbols[at]}"
        return
    rows = _Rows(names, symbols, Compressed(nodes, "X"))
    for band in wanted.bands:
        rows.take(band)
    yield from rows.told()


class _Rows:
    """The rows of a stored matrix against those of a source, which come in bands."""

    def __init__(self, names: Numbers, symbols: Numbers, stored: Compressed) -> None:
        self._names, self._symbols, self._stored = names, symbols, stored
        self._seen = self._misnamed = 0
        self._first_name = ""
        self._prints: list[Prints64] = []  # of the source's rows
        self._wrong: list[tuple[int, int, str]] = []  # row, its print in the store, and an entry that differs

    def take(self, band: SparseRows) -> None:
        """Compare the next rows."""
        start = self._seen
        self._seen += len(band.names)
        self._prints.append(_row_prints(band.indptr, band.indices, band.data))
        count = min(self._seen, len(self._names)) - start
        if count <= 0:
            return
        own = self._names[start : start + count]
        misnamed = np.flatnonzero(own != band.names[:count])
        if len(misnamed):
            at = int(misnamed[0])
            self._first_name = self._first_name or f"row {start + at}: {own[at]}, in the source {band.names[at]}"
            self._misnamed += len(misnamed)
        indptr = self._stored.indptr[start : start + count + 1] - self._stored.indptr[start]
        indices, data = self._stored.lines(start, start + count)
        sides: tuple[tuple[Numbers, Numbers], ...] = ((indptr, band.indptr), (indices, band.indices), (data, band.data))
        if len(band.names) == count and all(np.array_equal(one, other) for one, other in sides):
            return
        prints = _row_prints(indptr, indices, data)
        for row in np.flatnonzero(prints != self._prints[-1][:count]).tolist():
            held = dict(zip(*(one[indptr[row] : indptr[row + 1]].tolist() for one in (indices, data)), strict=True))
            cut = slice(int(band.indptr[row]), int(band.indptr[row + 1]))
            wanted = dict(zip(band.indices[cut].tolist(), band.data[cut].tolist(), strict=True))
            self._wrong.append((start + row, int(prints[row]), self._entry(held, wanted)))

    def _entry(self, held: Mapping[int, float], wanted: Mapping[int, float]) -> str:
        """Name the first column in which two rows differ."""
        if len(self._wrong) >= _TOLD:
            return ""
        at = min(column for column in held.keys() | wanted.keys() if held.get(column) != wanted.get(column))
        return f"{self._symbols[at]} is {held.get(at, 0)}, in the source {wanted.get(at, 0)}"

    def told(self) -> Iterator[str]:
        """Say what differs: whose counts a row holds, where they are those of another."""
        if self._seen != len(self._names):
            yield f"{len(self._names):,} rows, {self._seen:,} in the source"
        if self._misnamed:
            yield f"{self._misnamed:,} rows have another name than in the source, first {self._first_name}"
        prints = np.concatenate([np.zeros(0, np.uint64), *self._prints]).tolist()
        owners = {one: row for row, one in reversed(list(enumerate(prints))) if one} if self._wrong else {}
        for row, one, entry in self._wrong[:_TOLD]:
            owner = owners.get(one)
            told = entry if owner is None else f"it holds the counts of row {owner} of the source"
            yield f"row {row} ({self._names[row]}): {told}"
        if len(self._wrong) > _TOLD:
            yield f"and {len(self._wrong) - _TOLD:,} further rows differ from the source's"


def _row_prints(indptr: Numbers, indices: Numbers, data: Numbers) -> Prints64:
    prints = np.zeros(len(indptr) - 1, np.uint64)
    lines = np.repeat(np.arange(len(prints)), indptr[1:] - indptr[:-1])
    np.add.at(prints, lines, fingerprints(np.zeros(len(lines), np.int64), indices, data))
    return prints


def compare_facts(target: Storage, path: str, wanted: Facts) -> Iterator[str]:
    """Compare columns of ``obs`` and ``obsm``, row by row through their names, with what is known of rows."""
    nodes, table = Nodes(target, path), Table(target, path)
    names = nodes.column("obs", "")
    if names is None:
        raise StoreError(f"{nodes.where}: expected names of rows, found none.")
    row_of = {name: row for row, name in enumerate(wanted.names.tolist())}
    place = np.array([row_of.get(name, -1) for name in names.tolist()], np.int64)
    for name, values in wanted.obs.items():
        if not table.has(name):
            if any(value is not None for value in values):
                yield f"there is no column {name!r} in obs"
            continue
        stored, known = _plain(table.columns([name])[name]), [*values, None]
        differ = [row for row, at in enumerate(place.tolist()) if not equal(stored[row], known[at])]
        if differ:
            at = differ[0]
            found = f"first of {names[at]}: {stored[at]}, in the source {known[place[at]]}"
            yield f"{name} of {len(differ):,} rows is not the source's, {found}"
    for name, places in wanted.obsm.items():
        yield from _compare_places(f"obsm/{name}", nodes.array(f"obsm/{name}").read(()), places, place, names)


def _compare_places(what: str, stored: Numbers, known: Numbers, place: Numbers, names: Numbers) -> Iterator[str]:
    """Compare coordinates ``(n, 2)``, and see whether they were swapped."""
    wanted = np.concatenate([known, np.full((1, known.shape[1]), np.nan)])[place]
    if stored.shape != wanted.shape:
        yield f"{what}: expected the shape {wanted.shape}, found {stored.shape}"
        return
    differ = np.flatnonzero(((stored != wanted) & ~(np.isnan(stored) & np.isnan(wanted))).any(axis=1))
    if len(differ):
        at = int(differ[0])
        told = f"first of {names[at]}: {stored[at].tolist()}, in the source {wanted[at].tolist()}"
        swapped = np.array_equal(stored[:, ::-1], wanted, equal_nan=True)
        yield f"{what} of {len(differ):,} rows is not the source's{' (x and y are swapped)' if swapped else ''}, {told}"


def _plain(column: Any) -> list[Any]:
    if isinstance(column, Categories):
        return [None if code < 0 else str(column.values[code]) for code in column.codes.tolist()]
    values: list[Any] = column.tolist()
    return values


def equal(stored: Any, wanted: Any) -> bool:
    """Compare a stored value with a known one: a gap is None, False or NaN in the store; a mixed column is text."""
    if wanted is None or wanted != wanted:  # noqa: PLR0124  (only NaN differs from itself)
        return stored is None or stored is False or stored != stored  # noqa: PLR0124
    if isinstance(stored, str) and not isinstance(wanted, str):
        return stored == str(wanted)
    return bool(stored == wanted)
