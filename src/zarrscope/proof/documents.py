"""The metadata of a store: official OME-NGFF schemas, AnnData's rules, and agreement with the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zarrscope.conformance import check_image, check_table
from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.groups import consolidated, read_document
from zarrscope.record import Element, Record
from zarrscope.storage import Storage


def check_documents(target: Storage, record: Record) -> list[Problem]:
    """Check every image's and table's documents against the rules of its format and against the record."""
    problems: list[Problem] = []
    for element in record.elements:
        if element.kind == "sample":
            continue  # its groups are checked beside its row of the catalogue
        where = target.at(element.path)
        try:
            group = read_document(target, element.path)
        except StoreError as error:
            problems.append(Problem(where=where, kind="missing", message=str(error)))
            continue
        nodes = consolidated(group)
        if element.kind == "table":
            problems += check_table(group, nodes, where)
            continue
        arrays = {path: document for path, document in nodes.items() if document.get("node_type") == "array"}
        problems += check_image(group, arrays, where)
        problems += _agrees(target, element, arrays, where)
    return problems


def _agrees(target: Storage, element: Element, arrays: Mapping[str, Mapping[str, Any]], where: str) -> list[Problem]:
    """Compare level 0 with the record, and the array's own document with its copy in the group's."""
    found = arrays.get("0")
    if found is None:
        return [Problem(where=where, kind="missing", message="its document tells of no array '0'")]
    problems = []
    try:
        inner = found["codecs"][0]["configuration"]["chunk_shape"]
        told = (found["shape"], found["data_type"], inner, found["chunk_grid"]["configuration"]["chunk_shape"])
    except (KeyError, IndexError, TypeError):
        return [Problem(where=where, kind="conformance", message="array '0' is not a sharded array")]
    recorded = (list(element.shape), element.dtype, list(element.chunks), list(element.shards))
    for name, one, other in zip(("shape", "dtype", "chunks", "shards"), told, recorded, strict=True):
        if one != other:
            message = f"{name} {one} in its document, {other} in the record"
            problems.append(Problem(where=where, kind="declaration", message=message))
    try:
        own = read_document(target, f"{element.path}/0")
    except StoreError as error:
        return [*problems, Problem(where=f"{where}/0", kind="missing", message=str(error))]
    if dict(own) != dict(found):
        problems.append(
            Problem(where=f"{where}/0", kind="content", message="its document differs from the group's copy")
        )
    return problems
