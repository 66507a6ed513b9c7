"""From names to slides: which files make one, and what the table of slides says of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from zarrscope.errors import DecodeError, Kind, Problem, RecipeError
from zarrscope.model import Content, Layout, Sample, SampleSet, Scalar
from zarrscope.readers.slides import Reference, read_bib, read_coords, read_meta
from zarrscope.recipe import Catalog, column_name, flatten, group_names

# Hidden files, and what macOS puts beside each file of a zip, are ignored whatever they are called.
PATTERN = (
    r"(?!(?:.*/)?(?:\.(?!\.?/)|__MACOSX/))(?:.*/)?(?:(?P<technology>ST|Visium|VisiumHD)/"
    r"(?:image/(?P<image>[^/]+)\.png|coord/(?P<coord>[^/]+)_coord\.csv|gene_exp/(?P<counts>[^/]+)_count\.csv(?:\.gz)?)"
    r"|annotation/(?P<annotation>[^/]+)_anno\.csv|meta/(?P<meta>meta_all_gene[^/]*\.csv|bib\.txt))"
)
IGNORED = (
    r"(^|.*/)(\.(?!\.?/).*|README.*|LICENSE.*|__MACOSX/.*|Thumbs\.db|metadata\.json|aux/.*|docs/.*|"
    r"meta/meta_all\.csv)"
)
ROLES = ("image", "coord", "counts", "annotation")
SLIDES = "slides"  # the catalogue, and the set of samples
_BIB = "bib.txt"
_OURS = ("technology", "path", "citation")  # columns that the table of slides leaves alone
_SMALL = 256 << 20  # bytes of the largest table that is read whole
_STEP = 4 << 20  # bytes compared at a time

type Places = dict[str, int]  # of a slide's files in the catalog, by role
type Rows = Mapping[str, Mapping[str, Scalar]]  # of the table of slides, by slide


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
    """One sample a slide, with what the tables of slides and the references say of it."""
    slides, problems, copies = _slides(catalog)
    if not slides:
        raise RecipeError(
            f"{catalog.sources[0].name}: no slide: expected ST, Visium or VisiumHD with image, coord, gene_exp."
        )
    held = {place: name for place, name in enumerate(catalog.columns["meta"].tolist()) if name}
    newest = max((name for name in held.values() if name != _BIB), default=None)
    tables = [place for place, name in held.items() if name == newest]
    rows = _rows(catalog, tables)
    references, cited, broken = _references(catalog, [place for place, name in held.items() if name == _BIB])
    groups = group_names(sorted({name for _, name in slides}, key=lambda name: (name.casefold(), name)))
    samples = tuple(
        Sample(
            path=f"{technology}/{groups[name]}",
            name=name,
            role="slide",
            pieces=tuple(catalog.piece(places[role], role) for role in ROLES if role in places),
            obs=_obs(technology, rows.get(name, {}), references),
        )
        for (technology, name), places in sorted(slides.items())
    )
    told = [finding for index in catalog.indexes for finding in index.findings]
    older = {name for name in held.values() if name not in (_BIB, newest)}
    return Layout(
        samples=samples,
        shared=tuple(catalog.piece(place, "meta") for place in (*tables, *cited)),
        sets=(SampleSet(name=SLIDES, images=()),),
        ignored=catalog.ignored + copies + sum(name in older for name in held.values()),
        quarantined=(*catalog.quarantined, *problems, *broken),
        findings=(*told, *_differences(catalog, samples, rows, newest, older)),
    )


def _slides(catalog: Catalog) -> tuple[dict[tuple[str, str], Places], list[Problem], int]:
    """Give the place of each file by slide and role, what belongs to no slide, and how many are copies of others."""
    slides: dict[tuple[str, str], Places] = {}
    problems: list[Problem] = []
    copies = 0
    technologies = catalog.columns["technology"].tolist()
    first: dict[str, str] = {}  # the technology of each slide
    for role in ROLES:
        for place, name in enumerate(catalog.columns[role].tolist()):
            if not name:
                continue
            if role == "annotation" and name not in first:
                problems.append(_problem(catalog, place, "pairing", "there is no slide of this name"))
                continue
            technology = technologies[place] or first[name]
            if first.setdefault(name, technology) != technology:
                problems.append(_problem(catalog, place, "pairing", f"{first[name]} has a slide of this name already"))
                continue
            held = slides.setdefault((technology, name), {})
            if held.setdefault(role, place) == place:
                continue
            if _alike(catalog, held[role], place):
                copies += 1
            else:
                problems.append(_problem(catalog, place, "duplicate", "another file has its place already"))
    return slides, problems, copies


def _alike(catalog: Catalog, one: int, other: int) -> bool:
    """Tell whether two members hold the same bytes."""
    try:
        contents = catalog.open(one), catalog.open(other)
        size = contents[0].size
        return size == contents[1].size and all(
            contents[0].read(at, _STEP) == contents[1].read(at, _STEP) for at in range(0, size, _STEP)
        )
    except DecodeError:
        return False


def _where(catalog: Catalog, place: int) -> str:
    piece = catalog.piece(place, "")
    return f"{catalog.sources[piece.source].url}!/{piece.member.name}"


def _problem(catalog: Catalog, place: int, kind: Kind, message: str) -> Problem:
    return Problem(where=_where(catalog, place), kind=kind, message=message)


def _whole(catalog: Catalog, place: int) -> memoryview:
    content = catalog.open(place)
    if content.size > _SMALL:
        raise DecodeError(f"expected at most {_SMALL:,} bytes, found {content.size:,}.")
    return content.read(0, content.size)


def _rows(catalog: Catalog, places: Iterable[int]) -> Rows:
    """Read the tables of slides, one a source as a rule; of a slide that is in two the first row counts.

    Raises
    ------
    DecodeError
        Naming the table that can't be read: what is known of every slide would be lost.
    """
    rows: dict[str, Mapping[str, Scalar]] = {}
    for place in places:
        try:
            columns = read_meta(_whole(catalog, place))
        except DecodeError as error:
            where = _where(catalog, place)
            raise DecodeError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None
        for row, name in enumerate(columns["slide"]):
            rows.setdefault(str(name), {key: values[row] for key, values in columns.items() if key != "slide"})
    return rows


def _references(catalog: Catalog, places: Iterable[int]) -> tuple[dict[str, Reference], list[int], list[Problem]]:
    """Read the references by PubMed number: what is found, in which files, and which of these can't be read."""
    found: dict[str, Reference] = {}
    read, problems = list[int](), list[Problem]()
    for place in places:
        try:
            found = read_bib(_whole(catalog, place)).by_pmid() | found
            read.append(place)
        except DecodeError as error:
            where = _where(catalog, place)
            problems.append(_problem(catalog, place, "decode", str(error).removeprefix(f"{where}: ")))
    return found, read, problems


