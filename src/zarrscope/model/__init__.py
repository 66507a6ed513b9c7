"""What a dataset is, as frozen values: members, images, tables, layouts, plans, tasks and receipts.

Nothing here does I/O. Whatever exists a million times over (members, rows) is kept in columns, and a
:class:`Member` or :class:`Part` is a view of one of their rows.

Images are indexed ``(n, y, x)``; tables hold coordinates as ``(x, y)``.
"""

from zarrscope.model.layout import (
    Axis,
    Image,
    Layout,
    Part,
    Parts,
    Piece,
    Sample,
    SampleSet,
    Table,
)
from zarrscope.model.members import (
    STRING,
    Column,
    Content,
    Index,
    Integers,
    Member,
    Members,
    Scalar,
    Source,
    Strings,
    strings,
)
from zarrscope.model.work import (
    Choices,
    Counts,
    Digest,
    Estimate,
    Origin,
    Plan,
    Progress,
    Receipt,
    SampleReceipt,
    Stage,
    Statistics,
    Task,
)

__all__ = [
    "STRING",
    "Axis",
    "Choices",
    "Column",
    "Content",
    "Counts",
    "Digest",
    "Estimate",
    "Image",
    "Index",
    "Integers",
    "Layout",
    "Member",
    "Members",
    "Origin",
    "Part",
    "Parts",
    "Piece",
    "Plan",
    "Progress",
    "Receipt",
    "Sample",
    "SampleReceipt",
    "SampleSet",
    "Scalar",
    "Source",
    "Stage",
    "Statistics",
    "Strings",
    "Table",
    "Task",
    "strings",
]
