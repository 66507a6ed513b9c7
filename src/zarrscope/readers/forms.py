"""What npz files have in common: a file that is alike one read before need not be parsed, only compared.

The million npz files of an archive differ in their pixels and checksums and in little else. A file of a length that
was seen before is compared, byte for byte, with the headers of that one; then only its checksums are computed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from isal import isal_zlib

FORMS = 512  # lengths of files whose form is kept


class Form(NamedTuple):
    """A file of stored members that was read whole: another of this length is alike if these bytes are the same.

    What may differ is the content of members and, in the two headers of each, its CRC-32.
    """

    members: Sequence[tuple[str, int, int]]  # key, first byte, end
    checksums: Sequence[tuple[int, int]]  # where each member's CRC-32 stands: local header, central directory
    fixed: Sequence[tuple[int, int, bytes]]

    def fits(self, view: memoryview) -> bool:
        """Compare all that is fixed, and every checksum with its content."""
        for start, stop, expected in self.fixed:
            if bytes(view[start:stop]) != expected:
                return False
        for (_, start, stop), (local, central) in zip(self.members, self.checksums, strict=True):
            stored = bytes(view[local : local + 4])
            if stored != bytes(view[central : central + 4]):
                return False
            if isal_zlib.crc32(view[start:stop]).to_bytes(4, "little") != stored:
                return False
        return True


_forms: dict[int, Form] = {}  # by length of the file


def known_form(view: memoryview) -> Form | None:
    """Give the form of an npz file, if one of its length was read before and this one is alike."""
    form = _forms.get(len(view))
    return form if form is not None and form.fits(view) else None


def remember(view: memoryview, members: Sequence[tuple[str, int, int]], directory: int) -> None:
    """Keep the form of a file of stored members that was read and found right.

    Parameters
    ----------
    view
        The file.
    members
        Key, first byte and end of each member.
    directory
        The first byte of the central directory.
    """
    if len(_forms) >= FORMS:
        return
    at, checksums, holes = directory, list[tuple[int, int]](), list[int]()
    for _, start, stop in members:
        length, extra, comment, *_, local = struct.unpack_from("<3H2H2L", view, at + 28)
        checksums.append((local + 14, at + 16))
        holes += [local + 14, local + 18, start, stop, at + 16, at + 20]
        at += 46 + length + extra + comment
    edges = [0, *sorted(holes), len(view)]
    fixed = [(start, stop, bytes(view[start:stop])) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    _forms[len(view)] = Form(tuple(members), tuple(checksums), tuple(fixed))
