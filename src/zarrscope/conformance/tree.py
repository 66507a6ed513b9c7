"""The metadata documents of a group by path, the questions that rules ask of them, and the problems found so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zarrscope.conformance.document import Node, attributes, check_node, data_type, lengths, shape
from zarrscope.errors import Problem


@dataclass(slots=True, kw_only=True)
class Tree:
    """The ``zarr.json`` documents of the group ``where`` by relative path; its own path is empty."""

    documents: Mapping[str, object]
    where: str
    problems: list[Problem] = field(default_factory=list)

    def fault(self, path: str, message: str) -> None:
        """Note what is wrong at a path."""
        where = f"{self.where}/{path}" if path else self.where
        self.problems.append(Problem(where=where, kind="conformance", message=message))

    def names(self, path: str) -> list[str]:
        """List what lies directly in a group, in the order of the names."""
        start = f"{path}/" if path else ""
        return sorted({key[len(start) :].split("/")[0] for key in self.documents if key and key.startswith(start)})

    def has(self, path: str) -> bool:
        """Tell whether there is a node at a path, or below it."""
        return path in self.documents or bool(self.names(path))

    def attribute(self, path: str, name: str) -> Any:
        """Give an attribute of a node, None where it has none of that name."""
        return attributes(self.documents.get(path)).get(name)

    def encoding(self, path: str) -> str | None:
        """Give the encoding-type of a node."""
        found = self.attribute(path, "encoding-type")
        return found if isinstance(found, str) else None

    def sizes(self, path: str) -> tuple[int, ...] | None:
        """Give the shape of an element as its user sees it (of a dataframe: its rows); None where it can't be told."""
        match self.encoding(path):
            case "csr_matrix" | "csc_matrix":
                return lengths(self.attribute(path, "shape"))
            case "dataframe":
                index = self.attribute(path, "_index")
                rows = self.sizes(f"{path}/{index}") if isinstance(index, str) and index else None
                return rows[:1] if rows else None
            case "categorical":
                return shape(self.documents.get(f"{path}/codes"))
            case "nullable-integer" | "nullable-boolean" | "nullable-string-array":
                return shape(self.documents.get(f"{path}/values"))
            case "awkward-array":
                return lengths([self.attribute(path, "length")])
            case _:
                return shape(self.documents.get(path))

    def length(self, path: str) -> int | None:
        """Give the first of the sizes of an element."""
        return (self.sizes(path) or (None,))[0]

    def check_sizes(self, path: str, sizes: tuple[int | None, ...], *, exact: bool = True) -> None:
        """Check the shape of an element, where None stands for any length; unless exact, further sizes are free."""
        found = self.sizes(path)
        if found is None:  # then the rule of its encoding has said why
            return
        counted = len(found) == len(sizes) if exact else len(found) >= len(sizes)
        if not counted or any(want not in (None, have) for want, have in zip(sizes, found, strict=False)):
            want = ", ".join("any" if size is None else str(size) for size in sizes)
            self.fault(path, f"expected the shape ({want}{'' if exact else ', ...'}), found {found}")

    def check_node(self, path: str, node: Node) -> bool:
        """Check that a path holds a group, or an array with a shape."""
        faults = list(check_node(self.documents.get(path), node))
        for message in faults:
            self.fault(path, message)
        return not faults

    def check_array(self, path: str, types: frozenset[str], *, dimensions: int = 1) -> tuple[int, ...] | None:
        """Check an array that is a part of an element, without an encoding of its own; give its shape if it is sound.

        No types means that any will do.
        """
        if path not in self.documents:
            self.fault(path, "expected an array, found none")
            return None
        if not self.check_node(path, "array"):
            return None
        found, sizes = data_type(self.documents[path]), shape(self.documents[path])
        if types and found not in types:
            self.fault(path, f"expected the data type {' or '.join(sorted(types))}, found {found or 'none'}")
        if sizes is not None and len(sizes) != dimensions:
            self.fault(path, f"expected {dimensions} dimension(s), found the shape {sizes}")
            return None
        return sizes
