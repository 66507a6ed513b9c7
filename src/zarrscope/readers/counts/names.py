"""The names of rows and columns: made unique, checked to be so, and asked which of them are spots."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import xxhash

from zarrscope.model import Strings, strings
from zarrscope.readers.counts.header import Header
from zarrscope.readers.counts.refusal import RowError


def unique_names(symbols: Iterable[str]) -> Strings:
    """Give each column a name of its own, ``(columns,)``.

    The first of equal symbols keeps its name. Each later one gets ``-1``, ``-2`` and so on, in the order of the file,
    leaving out what another column is called already; so does anndata's ``var_names_make_unique``.

    >>> unique_names(["Ddit3", "Ddit3", "FO538757.1", "Ddit3-1", "Ddit3"]).tolist()
    ['Ddit3', 'Ddit3-2', 'FO538757.1', 'Ddit3-1', 'Ddit3-3']
    """
    symbols = list(map(str, symbols))
    taken = set(symbols)
    met: dict[str, int] = {}
    names = []
    for symbol in symbols:
        name = symbol
        if symbol in met:
            while name in taken:
                met[symbol] += 1
                name = f"{symbol}-{met[symbol]}"
            taken.add(name)
        else:
            met[symbol] = 0
        names.append(name)
    return strings(names)


class Seen:
    """The names of the rows so far, as digests of 16 bytes: about 100 bytes of memory a row, however long the name.

    Bands are parsed independently, so that a name in two of them is only seen by who puts them together.
    """

    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self.rows = 0

    def add(self, names: Strings) -> None:
        """Add the names of the rows that follow.

        Raises
        ------
        DecodeError
            Where a name was there before; names the row.
        """
        for name in names.tolist():
            digest = xxhash.xxh3_128_digest(name.encode())
            if digest in self._digests:
                raise RowError(self.rows, name, ": expected each name once, found it in a row above too.")
            self._digests.add(digest)
            self.rows += 1


def looks_transposed(
    header: Header, first_names: Iterable[str], spots: Collection[str] = (), genes: Collection[str] = ()
) -> bool:
    r"""Tell whether a matrix has genes as rows, from names that are known from elsewhere.

    Parameters
    ----------
    header
        Its columns.
    first_names
        The names of some rows.
    spots, genes
        Names that are known, of either or both: of spots from a file of coordinates, say.

    Returns
    -------
    True if a greater share of names is where it would be in a transposed matrix than where it should be. Where nothing
    is known the matrix is taken as it is.

    Examples
    --------
    >>> from zarrscope.readers.counts import Bytes, read_header
    >>> header = read_header(Bytes(b",spot 1,spot 2\nSNAP25,1,0\n"))
    >>> looks_transposed(header, ["SNAP25"], spots=["spot 1", "spot 2", "spot 3"])
    True
    """
    columns, rows = set(header.symbols.tolist()), set(map(str, first_names))
    spots, genes = set(map(str, spots)), set(map(str, genes))

    def share(names: set[str], known: set[str]) -> float:
        return len(names & known) / max(1, len(names))

    return share(columns, spots) + share(rows, genes) > share(columns, genes) + share(rows, spots)
