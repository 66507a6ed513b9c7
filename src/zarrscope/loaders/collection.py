"""What a store offers across samples that have groups of their own: slides as a table, genes across slides.

A store of stacks is asked row by row; a store of slides is a collection of unequal things, each with groups of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from zarrscope.loaders.contents import Contents
from zarrscope.loaders.expressed import GeneReader
from zarrscope.loaders.queries import Selection
from zarrscope.loaders.sets import SampleSets
from zarrscope.record import Element

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class Collection:
    """The samples of a store, taken together. Pickles to its contents.

    Parameters
    ----------
    contents
        The store's elements.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._sets = SampleSets(contents)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._contents,)

    @property
    def slides(self) -> pd.DataFrame:
        """One row a slide, by its true name, those wholly quarantined (``ok`` is False) among them."""
        return self._sets.own("slides")

    def gene(
        self,
        symbol: str | Sequence[str],
        slides: Selection | str | Sequence[str] | None = None,
        *,
        sum_duplicates: bool = False,
    ) -> pd.DataFrame:
        """Read one gene, or several, of many slides: a row a spot. Only their own entries are read.

        Parameters
        ----------
        symbol
            Exactly as it stands in the files; mouse genes are written as Snap25, human ones as SNAP25.
        slides
            A selection, names or paths; by default all slides that have counts.
        sum_duplicates
            A symbol may stand in several columns of a slide. By default each has a column of its own, in the order of
            the file: ``value``, ``value_1``, ... (``SNAP25``, ``SNAP25_1``, ...); here they are added up.

        Returns
        -------
        pandas.DataFrame
            ``slide``, ``spot`` (the row name in ``counts``), ``x`` and ``y`` in pixels of the image, and ``value``, or
            of several symbols a column each, by its name. NaN where a slide does not measure it, 0 where it does and
            nothing was counted.

        Raises
        ------
        QueryError
            For a symbol that no slide of the store measures: it names those that come close.
        MissingDataError
            For a slide that is not there or has no counts (those of a selection are left out).

        Warns
        -----
        UserWarning
            Where slides do not measure a symbol but one that differs from it by case.
        """
        return self._genes.read(symbol, self._chosen(slides), summed=sum_duplicates)

    def concat(
        self,
        slides: Selection | str | Sequence[str] | None = None,
        genes: str | Sequence[str] | None = None,
        *,
        join: Literal["inner", "outer"] = "inner",
        columns: Sequence[str] | None = None,
        dtype: npt.DTypeLike | None = "float32",
    ) -> AnnData:
        """Put slides below each other as one AnnData; its counts are read when they are asked for.

        Parameters
        ----------
        slides
            A selection, names or paths; by default all slides that have counts.
        genes
            Symbols, exactly as they stand in the files; by default all. Of few genes only their own entries are read.
        join
            ``"inner"``: only genes that all these slides measure. ``"outer"``: all of them; where a slide does not
            measure a gene ``X`` holds 0, which means nothing, and ``varm["measured"]`` is False.
        columns
            Columns of ``obs`` to read; by default all that any slide has.
        dtype
            Of ``X``: float32 is exact up to 16,777,216. None keeps the type in which counts are stored.

        Returns
        -------
        anndata.AnnData
            ``X`` a dask array of CSR blocks (spots, genes), ``to_memory()`` reads it. ``obs``, in memory, has
            ``slide`` and the slides' columns, missing where a slide does not have one; its ``total_counts`` are those
            of all genes of the slide. ``obsm["spatial"]`` is (x, y) in pixels of each slide's image. ``var`` has
            ``symbol`` and ``n_slides``; a symbol that stands in several columns of a slide has as many here, called
            ``TBCE``, ``TBCE-1``, .... ``varm["measured"]`` tells for each gene which slides measure it. Pictures stay
            with their slides.

        Raises
        ------
        QueryError
            For a symbol that none of these slides measures.
        UsageError
            Where no gene, or not each one asked for, is measured by all slides, and ``join`` is ``"inner"``.
        MissingDataError
            For a slide that is not there or has no counts (those of a selection are left out).

        Warns
        -----
        UserWarning
            Where ``join`` is ``"outer"`` and some genes are not measured by all slides.
        """
        from zarrscope.loaders.concat import concatenate

        return concatenate(self._contents, self._chosen(slides), genes, join=join, columns=columns, dtype=dtype)

    def _chosen(self, slides: Selection | str | Sequence[str] | None) -> list[Element]:
        if isinstance(slides, Selection):
            return self._genes.slides(slides.names, lenient=True)
        return self._genes.slides([slides] if isinstance(slides, str) else slides)

    @cached_property
    def _genes(self) -> GeneReader:
        return GeneReader(self._contents)