def _obs(technology: str, row: Mapping[str, Scalar], references: Mapping[str, Reference]) -> dict[str, Scalar]:
    known = {column_name(key, _OURS): value for key, value in flatten(row).items() if key != "tech"}
    numbers = [one.strip() for one in str(row.get("pmid") or "").split(",")]
    found = [references[one].text for one in numbers if one in references]
    return {"technology": technology, **known, "citation": "\n".join(found) or None}


def _differences(
    catalog: Catalog, samples: tuple[Sample, ...], rows: Rows, newest: str | None, older: Collection[str]
) -> Iterator[Problem]:
    """Say where files and the table of slides differ."""
    where = catalog.sources[0].url
    for sample in samples:
        lacking = [role for role in ROLES[:3] if role not in {piece.role for piece in sample.pieces}]
        if lacking:
            message = f"the slide {sample.name} has no {' and no '.join(lacking)} file"
            yield Problem(where=where, kind="missing", message=message)
    if newest is None:
        message = "there is no meta/meta_all_gene*.csv: nothing is known of slides"
        yield Problem(where=where, kind="missing", message=message)
        return
    if older:
        message = f"of {len(older) + 1} tables of slides {newest} is used"
        yield Problem(where=where, kind="provenance", message=message)
    absent = rows.keys() - {sample.name for sample in samples}
    if absent:
        message = f"{len(absent):,} of {len(rows):,} slides of the table have no files here"
        yield Problem(where=where, kind="provenance", message=message)
    for sample in samples:
        row = rows.get(sample.name)
        if row is None:
            yield Problem(where=where, kind="missing", message=f"the slide {sample.name} is not in the table of slides")
        elif row.get("tech") not in (None, sample.obs["technology"]):
            message = f"the slide {sample.name} lies in {sample.obs['technology']}, the table says {row['tech']}"
            yield Problem(where=where, kind="provenance", message=message)
