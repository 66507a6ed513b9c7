"""Read what pathologists say of the spots of a slide: one label a spot."""

from __future__ import annotations

from collections.abc import Buffer

from zarrscope.errors import DecodeError
from zarrscope.model import Strings, strings
from zarrscope.readers.slides.delimited import read_columns, require_names

# The first three are what the authors of STimage-1K4M leave out, in this spelling; the last is how R writes nothing.
# Other spellings are kept as labels: they may mean something.
MISSING = frozenset({"", "undetermined", "Exclude", "NA"})


def read_annotation(data: Buffer) -> tuple[Strings, list[str | None]]:
    r"""Read an annotation: a column of spots, without a name or named ``V1``, and one of labels, often named ``V2``.

    Returns
    -------
    names
        ``(n,)`` text, each once, in the order of the file.
    labels
        A label a spot, None where it is one of :data:`MISSING`, exactly in that spelling.

    Raises
    ------
    DecodeError
        For a header without such columns, rows of another length, or a spot without a name or with that of another.

    Examples
    --------
    >>> names, labels = read_annotation(b"V1\tV2\nA1_10x13\tcancer in situ\nA1_10x14\tundetermined\n")
    >>> names.tolist(), labels
    (['A1_10x13', 'A1_10x14'], ['cancer in situ', None])
    """
    header, columns = read_columns(data)
    spots = "V1" if "V1" in header else ""
    others = [at for at, name in enumerate(header) if at != (header.index(spots) if spots in header else -1)]
    label = header.index("V2") if "V2" in header else others[0] if len(others) == 1 else -1
    if spots not in header or label < 0:
        found = ", ".join(repr(name)[:40] for name in header[:8])
        raise DecodeError(f"expected a column of spots ('' or 'V1') and one of labels ('V2'), found {found}.")
    names = columns[header.index(spots)]
    require_names(names, spots, "spot")
    return strings(names), [None if text.strip() in MISSING else text for text in columns[label]]
