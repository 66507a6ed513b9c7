"""What a member of a sample promises, told by readers alone: what verify compares a store with.

A recipe says which member tells of what (``Recipe.expect``), and decodes it; how that is compared with a store, and
what is said where the two differ, is the matter of :mod:`zarrscope.proof`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zarrscope.model import Content, Integers, Sample, Strings

type Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """All pixels of a picture: ``(c, y, x)`` in the store, and bands ``(rows, x, c)`` from top to bottom here."""

    part: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bands: Iterable[Numbers]


class SparseRows(Protocol):
    """Rows of a matrix in CSR form: names ``(n,)``, indptr ``(n + 1,)``, indices and data ``(k,)`` without zeros."""

    @property
    def names(self) -> Strings: ...  # noqa: D102
    @property
    def indptr(self) -> Integers: ...  # noqa: D102
    @property
    def indices(self) -> npt.NDArray[np.int32]: ...  # noqa: D102
    @property
    def data(self) -> Numbers: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix:
    """All rows of a table's ``X``, in its order; ``symbols`` names its columns, as ``var/symbol`` does."""

    part: str
    symbols: Strings
    bands: Iterable[SparseRows]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What is known of rows of a table by their names, in any order.

    Rows that are not among the names have none of it: False or nothing in ``obs``, NaN in ``obsm``.
    """

    part: str
    names: Strings
    obs: Mapping[str, Sequence[Any] | Numbers] = field(default_factory=dict)
    obsm: Mapping[str, Numbers] = field(default_factory=dict)


type Expected = Picture | Matrix | Facts
# A sample and those of its members that can be had -> what each role tells, when it is called: None where the sample
# has no such member and there is nothing to tell. It raises DecodeError, at once or while bands are taken, for what a
# conversion quarantines.
type Expect = Callable[[Sample, Mapping[str, Content]], Mapping[str, Callable[[], Expected | None]]]
