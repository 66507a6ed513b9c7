"""Whether a group is an AnnData as its on-disk specification has it, told from the metadata documents alone.

Quotations are from anndata's on-disk format, "AnnData specification (v0.1.0)".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zarrscope.conformance.elements import ENCODINGS, check_element
from zarrscope.conformance.tree import Tree
from zarrscope.errors import Problem

_ARRAYS = frozenset({"array", "csr_matrix", "csc_matrix"})
_FRAMES = _ARRAYS | {"dataframe", "awkward-array"}
_ENTRIES = ("X", "layers", "obs", "obsm", "obsp", "raw", "uns", "var", "varm", "varp")


def check_table(group: Mapping[str, Any], children: Mapping[str, Mapping[str, Any]], where: str) -> list[Problem]:
    """Hold an AnnData group against the on-disk specification.

    Parameters
    ----------
    group
        The parsed ``zarr.json`` of the group.
    children
        Every parsed ``zarr.json`` below it by relative path: ``obs``, ``obs/protein``, ``obs/protein/codes``, ...
    where
        What messages call the group.

    Returns
    -------
    list of Problem
        Of the kind ``conformance``.

    Examples
    --------
    >>> group = {"zarr_format": 3, "node_type": "group", "attributes": {"encoding-type": "anndata"}}
    >>> print(check_table(group, {}, "a.zarr/rows")[0])
    a.zarr/rows: expected the encoding-version '0.1.0' of anndata, found none
    """
    tree = Tree(documents={**children, "": group}, where=where)
    # "An `AnnData` object MUST be a group. The group's metadata MUST include entries: "encoding-type": "anndata",
    # "encoding-version": "0.1.0"."
    if check_element(tree, "", frozenset({"anndata"})):
        _anndata(tree)
    return tree.problems


def _anndata(tree: Tree) -> None:
    # "An `AnnData` group MUST contain entries "obs" and "var", which MUST be dataframes (though this may only have an
    # index with no columns)."
    for name in ("obs", "var"):
        check_element(tree, name, frozenset({"dataframe"}))
    rows, columns = tree.length("obs"), tree.length("var")
    # "The group MAY contain an entry `X`, which MUST be either a dense or sparse array and whose shape MUST be
    # (`n_obs`, `n_var`)."
    if tree.has("X") and check_element(tree, "X", _ARRAYS):
        tree.check_sizes("X", (rows, columns))
    # "The group MAY contain a mapping `layers`. Entries in `layers` MUST be dense or sparse arrays which have shapes
    # (`n_obs`, `n_var`)."
    _aligned(tree, "layers", _ARRAYS, (rows, columns), exact=True)
    for axis, size in (("obs", rows), ("var", columns)):
        # "Entries in `obsm` MUST be sparse arrays, dense arrays, or dataframes. These entries MUST have a first
        # dimension of size `n_obs`." The same is said of `varm` and `n_var`.
        _aligned(tree, f"{axis}m", _FRAMES, (size,), exact=False)
        # "Entries in `obsp` MUST be sparse or dense arrays. The entries first two dimensions MUST be of size `n_obs`."
        _aligned(tree, f"{axis}p", _ARRAYS, (size, size), exact=False)
    # "The group MAY contain a mapping `uns`. Entries in `uns` MUST be an anndata encoded type." The text is silent on
    # `raw`, which anndata writes as null where there is none.
    for name, allowed in (("uns", {"dict"}), ("raw", {"raw", "null"})):
        if tree.has(name):
            check_element(tree, name, frozenset(allowed))
    # The text is silent on further entries, but anndata.read_zarr hands each to a constructor that refuses it.
    for name in tree.names(""):
        if name not in _ENTRIES:
            tree.fault(name, f"expected nothing but {', '.join(_ENTRIES)} in an anndata, found {name!r}")


def _aligned(tree: Tree, path: str, allowed: frozenset[str], sizes: tuple[int | None, ...], *, exact: bool) -> None:
    # "Each mapping MUST be its own group. The group's metadata MUST contain the encoding metadata "encoding-type":
    # "dict", "encoding-version": "0.1.0"."
    if not tree.has(path) or not check_element(tree, path, frozenset({"dict"})):
        return
    for name in tree.names(path):
        entry = f"{path}/{name}"
        encoding = tree.encoding(entry)
        if encoding in allowed:
            tree.check_sizes(entry, sizes, exact=exact)
        elif encoding in ENCODINGS:  # an unknown one is already among the problems
            tree.fault(entry, f"expected the encoding-type {' or '.join(sorted(allowed))}, found {encoding!r}")
