"""The counts of a slide as bands, refused where they are no counts: genes by spots, or a number below zero."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from zarrscope.errors import DecodeError
from zarrscope.model import Content
from zarrscope.readers.counts import Band, Header, looks_transposed, stream


def count_bands(content: Content, header: Header, spots: Collection[str], *, workers: int) -> Iterator[Band]:
    """Read the counts of a slide, spots by genes.

    Parameters
    ----------
    content, header, workers
        As for :func:`zarrscope.readers.counts.stream`.
    spots
        The names of spots that are known from elsewhere.

    Raises
    ------
    DecodeError
        For what :func:`zarrscope.readers.counts.stream` refuses, for a table the other way round, and for a number
        below zero.
    """
    names: list[str] = []
    try:
        for number, band in enumerate(stream(content, header, workers=workers)):
            if not number:
                names = band.names.tolist()
                _refuse_transposed(header, names, spots)
            if band.negative:
                _refuse_negative(header, band)
            yield band
    except DecodeError:
        if not names:  # such a table is refused for its symbols, too, if one of them stands twice
            _refuse_transposed(header, names, spots)
        raise


def _refuse_transposed(header: Header, names: Collection[str], spots: Collection[str]) -> None:
    if looks_transposed(header, names, spots=spots):
        raise DecodeError(
            "the columns are spots and the rows genes: expected one row a spot. Transpose the file and convert again."
        )


def _refuse_negative(header: Header, band: Band) -> None:
    at = int(np.argmax(band.data < 0))
    spot = band.names[int(np.searchsorted(band.indptr, at, "right")) - 1]
    gene = header.symbols[int(band.indices[at])]
    raise DecodeError(f"spot {spot!r:.120}, column {gene!r:.80}: expected a count, found {band.data[at].item()}.")
