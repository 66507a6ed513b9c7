"""What npz files have in common: a file that is alike one read before need not be parsed, only compared.

The million npz files of an archive differ in their pixels and checksums and in little else. A file of a length that
was seen before is compared, byte for byte, with the headers of that one; then only its checksums are computed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from isal import isal_zlib

FORMS = 512  # lengths of files whose form is kept

type Build = Callable[[memoryview], Any]


class Place(NamedTuple):
    """Where a stored member lies in its file: from ``start`` a header, from ``body`` to ``stop`` what it describes."""

    key: str
    start: int
    body: int
    stop: int
    build: Build  # makes the value of the body


class Form(NamedTuple):
    """A file of stored members that was read whole: another of this length is alike if these bytes are the same.

    What may differ is the body of members and, in the two zip headers of each, its CRC-32.
    """

    members: Sequence[tuple[Place, int, int]]  # with where its CRC-32 stands: local header, central directory
    fixed: Sequence[tuple[int, int, bytes]]

    def values(self, view: memoryview) -> dict[str, Any] | None:
        """Give the values of a file, if all that is fixed is the same and every checksum is that of its content."""
        for start, stop, expected in self.fixed:
            if view[start:stop] != expected:
                return None
        for place, local, central in self.members:
            stored = view[local : local + 4]
            if stored != view[central : central + 4]:
                return None
            if isal_zlib.crc32(view[place.start : place.stop]) != int.from_bytes(stored, "little"):
                return None
        return {place.key: place.build(view[place.body : place.stop]) for place, _, _ in self.members}


_forms: dict[int, Form] = {}  # by length of the file


def known_values(view: memoryview) -> dict[str, Any] | None:
    """Give the values of an npz file, if one of its length was read before and this one is alike."""
    form = _forms.get(len(view))
    return None if form is None else form.values(view)


def remember(view: memoryview, places: Sequence[Place], directory: int) -> None:
    """Keep the form of a file of stored members that was read and found right.

    Parameters
    ----------
    view
        The file.
    places
        Its members.
    directory
        The first byte of the central directory.
    """
    if len(_forms) >= FORMS:
        return
    at, members, holes = directory, list[tuple[Place, int, int]](), list[int]()
    for place in places:
        length, extra, comment, *_, local = struct.unpack_from("<3H2H2L", view, at + 28)
        members.append((place, local + 14, at + 16))
        holes += [local + 14, local + 18, place.body, place.stop, at + 16, at + 20]
        at += 46 + length + extra + comment
    edges = [0, *sorted(holes), len(view)]
    fixed = [(start, stop, bytes(view[start:stop])) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    _forms[len(view)] = Form(tuple(members), tuple(fixed))
