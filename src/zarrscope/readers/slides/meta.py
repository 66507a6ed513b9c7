"""Read the table of slides: one row a slide, with abstracts that hold newlines, separators and quotes."""

from __future__ import annotations

import re
from collections.abc import Buffer

from zarrscope.errors import DecodeError
from zarrscope.model import Scalar
from zarrscope.readers.slides.delimited import read_columns, require_names

_INTEGERS = ("spot_num", "gene_num")
_BOOLEANS = ("involve_cancer",)
_WHOLE = re.compile(r"([0-9]{1,15})(?:\.0+)?")
_TRUTH = {"true": True, "false": False}


def read_meta(data: Buffer) -> dict[str, list[Scalar]]:
    r"""Read the table of slides, separated by commas or, as an older edition, by tabs.

    Returns
    -------
    dict
        The columns by name, in the order of the file: text, but integers for ``spot_num`` and ``gene_num`` and
        booleans for ``involve_cancer``. What is empty is None. ``pmid`` stays text, as it may be ``"1,2"``.

    Raises
    ------
    DecodeError
        For no column ``slide``, a column twice, rows of another length, a slide twice (naming both rows), or a value
        that is not of its type.

    Examples
    --------
    >>> read_meta(b'"slide","abstract","spot_num"\n"GSE1_GSM2","Two\nlines","666"\n')
    {'slide': ['GSE1_GSM2'], 'abstract': ['Two\nlines'], 'spot_num': [666]}
    """
    header, columns = read_columns(data)
    if "slide" not in header or len(set(header)) < len(header):
        found = ", ".join(repr(name)[:40] for name in header[:16])
        raise DecodeError(f"expected a column 'slide' and each column once, found {found}.")
    table = dict(zip(header, columns, strict=True))
    require_names(table["slide"], "slide", "slide")
    return {name: [_value(text, name, row) for row, text in enumerate(texts, 1)] for name, texts in table.items()}


def _value(text: str, column: str, row: int) -> Scalar:
    if not text:
        return None
    if column in _INTEGERS:
        if whole := _WHOLE.fullmatch(text):
            return int(whole[1])
        raise DecodeError(f"expected a whole number in row {row}, column {column!r}, found {text!r:.40}.")
    if column in _BOOLEANS:
        if (truth := _TRUTH.get(text.lower())) is not None:
            return truth
        raise DecodeError(f"expected True or False in row {row}, column {column!r}, found {text!r:.40}.")
    return text
