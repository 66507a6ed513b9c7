"""The record: what a store says of itself, in one attribute of its root, written last.

A store without a record is unfinished. The record stays small (an element is a path, a role, a shape and one
digest); per-object digests, statistics and quarantine lists lie beside their element, in its ``manifest``,
``statistics`` and ``rows`` tables. No time, host, folder or credential stands in it, so the same input gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec

from zarrscope.errors import Kind, StoreError

ATTRIBUTE = "zarrscope"
FORMAT = 1
JOURNAL = ".zarrscope"  # everything temporary lives below this prefix of a store
ROOT = "zarr.json"

# The document of a group that only leads on to others.
PLAIN_GROUP = b'{\n "attributes": {},\n "node_type": "group",\n "zarr_format": 3\n}'

MANIFEST = "manifest"  # names of the tables beside an image
ROWS = "rows"
STATISTICS = "statistics"

# What the schema asks for beyond types, and what parsing a record checks.
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One image or table of a store, or one sample with groups of its own.

    Parameters
    ----------
    path, name
        The group, and the true name where it differs from the path.
    kind, role
        ``image``, ``table`` or ``sample``, and what it is for: ``normalised``, ``wf``, ``rows``, ``slide``, ...
    shape, dtype, chunks, shards
        Of level 0 of an image; of a table the shape is (rows, variables).
    annotates
        The image that a table describes.
    digest
        SHA-256 over the lines ``sha256  key`` of the element's own objects, in the order of their keys; of a sample
        all that lie below its path.
    conversion
        Which entry of ``conversions`` wrote it.
    source
        Which source of that conversion it came from; -1 for several.
    quarantined
        Rows whose ``ok`` is False.
    classes
        The column of its rows by which statistics are kept.
    holds
        Of a sample with groups of its own: their names below its path.
    """

    path: str
    kind: Literal["image", "table", "sample"]
    role: str
    shape: tuple[Count, ...]
    digest: Sha256
    name: str = ""
    dtype: str = ""
    chunks: tuple[Positive, ...] = ()
    shards: tuple[Positive, ...] = ()
    annotates: str | None = None
    conversion: Count = 0
    source: Annotated[int, msgspec.Meta(ge=-1)] = -1
    quarantined: Count = 0
    classes: str | None = None
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """One image of a sample set: paired by row, or by the row number in ``column`` of the leading rows."""

    role: str
    path: str
    column: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """How images make samples; ``rows`` is the table that serves as catalogue, row by row the first image.

    Without images the samples are elements of the kind ``sample``, by their names in the index of that table.
    """

    name: str
    length: Count
    rows: str
    images: tuple[Linked, ...]
    check: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source as converted. ``fingerprint`` is SHA-256 over (name, size, XXH3-128) of its members."""

    name: str
    kind: str
    size: Count
    members: Count
    fingerprint: Sha256
    salvaged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Where every member went: ``members == converted + ignored + quarantined + left_out``."""

    members: Count = 0
    converted: Count = 0
    ignored: Count = 0
    quarantined: Count = 0
    left_out: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something worth knowing: where, what kind, a sentence."""

    where: str
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """One run of ``convert``: its sources, what was asked for, and where every member went."""

    sources: tuple[SourceRecord, ...]
    counts: Tally
    codec: str
    chunk: Positive | None = None
    shard: Positive | None = None
    where: str | None = None
    limit: Positive | None = None
    keep: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    findings_left_out: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Licence and citation, and who said so: the recipe, or the card that the user gave."""

    license: str = "unknown"
    license_from: str = "recipe"
    citation: str = "unknown"
    citation_from: str = "recipe"
    contact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a store holds, where it came from, and under which terms.

    ``pending`` lists elements that a conversion under way will add or replace: the rest can be read meanwhile.
    ``digest`` is SHA-256 over the record itself, as canonical JSON with an empty digest.
    """

    recipe: str
    recipe_version: Positive
    title: str
    terms: Terms
    conversions: tuple[Conversion, ...]
    elements: tuple[Element, ...]
    samples: tuple[Samples, ...]
    version: str
    codecs: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    pending: tuple[str, ...] = ()
    format: Positive = FORMAT
    digest: Sha256 = ""

    def sealed(self) -> Record:
        """Give the record with its digest filled in."""
        return replace(self, digest=digest_of(replace(self, digest="")))

    def element(self, path: str) -> Element | None:
        """Look an element up by its path or its true name."""
        return next((one for one in self.elements if path in (one.path, one.name)), None)

    @property
    def counts(self) -> Tally:
        """The sums over all conversions."""
        tallies = [conversion.counts for conversion in self.conversions]
        return Tally(**{name: sum(getattr(tally, name) for tally in tallies) for name in Tally.__dataclass_fields__})


def dump(value: object) -> bytes:
    """Write canonical JSON: sorted keys, no spaces but for reading, no NaN; the same value, the same bytes."""
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: object) -> str:
    """Give the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(dump(value)).hexdigest()


def digest_lines(lines: Iterable[tuple[str, str]]) -> str:
    """Give the SHA-256 over ``sha256  key`` lines, sorted by key: what ``sha256sum`` prints of an element."""
    text = "".join(f"{sha256}  {key}\n" for key, sha256 in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()


def root_document(record: Record) -> bytes:
    """Write the root group's ``zarr.json`` with the record in its attributes."""
    attributes = {ATTRIBUTE: msgspec.to_builtins(record.sealed())}
    return dump({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def parse_root(document: bytes, where: str) -> Record:
    """Read the record out of a root group's ``zarr.json``.

    Raises
    ------
    StoreError
        Where there is no record, it is of a later format, or its digest does not fit.
    """
    try:
        attributes = msgspec.json.decode(document).get("attributes", {})
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError):
        raise StoreError(f"{where}: zarr.json is not the JSON object of a zarr group.") from None
    if not isinstance(attributes, dict) or ATTRIBUTE not in attributes:
        raise StoreError(f"{where} is a zarr group without a zarrscope record: not a store of ours.")
    written = attributes[ATTRIBUTE]
    if isinstance(written, dict) and isinstance(written.get("format"), int) and written["format"] > FORMAT:
        raise StoreError(f"{where} has a record of format {written['format']}; this version reads up to {FORMAT}.")
    try:
        record = msgspec.convert(written, Record)
    except msgspec.ValidationError as error:
        raise StoreError(f"{where}: the record does not keep to its schema: {error}") from None
    if record.digest != digest_of({**written, "digest": ""}):  # of what is written: an added key is seen too
        raise StoreError(f"{where}: the record was changed after it was written (its digest does not fit).")
    return record


def schema() -> dict[str, Any]:
    """Export the JSON schema of the record."""
    document = msgspec.json.schema(Record)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "zarrscope record",
        **document,
    }
