"""The members below one folder of an archive, as a source of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from zarrscope.errors import DecodeError
from zarrscope.model import STRING, Content, Index, Member, Members, Source


@dataclass(frozen=True, slots=True)
class Below:
    """A source whose members are those of ``source`` below ``prefix``, which their names lose.

    Parameters
    ----------
    source
        A tar or a zip: what is read there is found by offset, not by name.
    prefix
        Ends with a slash.
    """

    source: Source
    prefix: str

    @property
    def name(self) -> str:
        """The name of the archive, with the folder inside it."""
        return f"{self.source.name}!/{self.prefix.rstrip('/')}"

    @property
    def url(self) -> str:
        """The address for messages, without credentials."""
        return f"{self.source.url}!/{self.prefix.rstrip('/')}"

    @property
    def kind(self) -> str:
        """The kind of the archive."""
        return self.source.kind

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return self.source.size

    @property
    def sequential(self) -> bool:
        """Whether members can only be read in order."""
        return self.source.sequential

    def token(self) -> str:
        """Tell in a short text whether the archive changed since."""
        return self.source.token()

    def index(self, *, salvage: bool = False) -> Index:
        """Find the members below the prefix; the whole archive has to be in order, or ``salvage`` be set."""
        index = self.source.index(salvage=salvage)
        names = index.members.names
        rows = np.flatnonzero(np.strings.startswith(names, self.prefix) & (names != self.prefix))
        members = index.members.take(rows)
        short = np.array([name[len(self.prefix) :] for name in members.names.tolist()], STRING)
        return replace(index, members=replace(members, names=short))

    def read(self, members: Members) -> Iterator[memoryview | DecodeError]:
        """Give the content of each member in the order asked for."""
        return self.source.read(members)

    def open(self, member: Member) -> Content:
        """Give the content of one member, to be read piece by piece."""
        return self.source.open(
            member if member.offset is not None else replace(member, name=self.prefix + member.name)
        )
