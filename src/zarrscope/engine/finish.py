"""The end of a conversion: tables from receipts, then the record.

Every step writes whole objects with bytes that depend on source and recipe only, so that being killed here and run
again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from zarrscope.engine.catalogue import Catalogue
from zarrscope.engine.journal import Journal
from zarrscope.engine.tables import (
    Fingerprint,
    Gathered,
    compare_copies,
    digest_object,
    manifest_table,
    tables_of,
    write_table,
)
from zarrscope.errors import Problem
from zarrscope.model import Digest, Image, Parts, Plan, SampleSet, Source
from zarrscope.recipe import Recipe
from zarrscope.record import (
    PLAIN_GROUP,
    ROOT,
    Conversion,
    Element,
    Finding,
    Linked,
    Record,
    Samples,
    SourceRecord,
    Tally,
    Terms,
    digest_lines,
    root_document,
)
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec
from zarrscope.writers.image import image_objects
from zarrscope.writers.table import TableContent

FINDINGS = 100  # kept in the record; the rest is counted, and stands in the rows tables


def prepare(plan: Plan, storage: Storage) -> None:
    """Write the metadata of every image: group and empty array."""
    codec = Codec.parse(plan.choices.codec)
    for image in plan.images:
        for key, data in image_objects(image, codec):
            storage.put(f"{image.path}/{key}", data)
        for folder in _folders(image.path):
            storage.put(f"{folder}/{ROOT}", PLAIN_GROUP)


def _folders(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names))]


def finish(
    plan: Plan,
    recipe: Recipe,
    sources: Sequence[Source],
    journal: Journal,
    before: Record | None,
    rows: Callable[[str], Parts],
    pairing: Callable[[Record], tuple[tuple[Samples, ...], tuple[Finding, ...]]],
) -> Record:
    """Write tables and record from receipts.

    ``before`` is the record of what the store held already, ``rows`` gives the rows of an image, and ``pairing``
    decides from the tables just written which images line up.
    """
    storage, number = journal.storage, len(before.conversions) if before else 0
    elements: list[Element] = []
    problems, converted, ignored = list(plan.quarantined), 0, plan.counts.ignored
    prints = [Fingerprint() for _ in sources]
    for image in plan.images:
        gathered = gather(plan, image, rows(image.path), journal)
        copies = compare_copies(gathered, sources)
        problems += [*gathered.quarantined, *copies.different]
        ignored += copies.equal
        present = int((gathered.parts.sources >= 0).sum())
        converted += present - sum(problem.kind == "decode" for problem in gathered.quarantined)
        gathered.print_members(prints)
        owners = set(gathered.parts.sources.tolist()) - {-1}
        elements += write_elements(gathered, plan, storage, number, owners.pop() if len(owners) == 1 else -1)
    dropped: frozenset[str] = frozenset()
    if plan.samples:
        built = Catalogue(plan, recipe, sources, journal, number, plan.sets[0].name).write(prints)
        elements += built.elements
        problems += built.problems
        converted += built.converted + len(plan.shared)
        dropped = built.dropped | {sample.path for sample in plan.samples}
    counted = [problem for problem in problems if problem.kind != "missing"]
    tally = Tally(
        members=plan.counts.members,
        converted=converted,
        ignored=ignored,
        quarantined=len(counted),
        left_out=plan.counts.left_out,
    )
    listed = [*plan.findings, *problems]
    conversion = Conversion(
        sources=tuple(
            SourceRecord(
                name=origin.name,
                kind=origin.kind,
                size=origin.size,
                members=origin.members,
                salvaged=origin.salvaged,
                fingerprint=prints[place].text(),
            )
            for place, origin in enumerate(plan.sources)
        ),
        counts=tally,
        codec=plan.choices.codec,
        chunk=plan.choices.chunk,
        shard=plan.choices.shard,
        where=plan.choices.where,
        limit=plan.choices.limit,
        keep=plan.choices.keep,
        findings=tuple(_finding(problem) for problem in listed[:FINDINGS]),
        findings_left_out=max(0, len(listed) - FINDINGS),
    )
    if before is not None and dropped:
        before = replace(before, elements=tuple(one for one in before.elements if one.path not in dropped))
    record = assemble(plan, recipe, conversion, elements, before)
    samples, findings = pairing(record)
    record = replace(record, samples=samples, findings=findings).sealed()
    storage.put(ROOT, root_document(record))
    return record


def _finding(problem: Problem) -> Finding:
    where = problem.where
    if "!/" in where:  # a source is named by its file name: no folder of this machine stands in a store
        source, _, member = where.partition("!/")
        where = f"{source.rstrip('/').rpartition('/')[2]}!/{member}"
    else:
        where = where.rstrip("/").rpartition("/")[2]
    return Finding(where=where, kind=problem.kind, message=problem.message)


def gather(plan: Plan, image: Image, rows: Parts, journal: Journal) -> Gathered:
    """Read all receipts of an image, in order."""
    gathered = Gathered(image, rows)
    for receipt in journal.receipts(plan, image.path):
        gathered.add(receipt)
    return gathered


def write_elements(gathered: Gathered, plan: Plan, storage: Storage, conversion: int, source: int) -> list[Element]:
    """Write the tables of an image, and give the elements for the record: image, rows, statistics, manifest."""
    image = gathered.image
    listed = [digest_object(key, data) for key, data in image_objects(image, Codec.parse(plan.choices.codec))]
    own = [*listed, *(digest for digest, _, _ in gathered.shards)]
    bad = len(gathered.quarantined)
    elements = [
        Element(
            path=image.path,
            kind="image",
            role=image.role,
            name=image.name,
            shape=image.shape,
            dtype=image.dtype,
            chunks=image.chunks,
            shards=image.shards,
            digest=_digest(own),
            conversion=conversion,
            source=source,
            quarantined=bad,
            classes=image.classes,
        )
    ]
    for name, content in tables_of(gathered).items():
        digests = write_table(storage, f"{image.path}/{name}", content)
        elements.append(_table_element(image.path, name, content, digests, conversion, bad if name == "rows" else 0))
        listed += [replace(one, key=f"{name}/{one.key}") for one in digests]
    manifest = manifest_table(gathered, listed)
    digests = write_table(storage, f"{image.path}/manifest", manifest)
    elements.append(_table_element(image.path, "manifest", manifest, digests, conversion, 0))
    return elements


def _table_element(
    image: str, name: str, content: TableContent, digests: Iterable[Digest], conversion: int, bad: int
) -> Element:
    variables = 0 if content.var_index is None else len(content.var_index)
    return Element(
        path=f"{image}/{name}",
        kind="table",
        role=name,
        shape=(len(content.index), variables),
        annotates=image,
        digest=_digest(digests),
        conversion=conversion,
        quarantined=bad,
    )


def _digest(digests: Iterable[Digest]) -> str:
    return digest_lines((one.key, one.sha256) for one in digests)


def assemble(
    plan: Plan, recipe: Recipe, conversion: Conversion, elements: Sequence[Element], before: Record | None
) -> Record:
    """Put the record together from this conversion and what the store held before."""
    earlier = before.elements if before else ()
    return Record(
        recipe=plan.recipe,
        recipe_version=plan.recipe_version,
        title=recipe.title,
        terms=terms(recipe, plan.choices.card, before),
        conversions=(*(before.conversions if before else ()), conversion),
        elements=tuple(sorted((*earlier, *elements), key=lambda element: element.path)),
        samples=merged_sets(plan.sets, {one.path: one for one in (*earlier, *elements)}, before),
        version=plan.version,
        codecs=dict(plan.codecs),
        findings=before.findings if before else (),
    )


def terms(recipe: Recipe, card: Mapping[str, str], before: Record | None) -> Terms:
    """Give licence and citation: the recipe's, or where it says unknown, the user's card."""
    held = before.terms if before else Terms(license=recipe.license, citation=recipe.citation)
    if held.license == "unknown" and "license" in card:
        held = replace(held, license=card["license"], license_from="card")
    if held.citation == "unknown" and "citation" in card:
        held = replace(held, citation=card["citation"], citation_from="card")
    return replace(held, contact=card["contact"]) if "contact" in card else held


def merged_sets(
    sets: Sequence[SampleSet], elements: Mapping[str, Element], before: Record | None
) -> tuple[Samples, ...]:
    """Join the sample sets of this conversion with those of the store that have the same names."""
    merged = {one.name: one for one in before.samples} if before else {}
    for group in sets:
        if not group.images:
            length = elements[group.name].shape[0]
            merged[group.name] = Samples(name=group.name, length=length, rows=group.name, images=())
            continue
        through = dict(group.through)
        linked = [Linked(role=role, path=path, column=through.get(role)) for role, path in group.images]
        if group.name in merged:
            held = merged[group.name].images
            linked = [*held, *(one for one in linked if one.path not in {other.path for other in held})]
        lead = elements[linked[0].path]
        merged[group.name] = Samples(
            name=group.name, length=lead.shape[0], rows=f"{lead.path}/rows", images=tuple(linked), check=group.check
        )
    return tuple(merged[name] for name in sorted(merged))
