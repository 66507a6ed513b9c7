"""The groups of one sample: each against the rules of its format, against the others, and against the catalogue."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from zarrscope.conformance import check_image, check_table
from zarrscope.conformance.elements import check_element
from zarrscope.conformance.tree import Tree
from zarrscope.errors import Problem, StoreError
from zarrscope.loaders.groups import consolidated, read_document
from zarrscope.model import Scalar
from zarrscope.record import Element
from zarrscope.storage import Storage

type Document = Mapping[str, Any]
type Documents = dict[str, Document]  # of a group, under "", and of all below it

COUNTS, TWIN = "counts", "by_gene"  # the same matrix by row and by column
_SPARSE = frozenset({"csr_matrix", "csc_matrix"})


def check_groups(target: Storage, element: Element, row: Mapping[str, Scalar]) -> list[Problem]:
    """Check the documents of all groups that a sample holds.

    Parameters
    ----------
    target, element
        The store and the sample.
    row
        What the catalogue says of it; empty where that can't be read.
    """
    problems: list[Problem] = []
    found: dict[str, Documents] = {}
    for name in element.holds:
        path = f"{element.path}/{name}"
        try:
            group = read_document(target, path)
        except StoreError as error:
            problems.append(Problem(where=target.at(path), kind="missing", message=str(error)))
            continue
        found[name] = {**consolidated(group), "": group}
        problems += _group(target, path, found[name])
    where = target.at(element.path)
    if TWIN in found:
        problems += _twins(found.get(COUNTS, {}), found[TWIN], f"{where}/{TWIN}")
    for name, one, other in _told(found, row):
        if one != other:
            message = f"the catalogue says {name} {other!r}, its groups {one!r}"
            problems.append(Problem(where=where, kind="declaration", message=message))
    return problems


def _group(target: Storage, path: str, nodes: Documents) -> Iterator[Problem]:
    """Hold one group against the rules of what it is by its name, or by its attributes."""
    where, group = target.at(path), nodes[""]
    attributes = group.get("attributes") or {}
    encoding = attributes.get("encoding-type")
    if encoding == "anndata":
        yield from check_table(group, {key: one for key, one in nodes.items() if key}, where)
    elif encoding in _SPARSE:
        above, _, name = path.rpartition("/")
        tree = Tree(documents={f"{name}/{key}".rstrip("/"): one for key, one in nodes.items()}, where=target.at(above))
        check_element(tree, name, _SPARSE)
        yield from tree.problems
    elif "ome" in attributes:
        arrays = {key: one for key, one in nodes.items() if key and one.get("node_type") == "array"}
        problems = check_image(group, arrays, where)
        yield from problems
        if not problems:
            yield from _levels(target, path, attributes["ome"]["multiscales"][0], arrays)
    else:
        message = "expected an OME-Zarr image, an AnnData or a sparse matrix, found none of these"
        yield Problem(where=where, kind="conformance", message=message)


def _levels(target: Storage, path: str, multiscale: Document, arrays: Documents) -> Iterator[Problem]:
    """See that each level halves the one before, and that each array's own document is as in the group's copy."""
    names = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    spatial = [axis.get("type") == "space" for axis in multiscale["axes"]]
    for number, name in enumerate(names):
        where = target.at(f"{path}/{name}")
        try:
            own = read_document(target, f"{path}/{name}")
        except StoreError as error:
            yield Problem(where=where, kind="missing", message=str(error))
            continue
        if dict(own) != dict(arrays[name]):
            yield Problem(where=where, kind="content", message="its document differs from the group's copy")
        finest = arrays[names[0]]["shape"]
        halved = [-(-size >> number) if space else size for size, space in zip(finest, spatial, strict=True)]
        if arrays[name]["shape"] != halved:
            message = (
                f"expected the shape {halved}, that of level 0 halved {number} times, found {arrays[name]['shape']}"
            )
            yield Problem(where=where, kind="declaration", message=message)
    finest_scale, finest_place = _transformation(multiscale["datasets"][0])
    for number, dataset in enumerate(multiscale["datasets"]):
        steps = [2**number if space else 1 for space in spatial]
        scale = [one * step for one, step in zip(finest_scale, steps, strict=True)]
        # NGFF's origin is the centre of the first pixel, which a coarser level has further in.
        place = [at + one * (step - 1) / 2 for at, one, step in zip(finest_place, finest_scale, steps, strict=True)]
        for kind, wanted, given in zip(("scale", "translation"), (scale, place), _transformation(dataset), strict=True):
            if not all(map(math.isclose, wanted, given)):
                message = f"level {number}: expected the {kind} {wanted}, found {given}"
                yield Problem(where=target.at(path), kind="declaration", message=message)


def _transformation(dataset: Document) -> tuple[list[float], list[float]]:
    """Give scale and translation of a level, in a document that keeps to the schema."""
    given = {one["type"]: one[one["type"]] for one in dataset["coordinateTransformations"]}
    return given["scale"], given.get("translation", [0.0] * len(given["scale"]))


def _twins(counts: Documents, twin: Documents, where: str) -> Iterator[Problem]:
    """See that the matrix by column is declared as the one by row is."""
    encoding = _attribute(twin, "", "encoding-type")
    if encoding != "csc_matrix":
        yield Problem(where=where, kind="conformance", message=f"expected a csc_matrix, found {encoding!r}")
    wanted, found = _attribute(counts, "X", "shape"), _attribute(twin, "", "shape")
    if wanted != found:
        message = f"expected the shape {wanted} of {COUNTS}/X, found {found}"
        yield Problem(where=where, kind="declaration", message=message)
    for name in ("data", "indices"):
        told = [(one.get("shape"), one.get("data_type")) for one in (counts.get(f"X/{name}", {}), twin.get(name, {}))]
        if told[0] != told[1]:
            message = f"{name} {told[1]}, but {told[0]} in {COUNTS}/X"
            yield Problem(where=where, kind="declaration", message=message)


def _attribute(nodes: Documents, path: str, name: str) -> Any:
    return (nodes.get(path, {}).get("attributes") or {}).get(name)


def _told(found: Mapping[str, Documents], row: Mapping[str, Scalar]) -> Iterator[tuple[str, Any, Scalar]]:
    """Give what groups say that the catalogue has a column of too: its name, the group's value and the catalogue's."""
    image, counts = found.get("image", {}), found.get(COUNTS, {})
    levels = [one for key, one in sorted(image.items()) if key.isdecimal()]
    told: dict[str, Any] = {}
    if levels and isinstance(shape := levels[0].get("shape"), list) and len(shape) == 3:
        told |= dict(zip(("channels", "height", "width"), shape, strict=True))
        told |= {"levels": len(levels), "image_dtype": levels[0].get("data_type")}
    if isinstance(shape := _attribute(counts, "X", "shape"), list) and len(shape) == 2:
        told |= dict(zip(("n_spots", "n_genes"), shape, strict=True))
    if isinstance(shape := counts.get("X/data", {}).get("shape"), list) and len(shape) == 1:
        told["nnz"] = shape[0]
    yield from ((name, value, row[name]) for name, value in told.items() if row.get(name) is not None)
