"""The elements that an AnnData is made of, one rule an encoding: dataframes, sparse arrays, categoricals, ...

Quotations are from anndata's on-disk format, in the wording for elements of anndata 0.8 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zarrscope.conformance.document import Node, data_type, lengths, shown
from zarrscope.conformance.tree import Tree

type _Rule = Callable[[Tree, str], None]

_BOOLEAN = frozenset({"bool"})
_STRING = frozenset({"string"})
_INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_NUMBERS = _INTEGERS | _BOOLEAN | {"float16", "float32", "float64", "complex64", "complex128"}
_ANY: frozenset[str] = frozenset()
_COLUMNS = frozenset(
    {"array", "string-array", "categorical", "nullable-integer", "nullable-boolean", "nullable-string-array"}
)


def check_element(tree: Tree, path: str, allowed: frozenset[str] = _ANY) -> bool:
    """Check the element at a path by the rule of its encoding, and tell whether it could be looked into.

    Parameters
    ----------
    tree
        Where to look, and where the problems go.
    path
        The path of the element.
    allowed
        The encodings that may stand here; none means any that there is.
    """
    if path not in tree.documents:
        tree.fault(path, "expected an element, found no zarr.json")
        return False
    # "An element MUST have a string-valued field "encoding-type" in its metadata. An element MUST have a string-valued
    # field "encoding-version" in its metadata that can be evaluated to a version."
    encoding = tree.encoding(path)
    if encoding not in (allowed or ENCODINGS):
        choice = " or ".join(sorted(allowed)) or "one that anndata knows"
        tree.fault(path, f"expected the encoding-type {choice}, found {shown(tree.attribute(path, 'encoding-type'))}")
        return False
    node, version, rule = ENCODINGS[encoding]
    found = tree.attribute(path, "encoding-version")
    if found != version:
        tree.fault(path, f"expected the encoding-version {version!r} of {encoding}, found {shown(found)}")
    if not tree.check_node(path, node):
        return False
    rule(tree, path)
    return True


def _entries(tree: Tree, path: str) -> None:
    # "Notably, this definition is used recursively within `uns`."
    for name in tree.names(path):
        check_element(tree, f"{path}/{name}")


def _dataframe(tree: Tree, path: str) -> None:
    # "The group's metadata MUST contain the field "_index", whose value is the key of the array to be used as an
    # index/ row labels."
    index, order = tree.attribute(path, "_index"), tree.attribute(path, "column-order")
    if not isinstance(index, str) or not index:
        tree.fault(path, f"expected in _index the name of an array, found {shown(index)}")
        return
    # "The group's metadata MUST contain "column-order" an array of strings denoting the order of column entries."
    if not isinstance(order, list) or not all(isinstance(name, str) and name for name in order):
        tree.fault(path, f"expected in column-order a list of names, found {shown(order)}")
        return
    if len(set(order)) < len(order):
        tree.fault(path, f"expected each column once in column-order, found {shown(order)}")
    # "The group MUST contain an array for the index. Each entry in the group MUST correspond to an array with
    # equivalent first dimensions."
    rows = tree.length(path)
    for name in dict.fromkeys([index, *order]):
        check_element(tree, f"{path}/{name}", _COLUMNS)
        tree.check_sizes(f"{path}/{name}", (rows,))
    for name in tree.names(path):
        if name not in (index, *order):
            tree.fault(f"{path}/{name}", "expected every column to stand in column-order, which lacks this one")


def _sparse(tree: Tree, path: str) -> None:
    # "The group's metadata MUST contain "shape" which is an integer array of length 2 whose values are the sizes of the
    # array's dimensions."
    sizes = lengths(tree.attribute(path, "shape"))
    if sizes is None or len(sizes) != 2:
        tree.fault(path, f"expected in shape two lengths, found {shown(tree.attribute(path, 'shape'))}")
        return
    # "The group MUST contain arrays `indices`, `indptr`, and `data`." Of n compressed rows (or columns) there are n + 1
    # pointers, and every stored value has its index.
    pointers = tree.check_array(f"{path}/indptr", _INTEGERS)
    indices, values = tree.check_array(f"{path}/indices", _INTEGERS), tree.check_array(f"{path}/data", _NUMBERS)
    lines = sizes[0 if tree.encoding(path) == "csr_matrix" else 1]
    if pointers not in (None, (lines + 1,)):
        tree.fault(f"{path}/indptr", f"expected the shape {(lines + 1,)}, found {pointers}")
    if None not in (indices, values) and indices != values:
        tree.fault(f"{path}/indices", f"expected the shape of data, {values}, found {indices}")


def _categorical(tree: Tree, path: str) -> None:
    # "The group's metadata MUST contain the boolean valued field "ordered", which indicates whether the categories are
    # ordered."
    ordered = tree.attribute(path, "ordered")
    if not isinstance(ordered, bool):
        tree.fault(path, f"expected in ordered true or false, found {shown(ordered)}")
    # "The group MUST contain an integer valued array named "codes" whose maximum value is the number of categories - 1.
    # The group MUST contain an array called "categories"."
    tree.check_array(f"{path}/codes", _INTEGERS)
    check_element(tree, f"{path}/categories", _COLUMNS - {"categorical"})
    tree.check_sizes(f"{path}/categories", (None,))


def _nullable(types: frozenset[str]) -> _Rule:
    def rule(tree: Tree, path: str) -> None:
        # "The group MUST contain an integer valued array under the key "values". The group MUST contain an boolean
        # valued array under the key "mask"." "The "values" and "mask" arrays MUST be the same shape."
        values, mask = tree.check_array(f"{path}/values", types), tree.check_array(f"{path}/mask", _BOOLEAN)
        if None not in (values, mask) and values != mask:
            tree.fault(f"{path}/mask", f"expected the shape of values, {values}, found {mask}")

    return rule


def _scalar(types: frozenset[str]) -> _Rule:
    def rule(tree: Tree, path: str) -> None:
        # "Scalars MUST be written as a 0 dimensional array."
        tree.check_array(path, types, dimensions=0)

    return rule


def _strings(tree: Tree, path: str) -> None:
    # "In `zarr`, string arrays MUST be stored using `numcodecs`' `VLenUTF8` codec": in Zarr v3, the type `string`.
    found = data_type(tree.documents[path])
    if found not in _STRING:
        tree.fault(path, f"expected the data type string, found {found or 'none'}")


def _open(tree: Tree, path: str) -> None:
    """Take an encoding as it is, where the text says nothing of its parts."""


# Where each encoding lives, its version, and its rule. Two notes: "In zarr, scalar strings MUST be stored as a fixed
# length unicode dtype" is older than Zarr v3, where anndata itself writes the type `string`, so both pass. The text is
# silent on `raw` and `null`, which anndata writes too.
ENCODINGS: Mapping[str | None, tuple[Node, str, _Rule]] = {
    "anndata": ("group", "0.1.0", _open),
    "array": ("array", "0.2.0", _open),
    "awkward-array": ("group", "0.1.0", _open),
    "categorical": ("group", "0.2.0", _categorical),
    "csc_matrix": ("group", "0.1.0", _sparse),
    "csr_matrix": ("group", "0.1.0", _sparse),
    "dataframe": ("group", "0.2.0", _dataframe),
    "dict": ("group", "0.1.0", _entries),
    "null": ("array", "0.1.0", _open),
    "nullable-boolean": ("group", "0.1.0", _nullable(_BOOLEAN)),
    "nullable-integer": ("group", "0.1.0", _nullable(_INTEGERS)),
    "nullable-string-array": ("group", "0.1.0", _nullable(_STRING)),
    "numeric-scalar": ("array", "0.2.0", _scalar(_NUMBERS)),
    "raw": ("group", "0.1.0", _entries),
    "rec-array": ("array", "0.2.0", _open),
    "string": ("array", "0.2.0", _scalar(_STRING | {"fixed_length_utf32"})),
    "string-array": ("array", "0.2.0", _strings),
}
