"""A small finished store of slides, written by zarr-python and AnnData rather than by our own writers.

Every count tells where it belongs, ``1,000 * slide + 10 * spot + gene``, and so does every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import zarr

from loaders.builder import consolidate, write_table
from zarrscope import record as rec

HUMAN = ("SNAP25", "MBP", "DUP", "DUP", "ZERO")
MOUSE = ("Snap25", "Mbp", "DUP", "ONLY")
PANELS = {"aa": HUMAN, "bb": MOUSE}
LEVELS = ((3, 40, 50), (3, 20, 25), (3, 10, 13))


@dataclass(frozen=True)
class Slide:
    name: str
    path: str
    spots: int = 12
    panel: str | None = "aa"
    species: str = "human"
    tissue: str = "brain"
    image: bool = True
    size: float | None = None  # micrometres a pixel
    sharded: bool = False

    @property
    def number(self):
        return SLIDES.index(self)

    @property
    def genes(self):
        return PANELS[self.panel]

    @property
    def names(self):
        return [f"{self.name}_{spot}" for spot in range(self.spots)]

    @property
    def holds(self):
        return (*(("by_gene", "counts") if self.panel else ()), *(("image",) if self.image else ()))

    @property
    def counts(self):
        """Give the counts, ``(spots, genes)``: zeros where spot and gene add up to a multiple of three."""
        spot, gene = np.ogrid[: self.spots, : len(self.genes)]
        dense = 1000 * (self.number + 1) + 10 * spot + gene
        dense[(spot + gene) % 3 == 0] = 0
        dense[:, [name == "ZERO" for name in self.genes]] = 0
        return dense.astype(np.int32)

    @property
    def places(self):
        """Give x and y of each spot, ``(spots, 2)``; the last spot of the third slide has no place."""
        spot = np.arange(self.spots)
        places = np.stack([3.0 * spot + self.number, 2.0 * spot + 0.5], axis=1)
        if self.number == 2:
            places[-1] = np.nan
        return places

    def pixels(self, level):
        """Give the pixels of a level, ``(c, y, x)``."""
        c, y, x = np.ogrid[tuple(map(slice, LEVELS[level]))]
        return (self.number * 10_000 + level * 3_000 + c * 1_000 + y * 20 + x).astype(np.uint16)


SLIDES = [
    Slide("GSE1_GSM2", "Visium/GSE1_GSM2", sharded=True),
    Slide("Mouse_Brain+Kidney", "Visium/Mouse_Brain_Kidney", 9, "bb", "mouse", "brain+kidney"),
    Slide("Breast_A1", "ST/Breast_A1", 7, tissue="breast", image=False, size=0.5),
    Slide("Colon_HD", "VisiumHD/Colon_HD", panel=None, tissue="colon"),
    Slide("Torn", "ST/Torn", panel=None, image=False),
]
HAVING = SLIDES[:3]


def write_image(root, slide):
    """Write the pyramid of a slide, consolidated in its own group."""
    unit = {} if slide.size is None else {"unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space", **unit} for name in "yx")]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0**level, 2.0**level]}],
        }
        for level in range(len(LEVELS))
    ]
    attributes = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    group = zarr.open_group(root / slide.path / "image", mode="w", attributes=attributes)
    for level, shape in enumerate(LEVELS):
        array = group.create_array(
            str(level),
            shape=shape,
            chunks=(3, 8, 8),
            shards=(3, 16, 32),
            dtype="uint16",
            compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
            dimension_names=("c", "y", "x"),
            config={"write_empty_chunks": True},
        )
        array[...] = slide.pixels(level)
    consolidate(root / slide.path / "image")


def counts_table(slide):
    """Give the AnnData of a slide's counts."""
    dense = slide.counts
    obs = pd.DataFrame(
        {
            "spot": [str(spot) for spot in range(slide.spots)],
            "radius": np.full(slide.spots, 1.25),
            "label": pd.Categorical(["tumour" if spot % 2 else None for spot in range(slide.spots)]),
            "total_counts": dense.sum(axis=1),
        },
        index=pd.Index(slide.names, dtype=object),
    )
    var = pd.DataFrame({"symbol": list(slide.genes)}, index=[f"{name}-{at}" for at, name in enumerate(slide.genes)])
    pictures = {name: np.full((size, size, 3), size, np.uint8) for name, size in (("hires", 20), ("lowres", 6))}
    factors = {"spot_diameter_fullres": 2.5, "tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.15}
    return anndata.AnnData(
        X=scipy.sparse.csr_matrix(dense),
        obs=obs,
        var=var,
        obsm={"spatial": slide.places},
        uns={"spatial": {slide.name: {"images": pictures, "scalefactors": factors}}},
    )


def write_by_gene(root, slide):
    """Write the gene-major twin, of one slide in a shard of many chunks."""
    matrix = scipy.sparse.csc_matrix(slide.counts)
    path = root / slide.path / "by_gene"
    attributes = {"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": list(matrix.shape)}
    group = zarr.open_group(path, mode="w", attributes=attributes)
    for part in ("indptr", "indices", "data"):
        values = getattr(matrix, part)
        cut = {"chunks": (4,), "shards": (64,)} if slide.sharded and part != "indptr" else {"chunks": values.shape}
        array = group.create_array(part, shape=values.shape, dtype=values.dtype, **cut)
        array[...] = values
    consolidate(path)


def gene_index():
    """Give the index of genes by panel."""
    keys, symbols = list(PANELS), sorted({name for panel in PANELS.values() for name in panel})
    entries = {
        symbol: [(keys.index(key), at) for key in keys for at, name in enumerate(PANELS[key]) if name == symbol]
        for symbol in symbols
    }
    counts = np.array([len(found) for found in entries.values()], np.int32)
    whole = np.array([entry for found in entries.values() for entry in found], np.int32)
    obs = pd.DataFrame(
        {"start": np.cumsum(counts) - counts.astype(np.int64), "n_columns": counts},
        index=pd.Index(symbols, dtype=object),
    )
    uns = {"panel": whole[:, 0], "column": whole[:, 1], "panels": np.array(keys, dtype=object)}
    return anndata.AnnData(obs=obs, uns=uns)


def catalogue():
    """Give the catalogue: one row a slide, one of them wholly quarantined."""
    columns = {
        "path": [one.path if one.holds else None for one in SLIDES],
        "technology": [one.path.split("/")[0] for one in SLIDES],
        "species": [one.species for one in SLIDES],
        "tissue": [one.tissue for one in SLIDES],
        "panel": [one.panel for one in SLIDES],
        "reason": ["its files are torn" if one.name == "Torn" else None for one in SLIDES],
    }
    frame = pd.DataFrame({name: pd.Categorical(values) for name, values in columns.items()})
    frame["ok"] = [bool(one.holds) for one in SLIDES]
    frame["n_spots"] = pd.array([one.spots if one.panel else None for one in SLIDES], dtype="Int64")
    frame["micrometres_per_pixel"] = [one.size or np.nan for one in SLIDES]
    return frame.set_index(pd.Index([one.name for one in SLIDES]))


def record(slides=None, rows=None):
    """Give the record; of other slides where they are given."""
    chosen = SLIDES if slides is None else slides
    shared = {"digest": "0" * 64}
    elements = [
        rec.Element(path=one.path, kind="sample", role="slide", name=one.name, shape=(), holds=one.holds, **shared)
        for one in chosen
        if one.holds
    ]
    elements += [
        rec.Element(path="slides", kind="table", role="catalogue", shape=(len(chosen), 0), **shared),
        rec.Element(path="genes", kind="table", role="genes", shape=(7, 0), **shared),
    ]
    return rec.Record(
        recipe="demo",
        recipe_version=1,
        title="Slides",
        terms=rec.Terms(),
        conversions=(),
        elements=tuple(elements),
        samples=(rec.Samples(name="slides", length=rows or len(chosen), rows="slides", images=()),),
        version="0.1.0",
    )


def build_slides(root: Path) -> Path:
    """Write the whole store."""
    for slide in SLIDES:
        if slide.panel:
            write_table(root, f"{slide.path}/counts", counts_table(slide))
            write_by_gene(root, slide)
        if slide.image:
            write_image(root, slide)
    write_table(root, "slides", anndata.AnnData(obs=catalogue()))
    write_table(root, "genes", gene_index())
    (root / "zarr.json").write_bytes(rec.root_document(record()))
    return root
