"""One ``zarr.json`` read with suspicion: whatever JSON it holds, asking it a question never fails.

A document is a parsed JSON value. Where a field is absent or not of its type the answer is empty, and the check
that needed it says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

type Node = Literal["group", "array"]


def check_node(document: object, node: Node) -> Iterator[str]:
    """Say in which way a document is not a Zarr v3 group, or array."""
    found = fields(document)
    # Zarr v3: "zarr_format: An integer defining the version of the storage specification to which the array store
    # adheres, must be `3` here."
    if found.get("zarr_format") != 3:
        yield f"expected zarr_format 3, found {shown(found.get('zarr_format'))}"
    # Zarr v3: "node_type: A string defining the type of hierarchy node element, must be `array` here."
    if found.get("node_type") != node:
        yield f"expected a Zarr {node}, found node_type {shown(found.get('node_type'))}"
    # Zarr v3: "shape: An array of integers providing the length of each dimension of the Zarr array."
    if node == "array" and shape(document) is None:
        yield f"expected a shape, a list of lengths, found {shown(found.get('shape'))}"


def fields(value: object) -> Mapping[str, Any]:
    """Take a JSON value for an object; without fields where it is none."""
    return value if isinstance(value, Mapping) else {}


def attributes(document: object) -> Mapping[str, Any]:
    """Give the attributes of a group or an array; nothing where there are none."""
    return fields(fields(document).get("attributes"))


def shape(document: object) -> tuple[int, ...] | None:
    """Give the lengths of an array's dimensions; None where the document has no such list."""
    return lengths(fields(document).get("shape"))


def lengths(value: object) -> tuple[int, ...] | None:
    """Take a JSON value for a list of lengths, or give None.

    >>> lengths([3, 2]), lengths([3, -1]), lengths([True])
    ((3, 2), None, None)
    """
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        return None
    return tuple(value)


def data_type(document: object) -> str:
    """Name the data type of an array; empty where there is none."""
    found = fields(document).get("data_type")
    if isinstance(found, Mapping):
        found = found.get("name")
    return found if isinstance(found, str) else ""


def shown(value: object) -> str:
    """Show a JSON value in a message: none of it where it is absent, the ends of it where it is long."""
    if value is None:
        return "none"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"
