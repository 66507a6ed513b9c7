"""The slides of the synthetic STimage-1K4M, and what its table and its references say of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zarrscope.demo.tissue import Technology

META = "meta_all_gene02122025.csv"
_COLUMNS = (
    *("slide", "species", "tissue", "pmid", "title", "abstract", "keywords", "involve_cancer", "tech"),
    *("spot_num", "gene_num"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """One slide before it is written.

    Parameters
    ----------
    form
        What the picture is, see :data:`zarrscope.demo.pictures.FORMS`.
    whole
        Whether counts are written as integers.
    measured
        Whether the spots are named by where they were found on the array, which is no whole number.
    separator, missing
        Of the annotation: what stands between its columns, and the label that means nothing; none without.
    larger
        How many times larger the picture is, and how many times more spots there are.
    """

    name: str
    technology: Technology
    form: str
    species: str = "human"
    tissue: str = "breast"
    pmid: str = ""
    whole: bool = False
    measured: bool = False
    separator: str = ""
    missing: str = ""
    larger: tuple[float, int] = (1.0, 1)


# The first four show each technology once; the others bring the other forms of pictures, names and annotations.
CAST = (
    Slide(
        name="Human_Breast_Andersson_10142021_ST_A1",
        technology="ST",
        form="jpeg",
        pmid="34650042",
        whole=True,
        separator="\t",
        missing="undetermined",
    ),
    Slide(
        name="Mouse_Brain+Kidney_10X_02212023_Visium",
        technology="Visium",
        form="tiled tiff",
        species="mouse",
        tissue="brain+kidney",
    ),
    Slide(
        name="Mouse_Brain_10X_03292024_VIsiumHD",
        technology="VisiumHD",
        form="bigtiff",
        species="mouse",
        tissue="brain",
        larger=(1.6, 2),
    ),
    Slide(
        name="GSE175540_GSM5924045",
        technology="Visium",
        form="rgba png",
        tissue="kidney",
        pmid="35231421",
        separator=",",
        missing="Exclude",
    ),
    Slide(
        name="Human_Heart_Asp_12122019_ST_ST_Sample_4.5-5PCW_1",
        technology="ST",
        form="channel-first tiff",
        tissue="heart",
        pmid="31835037",
    ),
    Slide(
        name="Human_Brain_Maynard_02082021_Visium_151675",
        technology="Visium",
        form="gray png",
        tissue="brain",
        pmid="33558695",
    ),
    Slide(
        name="GSE144239_GSM4284316",
        technology="ST",
        form="rgb png",
        measured=True,
        tissue="skin",
        pmid="32579974,38037084",
    ),
)
_ABSENT = (
    Slide(name="Human_Lung_10X_03292024_VisiumHD", technology="VisiumHD", form="", tissue="lung"),
    Slide(name="GSE175540_GSM5924035", technology="Visium", form="", tissue="kidney", pmid="35231421"),
)


def cast(slides: int) -> Iterator[Slide]:
    """Give the slides to write; after the first round they are named as GEO does."""
    for number in range(slides):
        turn, place = divmod(number, len(CAST))
        name = f"GSE{900_000 + turn}_GSM{9_000_000 + number}"
        yield replace(CAST[place], name=name) if turn else CAST[place]


def write_meta(folder: Path, chosen: Sequence[Slide], sizes: Mapping[str, tuple[int, int]]) -> None:
    """Write the table of slides, everything quoted, and the references of the studies that have a PubMed number.

    ``sizes`` has the numbers of spots and genes by slide. The table also has slides that are not in the tree.
    """
    slides = sorted([*chosen, *_ABSENT], key=lambda slide: slide.name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / META).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for slide in slides:
            spots, genes = sizes.get(slide.name, (4948, 17943))
            about = ("", "", "")
            if slide.pmid:
                about = f"A synthetic map of {slide.tissue}", _abstract(slide), "phantom; spatial transcriptomics"
            cancer = str(slide.tissue in {"breast", "kidney", "skin"})
            row = (slide.name, slide.species, slide.tissue, slide.pmid, *about, cancer, slide.technology, spots, genes)
            writer.writerow(row)
    numbers = sorted({number: slide for slide in slides for number in slide.pmid.split(",") if number}.items())
    entries = [
        f"@article{{study{number},\n  title = {{A synthetic map of {{{slide.tissue}}}}},\n"
        f"  journal = {{Journal of Phantoms}},\n  year = {{2026}},\n  pmid = {{{number}}}\n}}\n"
        for number, slide in numbers
    ]
    (folder / "bib.txt").write_text("\n".join(entries), encoding="utf-8", newline="\n")


def _abstract(slide: Slide) -> str:
    text = f'We drew {slide.tissue}, "stained" it, and counted what we had put there.\nResults: it was there.'
    if "," not in slide.pmid:
        return text
    return "\n".join(f"Abstract {number}: {text}" for number in (1, 2))
