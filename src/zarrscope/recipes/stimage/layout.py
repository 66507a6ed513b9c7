"""From names to slides: which files make one, and what the table of slides says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zarrscope.errors import DecodeError, Problem, RecipeError
from zarrscope.model import Content, Layout, Sample, SampleSet, Scalar
from zarrscope.readers.slides import Bibliography, read_bib, read_coords, read_meta
from zarrscope.recipe import Catalog, column_name, group_names

PATTERN = (
    r"(?:.*/)?(?:(?P<technology>ST|Visium|VisiumHD)/"
    r"(?:image/(?P<image>[^/]+)\.png|coord/(?P<coord>[^/]+)_coord\.csv|gene_exp/(?P<counts>[^/]+)_count\.csv(?:\.gz)?)"
    r"|annotation/(?P<annotation>[^/]+)_anno\.csv|meta/(?P<meta>meta_all_gene[^/]*\.csv|bib\.txt))"
)
IGNORED = (
    r"(^|.*/)(\.(?!\.?/).*|README.*|LICENSE.*|__MACOSX/.*|Thumbs\.db|metadata\.json|aux/.*|docs/.*|"
    r"meta/meta_all\.csv)"
)
ROLES = ("image", "coord", "counts", "annotation")
SLIDES = "slides"  # the catalogue, and the set of samples
_SMALL = 256 << 20  # bytes of the largest table that is read whole


def look(name: str, content: Content) -> None:
    """See whether a file is what its name says; reads its beginning only. Raises DecodeError where it is not."""
    if name.endswith(".png"):
        from zarrscope.readers.raster import open_raster

        open_raster(content)
    elif "/gene_exp/" in f"/{name}":
        from zarrscope.readers.counts import read_header

        read_header(content)
    elif "/coord/" in f"/{name}":
        read_coords(content.read(0, min(content.size, _SMALL)))
    else:
        raise DecodeError("it tells nothing by itself.")


def layout(catalog: Catalog) -> Layout:
    """One sample a slide, with what the table of slides and the references say of it."""
    slides, problems = _slides(catalog)
    if not slides:
        raise RecipeError(
            f"{catalog.sources[0].name}: no slide: expected ST, Visium or VisiumHD with image, coord, gene_exp."
        )
    shared = {name: place for place, name in enumerate(catalog.columns["meta"].tolist()) if name}
    tables = sorted(name for name in shared if name != "bib.txt")
    table = _table(catalog, shared[tables[-1]]) if tables else {}
    references = read_bib(_whole(catalog, shared["bib.txt"])) if "bib.txt" in shared else None
    groups = group_names(sorted({name for _, name in slides}, key=lambda name: (name.casefold(), name)))
    samples = tuple(
        Sample(
            path=f"{technology}/{groups[name]}",
            name=name,
            role="slide",
            pieces=tuple(catalog.piece(places[role], role) for role in ROLES if role in places),
            obs=_obs(technology, table.get(name, {}), references),
        )
        for (technology, name), places in sorted(slides.items())
    )
    told = [finding for index in catalog.indexes for finding in index.findings]
    return Layout(
        samples=samples,
        shared=tuple(catalog.piece(shared[name], "meta") for name in (*tables[-1:], *shared.keys() & {"bib.txt"})),
        sets=(SampleSet(name=SLIDES, images=()),),
        ignored=catalog.ignored + max(0, len(tables) - 1),
        quarantined=(*catalog.quarantined, *problems),
        findings=(*told, *_differences(catalog, samples, table, tables)),
    )


def _slides(catalog: Catalog) -> tuple[dict[tuple[str, str], dict[str, int]], list[Problem]]:
    """Give the place of each file by slide and role, and what belongs to no slide."""
    slides: dict[tuple[str, str], dict[str, int]] = {}
    problems: list[Problem] = []
    technologies = catalog.columns["technology"].tolist()
    for role in ROLES[:3]:
        for place, name in enumerate(catalog.columns[role].tolist()):
            if name:
                held = slides.setdefault((technologies[place], name), {})
                if role in held:
                    problems.append(_problem(catalog, place, "duplicate", "another file is this slide's already"))
                held.setdefault(role, place)
    by_name = {name: key for key in sorted(slides) for name in (key[1],)}
    for place, name in enumerate(catalog.columns["annotation"].tolist()):
        if name and name in by_name and "annotation" not in slides[by_name[name]]:
            slides[by_name[name]]["annotation"] = place
        elif name:
            problems.append(
                _problem(catalog, place, "pairing", "there is no slide of this name, or it has one already")
            )
    return slides, problems


def _problem(catalog: Catalog, place: int, kind: str, message: str) -> Problem:
    piece = catalog.piece(place, "")
    where = f"{catalog.sources[piece.source].url}!/{piece.member.name}"
    return Problem(where=where, kind="duplicate" if kind == "duplicate" else "pairing", message=message)


def _whole(catalog: Catalog, place: int) -> memoryview:
    content = catalog.open(place)
    return content.read(0, min(content.size, _SMALL))


def _table(catalog: Catalog, place: int) -> dict[str, dict[str, Scalar]]:
    """Read the table of slides: a row a slide."""
    try:
        columns = read_meta(_whole(catalog, place))
    except DecodeError as error:
        raise DecodeError(f"{_problem(catalog, place, 'pairing', '').where}: {error}") from None
    return {
        str(name): {key: values[row] for key, values in columns.items() if key != "slide"}
        for row, name in enumerate(columns["slide"])
    }


def _obs(technology: str, row: Mapping[str, Scalar], references: Bibliography | None) -> dict[str, Scalar]:
    known = {column_name(key, ()): value for key, value in row.items() if key != "tech"}
    found: list[str] = []
    if references is not None:
        by_pmid = references.by_pmid()
        found = [by_pmid[one.strip()].text for one in str(row.get("pmid") or "").split(",") if one.strip() in by_pmid]
    return {"technology": technology, **known, "citation": "\n".join(found) or None}


def _differences(
    catalog: Catalog, samples: tuple[Sample, ...], table: Mapping[str, Mapping[str, Scalar]], tables: list[str]
) -> Iterator[Problem]:
    """Say where files and the table of slides differ."""
    where = catalog.sources[0].url
    if not table:
        yield Problem(
            where=where, kind="missing", message="there is no meta/meta_all_gene*.csv: nothing is known of slides"
        )
        return
    if len(tables) > 1:
        message = f"of {len(tables)} tables of slides {tables[-1]} is used"
        yield Problem(where=where, kind="provenance", message=message)
    absent = table.keys() - {sample.name for sample in samples}
    if absent:
        message = f"{len(absent):,} of {len(table):,} slides of the table have no files here"
        yield Problem(where=where, kind="provenance", message=message)
    for sample in samples:
        lacking = [role for role in ROLES[:3] if role not in {piece.role for piece in sample.pieces}]
        if lacking:
            message = f"the slide {sample.name} has no {' and no '.join(lacking)} file"
            yield Problem(where=where, kind="missing", message=message)
        row = table.get(sample.name)
        if row is None:
            yield Problem(where=where, kind="missing", message=f"the slide {sample.name} is not in the table of slides")
        elif row.get("tech") not in (None, sample.obs["technology"]):
            message = f"the slide {sample.name} lies in {sample.obs['technology']}, the table says {row['tech']}"
            yield Problem(where=where, kind="provenance", message=message)
