"""A small STimage-1K4M tree, true to form: slides of three technologies as pictures, places and dense counts.

What is true to form, because each point trips a reader up:

* Every picture is named ``.png``, whatever it is: see :mod:`zarrscope.demo.pictures`.
* The columns of a coordinate file are y, then x; names of spots start with the slide.
* Counts are dense text: integers for one study, ``0.0`` for all others; symbols stand twice, genes are empty.
* Names of slides hold ``+``, ``.`` and misprints; the table of slides holds newlines, quotes, and slides without
  files; of two annotations one is separated by tabs, one by commas.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zarrscope.demo.pictures import Pixels, gray, stamped_pixels, write_picture
from zarrscope.demo.slides import Slide, cast, write_meta
from zarrscope.demo.tissue import Spots, Technology, Tissue, cover, grow, layers, paint
from zarrscope.demo.transcripts import Counts, Panel, count_transcripts, panel, stamped_counts
from zarrscope.errors import UsageError

_BAND = 1 << 20  # counts that are held at a time
# By layer; the first, the rim, has what the study calls missing.
_LABELS = ("", "connective tissue", "immune infiltrate", "cancer in situ", "invasive cancer")

type Layer = npt.NDArray[np.int64]

_README = """# STimage-1K4M, synthetic

A miniature of STimage-1K4M made by `zarrscope demo`: same names, same formats, invented content. No tissue was
involved. `ST`, `Visium` and `VisiumHD` hold `image`, `coord` and `gene_exp`; all pictures are named `.png`.
"""


def make_stimage(
    folder: Path,
    *,
    slides: int = 4,
    spots: int = 200,
    genes: int = 120,
    side: int = 600,
    seed: int = 0,
    stamp: bool = False,
) -> Path:
    """Write a small STimage-1K4M tree.

    Parameters
    ----------
    folder
        Where to write the folder ``STimage-1K4M``; made if need be.
    slides
        How many; seven show every form of picture.
    spots
        Spots a slide; a Visium HD one has twice as many.
    genes
        Genes of the largest panel; others have up to a fifth less.
    side
        Height of a picture in pixels; it is a quarter wider. One of Visium HD is 1.6 times as large.
    seed
        The same seed gives the same bytes.
    stamp
        Whether counts and pixels say where they stand, see :func:`zarrscope.demo.transcripts.stamped_counts` and
        :func:`zarrscope.demo.pictures.stamped_pixels`. Such a picture shows no tissue.

    Returns
    -------
    Path
        The folder ``STimage-1K4M``.

    Raises
    ------
    UsageError
        For no slides, fewer than 10 spots or genes, or pictures of fewer than 64 pixels.
    """
    if slides < 1 or min(spots, genes) < 10 or side < 64:
        raise UsageError(
            f"expected slides >= 1, spots >= 10, genes >= 10, side >= 64; "
            f"found slides={slides}, spots={spots}, genes={genes}, side={side}"
        )
    root = folder / "STimage-1K4M"
    sizes = {}
    chosen = list(cast(slides))
    for number, slide in enumerate(chosen):
        count = genes - number % 4 * (genes // 15)
        sizes[slide.name] = _write_slide(root, slide, (spots, count, side), seed, stamp=stamp)
    write_meta(root / "meta", chosen, sizes)
    _folder(root, "aux")
    write_picture(root / "aux" / "f1.png", stamped_pixels((48, 64), 3), "rgb png")
    (root / "README.md").write_text(_README, encoding="utf-8", newline="\n")
    return root


def _folder(*parts: Path | str) -> Path:
    path = Path(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_slide(root: Path, slide: Slide, size: tuple[int, int, int], seed: int, *, stamp: bool) -> tuple[int, int]:
    """Write the files of one slide; give its numbers of spots and genes."""
    count, genes, side = size
    rng = np.random.default_rng([seed, *slide.name.encode()])
    height = round(side * slide.larger[0])
    tissue = grow(rng, (height, round(1.25 * height)))
    spots = cover(rng, tissue, slide.technology, count * slide.larger[1])
    named = sorted(zip(_spot_names(rng, slide, spots), range(len(spots)), strict=True))
    names = [f"{slide.name}_{name}" for name, _ in named]
    spots = spots.take(np.array([at for _, at in named]))
    place = root / slide.technology
    picture = _picture(rng, tissue, slide.form, stamp=stamp)
    write_picture(_folder(place, "image") / f"{slide.name}.png", picture, slide.form)
    _write_coords(_folder(place, "coord") / f"{slide.name}_coord.csv", names, spots, slide.technology)
    layer = layers(tissue.depth(spots.y, spots.x))
    chosen = panel(rng, seed, genes, mouse=slide.species == "mouse")
    path = _folder(place, "gene_exp") / f"{slide.name}_count.csv"
    _write_counts(path, names, chosen, _bands(rng, chosen, layer, stamp=stamp), whole=slide.whole)
    if slide.separator:
        _write_annotation(_folder(root, "annotation") / f"{slide.name}_anno.csv", names, layer, slide)
    return len(names), len(chosen.names)


def _picture(rng: np.random.Generator, tissue: Tissue, form: str, *, stamp: bool) -> Pixels:
    if stamp:
        return stamped_pixels(tissue.shape, 1 if form == "gray png" else 3)
    pixels = paint(rng, tissue)
    return gray(pixels) if form == "gray png" else pixels


def _spot_names(rng: np.random.Generator, slide: Slide, spots: Spots) -> list[str]:
    """Name spots as the technology does, without the slide."""
    row, col = spots.row.tolist(), spots.col.tolist()
    if slide.technology == "Visium":
        letters = rng.choice(list("ACGT"), (2 * len(spots), 16))
        return [f"{barcode}-1" for barcode in dict.fromkeys(map("".join, letters.tolist()))][: len(spots)]
    if slide.technology == "VisiumHD":
        return [f"s_008um_{y + 12:05d}_{x + 345:05d}-1" for y, x in zip(row, col, strict=True)]
    if slide.measured:
        off = rng.uniform(-0.04, 0.04, (len(spots), 2)).tolist()
        return [f"{x + 2 + at[0]:.3f}x{y + 3 + at[1]:.3f}" for y, x, at in zip(row, col, off, strict=True)]
    return [f"{x + 2}x{y + 3}" for y, x in zip(row, col, strict=True)]


def _write_coords(path: Path, names: list[str], spots: Spots, technology: Technology) -> None:
    # Visium: 55 micrometres wide at a pitch of 100; ST: 100 at 200; HD: the half of a bin.
    radius = spots.pitch * {"ST": 0.25, "Visium": 0.275, "VisiumHD": 0.5}[technology]
    digits = 2 if technology == "ST" else 10
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",yaxis,xaxis,r\n")
        for name, y, x in zip(names, spots.y.tolist(), spots.x.tolist(), strict=True):
            file.write(f"{name},{round(y, digits)},{round(x, digits)},{radius}\n")


def _write_annotation(path: Path, names: list[str], layer: Layer, slide: Slide) -> None:
    """Label spots by layer; the outermost are what the study calls missing, and the first of these is just empty."""
    labels = [_LABELS[at] if at else slide.missing for at in layer]
    if slide.missing in labels:
        labels[labels.index(slide.missing)] = ""
    # One study names both columns, the other only that of the labels.
    rows = [("V1" if slide.separator == "\t" else "", "V2"), *zip(names, labels, strict=True)]
    text = "".join(slide.separator.join(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def _bands(rng: np.random.Generator, chosen: Panel, layer: Layer, *, stamp: bool) -> Iterator[Counts]:
    """Give the counts of some spots at a time, ``(spots, genes)``."""
    genes = len(chosen.names)
    step = max(1, _BAND // genes)
    for start in range(0, len(layer), step):
        band = np.arange(start, min(start + step, len(layer)))
        yield stamped_counts(band, genes) if stamp else count_transcripts(rng, chosen.rates, layer[band])


def _write_counts(path: Path, names: list[str], chosen: Panel, bands: Iterator[Counts], *, whole: bool) -> None:
    """Write the dense table: no name in the first cell, one row a spot."""
    form = "{}" if whole else "{}.0"
    rest = iter(names)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("," + ",".join(chosen.names) + "\n")
        for band in bands:
            texts = [form.format(number) for number in range(int(band.max()) + 1)]
            for row in band.tolist():
                file.write(f"{next(rest)},{','.join(map(texts.__getitem__, row))}\n")
