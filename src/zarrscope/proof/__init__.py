"""Proof that a store is what its record, its digests and its sources say; it shares no code with the engine.

Three depths. *Quick*: the record, the OME-NGFF and AnnData rules, and every object with its size. *Digests* (the
default): SHA-256 of every object as well; what differs is looked into, so that a report names rows and members.
*Data*: every chunk decoded, and the digest of every row's pixels compared. With sources, every member is read and
decoded again, and pixels, names and fields are compared with what the store gives.

Of a sample with groups of its own, *quick* sees that its groups, its row of the catalogue and the record agree; *data*
that coarser levels are the means of the finest, that both forms of a matrix hold the same, and that digests of values
fit. Whatever is wrong is told with the sample's true name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zarrscope.errors import Problem, RecipeError, StoreError, VerifyError
from zarrscope.model import Source
from zarrscope.proof.catalogue import GENES, Catalogue, check_catalogue, check_genes, pictures_by_digest
from zarrscope.proof.documents import check_documents
from zarrscope.proof.groups import COUNTS, TWIN
from zarrscope.proof.levels import check_levels
from zarrscope.proof.matrices import check_matrix
from zarrscope.proof.objects import Inventory, check_objects
from zarrscope.proof.pixels import check_pixels
from zarrscope.proof.sources import check_sources, match_sources
from zarrscope.recipe import Recipe
from zarrscope.record import JOURNAL, ROOT, Record, parse_root
from zarrscope.storage import Storage

MOST = 1000  # problems told of one store


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was proven, and against what."""

    url: str
    basis: str
    elements: int
    objects: int
    rows: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Give the sentence that the command line prints."""
        line = (
            f"{self.url}: {self.elements} elements, {self.objects:,} objects and {self.rows:,} rows are right, "
            f"compared with {self.basis}."
        )
        return "\n".join([line, *(f"note: {note}" for note in self.notes)])


def verify_store(
    target: Storage,
    *,
    sources: Sequence[Source] = (),
    recipes: Mapping[str, Recipe],
    quick: bool = False,
    read_data: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Verify a store, and raise every problem found at once.

    Raises
    ------
    StoreError
        Where there is no store, or it is unfinished.
    VerifyError
        Where anything is wrong.
    """
    record = _record(target)
    problems = check_documents(target, record)
    catalogue = check_catalogue(target, record)
    problems += catalogue.problems
    inventory = Inventory(target, record)
    problems += inventory.problems
    say(f"{len(inventory.objects):,} objects")
    wrong = check_objects(inventory, sizes_only=quick)
    problems += wrong
    broken = {problem.where for problem in problems}
    images = [element for element in record.elements if element.kind == "image"]
    if not quick:
        problems += _values(target, record, catalogue, None if read_data else broken, say)
    if sources:
        if record.recipe not in recipes:
            raise RecipeError(f"no recipe is called {record.recipe!r}; known: {', '.join(sorted(recipes))}.")
        for conversion, given in match_sources(sources, record, target):
            say(f"comparing {', '.join(source.name for _, source in given)}")
            problems += check_sources(target, record, conversion, given, recipes[record.recipe], catalogue.rows)
    if problems:
        more = f" (the first {MOST} of {len(problems)} are listed)" if len(problems) > MOST else ""
        raise VerifyError(f"{target.url} is not what it should be{more}:", problems=problems[:MOST])
    return Report(
        url=target.url,
        basis=_basis(
            [source.name for source in sources],
            "row's pixels" if images else "pixel and every count",
            quick=quick,
            read_data=read_data,
        ),
        elements=len(record.elements),
        objects=len(inventory.objects),
        rows=sum(element.shape[0] for element in images) + len(catalogue.rows),
        notes=(*inventory.notes, *catalogue.notes),
    )


def _values(
    target: Storage, record: Record, catalogue: Catalogue, broken: set[str] | None, say: Callable[[str], None]
) -> Iterator[Problem]:
    """Decode what the store holds: all of it, or the groups in which something is broken."""

    def wanted(*paths: str) -> bool:
        near = broken is None or any(where.startswith(target.at(path)) for where in broken for path in paths)
        if near:
            say(f"decoding {paths[0]}")
        return near

    pictures = pictures_by_digest(catalogue.rows)
    for element in record.elements:
        if element.kind == "image" and wanted(element.path):
            yield from check_pixels(target, element, only=broken)
        elif element.kind == "sample":
            row, found = catalogue.rows.get(element.name, {}), list[Problem]()
            image, counts, twin = (f"{element.path}/{part}" for part in ("image", COUNTS, TWIN))
            if "image" in element.holds and wanted(image):
                found += check_levels(target, image, row.get("image_values"), pictures)
            if COUNTS in element.holds and wanted(counts, twin):
                found += check_matrix(target, element, row)
            yield from (replace(one, message=f"{element.name}: {one.message}") for one in found)
        elif element.role == GENES and wanted(element.path):
            yield from check_genes(target, element.path, record, catalogue.rows)


def _basis(sources: Sequence[str], what: str, *, quick: bool, read_data: bool) -> str:
    if quick:
        held = "their recorded sizes (quick: no content was read)"
    elif read_data:
        held = f"their recorded digests, and every {what} with theirs"
    else:
        held = "their recorded digests"
    return f"{held}, and with every member of {', '.join(sources)}" if sources else held


def manifest_lines(target: Storage) -> list[str]:
    """Give ``sha256  key`` of every object that the manifests list, as ``sha256sum -c`` takes it within the store."""
    inventory = Inventory(target, _record(target))
    if inventory.problems:
        raise VerifyError(f"{target.url}: its manifests are damaged:", problems=inventory.problems)
    return [f"{one.sha256}  {key}" for key, one in sorted(inventory.objects.items())]


def _record(target: Storage) -> Record:
    try:
        record = parse_root(target.get(ROOT), target.url)
    except (FileNotFoundError, NotADirectoryError):
        begun = next(iter(target.keys(JOURNAL)), None) is not None
        what = "holds an unfinished conversion: run convert again to resume it" if begun else "is no store of ours"
        raise StoreError(f"{target.url} {what}.") from None
    if record.pending:
        raise StoreError(f"{target.url}: {', '.join(record.pending)} is still being added. Run convert again.")
    return record
