"""Synthetic transcripts: gene panels with the traps of real ones, and counts that follow the layers of the tissue.

What trips readers up, and is here: a symbol that stands twice, a gene whose name is what pandas makes of such a
symbol (``X.1``), genes that no spot has, panels that differ between slides, names with dots and dashes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zarrscope.demo.tissue import LAYERS

type Counts = npt.NDArray[np.int64]

_SYMBOLS = (
    *("TBCE", "ERBB2", "COL1A1", "MBP", "CD74", "KRT8", "PCP4", "GFAP", "EPCAM", "SNAP25", "IGKC", "PTPRC", "VIM"),
    *("MKI67", "ACTB", "MALAT1", "HLA-DRA", "MT-CO1", "PLP1", "ESR1", "CXCL13", "MS4A1", "APOE", "FABP7", "SPARC"),
)
_FIRST = 8  # genes that are in every panel


class Panel(NamedTuple):
    """The genes of a slide: names as they stand in its file, and expected counts ``(genes, LAYERS)``."""

    names: list[str]
    rates: npt.NDArray[np.float64]


def panel(rng: np.random.Generator, seed: int, count: int, *, mouse: bool) -> Panel:
    """Choose ``count`` genes of a common pool; a gene has one pattern wherever it is measured.

    The last three are a name like ``X.1`` of the first, and two symbols that stand further up already.
    """
    pool = max(count + count // 4, _FIRST)
    rest = np.sort(rng.permutation(np.arange(_FIRST, pool))[: count - _FIRST])
    genes = np.concatenate([np.arange(min(_FIRST, count)), rest])
    names = [_name(int(gene), mouse=mouse) for gene in genes]
    names[-3:] = f"{names[0]}.1", names[0], names[1]
    patterns = np.random.default_rng([seed, pool])
    rates = np.repeat(patterns.lognormal(-1.5, 1.0, (pool, 1)), LAYERS, axis=1)
    marker = np.arange(pool) % 2 == 0
    peak = np.arange(pool) // 2 % LAYERS
    rates *= np.where(marker[:, None], np.where(peak[:, None] == np.arange(LAYERS), 8.0, 0.2), 1.0)
    rates[np.arange(pool) % 5 == 4] = 0  # no spot has these
    return Panel(names, rates[genes])


def _name(gene: int, *, mouse: bool) -> str:
    if gene < len(_SYMBOLS):
        return _SYMBOLS[gene].capitalize() if mouse else _SYMBOLS[gene]
    human = (f"RP11-{gene}P{gene % 24}.{gene % 9}", f"AC{gene:06d}.1", f"LINC{gene:05d}", f"ENSG{gene:011d}")
    murine = (f"Gm{gene}", f"{gene}A{gene % 24:02d}Rik", f"Ac{gene:06d}.1", f"ENSMUSG{gene:011d}")
    return (murine if mouse else human)[gene % 4]


def count_transcripts(rng: np.random.Generator, rates: npt.NDArray[np.float64], layer: npt.NDArray[np.int64]) -> Counts:
    """Draw counts, ``(spots, genes)``, for spots in the given layers; some spots catch more than others."""
    yields = rng.lognormal(0, 0.4, len(layer))
    return rng.poisson(rates.T[layer] * yields[:, None])


def stamped_counts(spots: Counts, genes: int) -> Counts:
    """Give counts that say where they stand, ``(len(spots), genes)``: each a function of its spot and its gene.

    Two of three are 0; a swap, a shift by one or a lost row shows.

    >>> stamped_counts(np.arange(2), 4).tolist()
    [[1, 0, 0, 52], [0, 0, 66, 0]]
    """
    spot, gene = np.asarray(spots, np.int64)[:, None], np.arange(genes)
    return np.where((spot + gene) % 3 == 0, 1 + (31 * spot + 17 * gene) % 251, 0)
