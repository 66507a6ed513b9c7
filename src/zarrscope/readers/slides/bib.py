"""Read references written in BibTeX, leniently: what is not understood is handed back as text, never refused."""

from __future__ import annotations

import re
from collections.abc import Buffer, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

_START = re.compile(r"^[ \t]*@(\w+)[ \t]*\{", re.MULTILINE)
_KEY = re.compile(r"\s*([^\s,{}=\"#]+)\s*(?=,|$)")
_FIELD = re.compile(r"[\s,]*([A-Za-z][\w:-]*)\s*=\s*")
_BRACE = re.compile(r"[{}]")
_MARK = re.compile(r"[{}\"]")
_NO_ENTRY = frozenset({"comment", "string", "preamble"})
# Keys may be the number that PubMed gives: plain, or with its name in front.
_PMID = re.compile(r"(?:pmid)?[ :_-]*([0-9]{6,8})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One entry: its kind (``article``), its text as it stands in the file, and the fields that identify it."""

    kind: str
    text: str
    title: str | None = None
    doi: str | None = None
    pmid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bibliography:
    """The entries by key, in the order of the file, and all other text.

    A second entry of a key that says something else is found under ``KEY#2``; one that says the same is left out.
    """

    entries: Mapping[str, Reference]
    unparsed: str

    def by_pmid(self) -> dict[str, Reference]:
        """Give the entries that have a PubMed number, by that number; of two the first."""
        found: dict[str, Reference] = {}
        for entry in self.entries.values():
            if entry.pmid is not None:
                found.setdefault(entry.pmid, entry)
        return found


def read_bib(data: Buffer) -> Bibliography:
    r"""Read a file of references; whatever it holds, it is no error.

    Bytes that are not UTF-8 become backslash escapes.

    Examples
    --------
    >>> found = read_bib(b"see also\n@article{pmid34650042,\n  title={The {HER2} map},\n doi = {10.1/x},\n}\n")
    >>> found.entries["pmid34650042"].title, found.entries["pmid34650042"].pmid, found.unparsed
    ('The HER2 map', '34650042', 'see also')
    """
    text = bytes(data).decode("utf-8", "backslashreplace").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    starts = [match.start() for match in _START.finditer(text)]
    rest = [text[: starts[0]] if starts else text]
    entries: dict[str, Reference] = {}
    known: dict[str, set[str]] = {}  # the texts of each key
    for start, stop in pairwise([*starts, len(text)]):
        piece = text[start:stop]
        end = _closing(piece, piece.index("{"))
        key, reference = _entry(piece[: max(end, 0)])
        if reference is None:
            rest.append(piece)
            continue
        rest.append(piece[end:])
        texts = known.setdefault(key, set())
        if reference.text not in texts:
            texts.add(reference.text)
            entries[f"{key}#{len(texts)}" if len(texts) > 1 else key] = reference
    return Bibliography(entries=MappingProxyType(entries), unparsed="\n".join(filter(None, map(str.strip, rest))))


def _closing(text: str, start: int) -> int:
    """Find where the brace or the quote at ``start`` closes: the place after it, or -1.

    As BibTeX does it: escaped braces count, and a quote inside braces is a letter.
    """
    last = "}" if text[start] == "{" else '"'
    depth = 0
    for mark in _MARK.finditer(text, start):
        depth += (mark[0] == "{") - (mark[0] == "}")
        if not depth and mark[0] == last and mark.start() > start:
            return mark.end()
    return -1


def _entry(text: str) -> tuple[str, Reference | None]:
    """Read one entry, from its sign to its last brace; None where it is none."""
    start = _START.match(text)
    if start is None or start[1].lower() in _NO_ENTRY:
        return "", None
    body = text[start.end() : -1]
    key = _KEY.match(body)
    if key is None:
        return "", None
    fields: dict[str, str] = {}
    for name, value in _fields(body, key.end()):
        fields.setdefault(name.lower(), value)
    number = _PMID.fullmatch(fields.get("pmid", key[1]))
    return key[1], Reference(
        kind=start[1].lower(),
        text=text.strip(),
        title=fields.get("title"),
        doi=fields.get("doi"),
        pmid=number[1] if number else fields.get("pmid"),
    )


def _fields(body: str, at: int) -> Iterator[tuple[str, str]]:
    """Give the fields that are written as NAME = {...}, NAME = "..." or NAME = word, up to the first that is not."""
    while field := _FIELD.match(body, at):
        at = field.end()
        if body[at : at + 1] in {"{", '"'}:
            stop = _closing(body, at)
        else:
            comma = body.find(",", at)
            stop = comma if comma >= 0 else len(body)
        if stop < 0:
            return
        value = re.sub(r"\s+", " ", _BRACE.sub("", body[at:stop].strip('"'))).strip()
        if value:
            yield field[1], value
        at = stop
