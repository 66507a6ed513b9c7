"""All values of a sample's counts: the matrix in both forms, and what is told of its rows and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from zarrscope.errors import Problem, StoreError
from zarrscope.model import Scalar
from zarrscope.proof.groups import COUNTS, TWIN
from zarrscope.proof.nodes import Nodes, pieces
from zarrscope.proof.sparse import Compressed, Numbers, Sums
from zarrscope.record import Element
from zarrscope.storage import Storage

# Columns that follow from the matrix: the total of each row and column, and how many of its entries are not zero.
_DERIVED = (("obs", "total_counts", "n_genes_by_counts"), ("var", "total_counts", "n_cells_by_counts"))


def check_matrix(target: Storage, element: Element, row: Mapping[str, Scalar]) -> list[Problem]:
    """Decode the counts of a sample and their gene-major twin.

    Parameters
    ----------
    target, element
        The store, and the sample.
    row
        Its row of the catalogue, which has digests of values.
    """
    problems: list[Problem] = []
    sums: dict[str, Sums] = {}
    names: tuple[Numbers, Numbers] = (np.zeros(0), np.zeros(0))
    for part, key in ((COUNTS, "X"), (TWIN, "")):
        if part in element.holds:
            where = target.at(f"{element.path}/{part}")
            try:
                nodes = Nodes(target, f"{element.path}/{part}")
                matrix = Compressed(nodes, key)
                sums[part] = Sums.of(matrix)
                problems += _own(sums[part], row.get(f"{part}_values"), matrix.where)
                if part == COUNTS:
                    names = _names(nodes, "obs"), _names(nodes, "var")
                    problems += _derived(nodes, sums[part], names)
                    problems += _others(nodes)
            except StoreError as error:
                message = f"its values can't be checked: {error}"
                problems.append(Problem(where=where, kind="content", message=message))
    if len(sums) == 2:
        problems += _twins(sums[COUNTS], sums[TWIN], names, target.at(f"{element.path}/{TWIN}"))
    return problems


def _own(sums: Sums, values: Scalar, where: str) -> Iterator[Problem]:
    if sums.zeros:
        yield Problem(where=where, kind="content", message=f"{sums.zeros:,} entries hold zero")
    if values is not None and values != sums.values:
        yield Problem(where=where, kind="content", message="its values are not those that were written")


def _names(nodes: Nodes, frame: str) -> Numbers:
    found = nodes.column(frame, "")
    if found is None:
        raise StoreError(f"{nodes.at(frame)}: expected an index, found none.")
    return found


def _derived(nodes: Nodes, sums: Sums, names: tuple[Numbers, Numbers]) -> Iterator[Problem]:
    """Compare the columns that follow from the matrix, and see that the names of rows and of columns are unique."""
    for axis, (frame, *columns) in enumerate(_DERIVED):
        where = nodes.at(frame)
        doubled = len(names[axis]) - len(set(names[axis].tolist()))
        if doubled:
            yield Problem(where=where, kind="content", message=f"{doubled:,} names stand there twice")
        for name, wanted in zip(columns, (sums.totals[axis], sums.counts[axis]), strict=True):
            found = nodes.column(frame, name)
            if found is None:
                yield Problem(where=where, kind="missing", message=f"there is no column {name!r}")
            elif message := _differ(found, wanted, names[axis]):
                yield Problem(where=where, kind="content", message=f"{name}: {message}")


def _differ(found: Numbers, wanted: Numbers, names: Numbers) -> str | None:
    if len(found) != len(wanted):
        return f"{len(found):,} values for {len(wanted):,} of the matrix"
    # Sums of numbers that are not whole depend on their order in the last bits.
    exact = wanted.dtype.kind == "i"
    differ = np.flatnonzero(found != wanted if exact else ~np.isclose(found, wanted, rtol=1e-9, atol=0))
    if not len(differ):
        return None
    at = int(differ[0])
    return f"{len(differ):,} values are not those of the matrix, first of {names[at]}: {found[at]}, but {wanted[at]}"


def _others(nodes: Nodes) -> Iterator[Problem]:
    """Decode every array beside the matrix: a chunk that can't be read is told."""
    for key in nodes.arrays():
        if not key.startswith("X/"):
            try:
                array = nodes.array(key)
                for some in pieces(array):
                    array.read((some,))
            except StoreError as error:
                message = f"it can't be read: {error}"
                yield Problem(where=nodes.at(key), kind="content", message=message)


def _twins(counts: Sums, twin: Sums, names: tuple[Numbers, Numbers], where: str) -> Iterator[Problem]:
    """Compare fingerprints of all rows and columns: equal ones mean equal entries."""
    if counts.shape != twin.shape:
        return  # the documents tell
    differ = [np.flatnonzero(one != other) for one, other in zip(counts.prints, twin.prints, strict=True)]
    if any(map(len, differ)):
        first = [str(known[places[0]]) if len(places) else "none" for known, places in zip(names, differ, strict=True)]
        message = (
            f"another matrix than {COUNTS}/X: {len(differ[0]):,} rows differ, first {first[0]}, and {len(differ[1]):,} "
            f"columns, first {first[1]}"
        )
        yield Problem(where=where, kind="content", message=message)
