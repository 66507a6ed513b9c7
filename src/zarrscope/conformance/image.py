"""Whether a group is a strict OME-Zarr 0.5 image: the official schemas, and the sentences that no schema sees.

The schemas look at the group's attributes alone. The order of axes, the arrays behind the paths and the way levels
follow each other are demanded by the text only; each check below stands under the sentence that it obeys. Quotations
are from OME-NGFF 0.5 unless another specification is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from zarrscope.conformance.document import attributes, check_node, data_type, fields, shape, shown
from zarrscope.conformance.official import violations
from zarrscope.errors import Problem

type _Arrays = Mapping[str, Mapping[str, Any]]
type _Finding = tuple[str, str]  # a path below the group, empty for the group itself; and what is wrong there

_COLOR = re.compile(r"[0-9A-Fa-f]{6}")
_TURN = {"time": 0, "space": 2}  # every other type, or none at all, comes between them
_RULE = "at most one time axis, then at most one channel or custom axis, then two or three space axes"


def check_image(group: Mapping[str, Any], arrays: _Arrays, where: str, *, strict: bool = True) -> list[Problem]:
    """Hold an image group against OME-Zarr 0.5.

    Parameters
    ----------
    group
        The parsed ``zarr.json`` of the group.
    arrays
        The parsed ``zarr.json`` of its levels by path (``"0"``, ...). Arrays that are no level may be among them.
    where
        What messages call the group.
    strict
        Whether to ask for what the strict schemas recommend too: name, type and metadata of a multiscale.

    Returns
    -------
    list of Problem
        Of the kind ``conformance``. While the attributes break the plain schema, the text is not looked at.

    Examples
    --------
    >>> [str(problem) for problem in check_image({"zarr_format": 3, "node_type": "group"}, {}, "a.zarr/wf")]
    ["a.zarr/wf: attributes: 'ome' is a required property (image.schema)"]
    """
    found = attributes(group)
    broken = violations(found, "image")
    findings: list[_Finding] = [("", message) for message in check_node(group, "group")]
    findings += [("", f"{message} (image.schema)") for message in broken]
    if strict:
        more = [message for message in violations(found, "strict_image") if message not in broken]
        findings += [("", f"{message} (strict_image.schema)") for message in more]
    if not broken:
        for number, multiscale in enumerate(found["ome"]["multiscales"]):
            findings += _multiscale(multiscale, arrays, f"attributes.ome.multiscales[{number}]")
        findings += [("", message) for message in _omero(found["ome"].get("omero", {"channels": []}))]
    return [
        Problem(where=f"{where}/{path}" if path else where, kind="conformance", message=message)
        for path, message in findings
    ]


def _multiscale(multiscale: Mapping[str, Any], arrays: _Arrays, place: str) -> Iterator[_Finding]:
    axes, datasets = multiscale["axes"], multiscale["datasets"]
    names = [axis["name"] for axis in axes]
    for message in _axes(axes):
        yield "", f"{place}.axes: {message}"
    # "It SHOULD contain the field "metadata", which contains a dictionary with additional information about the
    # downscaling method."
    if not isinstance(multiscale.get("metadata", {}), Mapping):
        yield "", f"{place}.metadata: expected an object, found {shown(multiscale['metadata'])}"
    # "Each "multiscales" dictionary MAY contain the field "coordinateTransformations" [...] The transformations MUST
    # follow the same rules about allowed types, order, etc. as in "datasets:coordinateTransformations"."
    if "coordinateTransformations" in multiscale:
        for message in _transformations(multiscale["coordinateTransformations"], names):
            yield "", f"{place}.coordinateTransformations: {message}"
    for number, dataset in enumerate(datasets):
        for message in _transformations(dataset["coordinateTransformations"], names):
            yield "", f"{place}.datasets[{number}].coordinateTransformations: {message}"
        for message in _level(arrays.get(dataset["path"]), names):
            yield dataset["path"], message
    for finer, coarser in pairwise(datasets):
        for message in _steps(finer, coarser, arrays):
            yield coarser["path"], message


def _axes(axes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [axis["name"] for axis in axes]
    # "MUST contain the field "name" that gives the name for this dimension. The values MUST be unique across all
    # "name" fields."
    if len(set(names)) < len(names):
        yield f"expected names that differ, found {', '.join(names)}"
    # "The "axes" MUST contain 2 or 3 entries of "type:space" and MAY contain one additional entry of "type:time" and
    # MAY contain one additional entry of "type:channel" or a null / custom type."
    # "the entries MUST be ordered by "type" where the "time" axis must come first (if present), followed by the
    # "channel" or custom axis (if present) and the axes of type "space"."
    turns = [_TURN.get(axis.get("type", ""), 1) for axis in axes]
    counted = turns.count(0) <= 1 and turns.count(1) <= 1 and turns.count(2) in (2, 3)
    if not counted or turns != sorted(turns):
        found = ", ".join(f"{axis['name']} ({axis.get('type', 'no type')})" for axis in axes)
        yield f"expected {_RULE}, found {found}"


def _transformations(transformations: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    types = [one["type"] for one in transformations]
    # "The transformation MUST only be of type `translation` or `scale`. They MUST contain exactly one `scale` [...]
    # It MAY contain exactly one `translation` [...] If `translation` is given it MUST be listed after `scale`."
    if types not in (["scale"], ["scale", "translation"]):
        yield f"expected one scale and then at most one translation, found {', '.join(types)}"
    for one in transformations:
        vector = one[one["type"]]
        # "The length of the `scale` and `translation` array MUST be the same as the length of "axes"."
        if len(vector) != len(names):
            yield f"expected a {one['type']} of {len(names)} numbers, one an axis, found {shown(vector)}"
        # "exactly one `scale` transformation that specifies the pixel size in physical units or time duration": a
        # size is above nought. Python's JSON reader lets NaN and Infinity through.
        least = 0 if one["type"] == "scale" else -inf
        if not all(least < number < inf for number in vector):
            kind = "positive, finite" if one["type"] == "scale" else "finite"
            yield f"expected a {one['type']} of {kind} numbers, found {shown(vector)}"


def _level(document: Mapping[str, Any] | None, names: Sequence[str]) -> Iterator[str]:
    # "Each dictionary in "datasets" MUST contain the field "path", whose value contains the path to the array for
    # this resolution relative to the current zarr group."
    if document is None:
        yield "expected the array of a level, which the group's datasets name; found none"
        return
    # "OME-Zarr is implemented using the Zarr format as defined by the version 3 of the Zarr specification."
    yield from check_node(document, "array")
    # "The length of "axes" must be between 2 and 5 and MUST be equal to the dimensionality of the zarr arrays storing
    # the image data."
    sizes = shape(document)
    if sizes is not None and len(sizes) != len(names):
        yield f"expected {len(names)} dimensions, one an axis ({', '.join(names)}), found the shape {sizes}"
    # "The "dimension_names" attribute MUST be included in the `zarr.json` of the Zarr array of a multiscale level and
    # MUST match the names in the "axes" metadata."
    found = fields(document).get("dimension_names")
    if found != list(names):
        yield f"expected dimension_names {list(names)}, found {shown(found)}"


def _steps(finer: Mapping[str, Any], coarser: Mapping[str, Any], arrays: _Arrays) -> Iterator[str]:
    above, below = arrays.get(finer["path"]), arrays.get(coarser["path"])
    sizes, smaller = shape(above), shape(below)
    # "Each "datasets" dictionary MUST have the same number of dimensions": where one differs from the axes, the level
    # itself says so. "The "path"s MUST be ordered from largest (i.e. highest resolution) to smallest."
    if sizes is not None and smaller is not None and len(sizes) == len(smaller):
        shrinks = all(low <= high for high, low in zip(sizes, smaller, strict=True)) and sizes != smaller
        if not shrinks:
            yield f"expected a level smaller than {finer['path']!r} with the shape {sizes}, found {smaller}"
    scale, larger = _scale(finer), _scale(coarser)
    if len(scale) == len(larger) and any(low < high for high, low in zip(scale, larger, strict=True)):
        yield f"expected pixels no smaller than the {shown(scale)} of {finer['path']!r}, found {shown(larger)}"
    # The text is silent, but every reader takes the type of the first level for that of the image.
    if above is not None and below is not None and data_type(above) != data_type(below):
        yield f"expected the data type of {finer['path']!r}, {data_type(above)}, found {data_type(below) or 'none'}"


def _scale(dataset: Mapping[str, Any]) -> Sequence[float]:
    scales: Iterator[Sequence[float]] = (
        one["scale"] for one in dataset["coordinateTransformations"] if one["type"] == "scale"
    )
    return next(scales)  # the schema sees to it that there is one


def _omero(omero: Mapping[str, Any]) -> Iterator[str]:
    for number, channel in enumerate(omero["channels"]):
        place = f"attributes.ome.omero.channels[{number}]"
        # "Each dictionary in "channels" MUST contain the field "color", which is a string of 6 hexadecimal digits
        # specifying the color of the channel in RGB format."
        if not _COLOR.fullmatch(channel.get("color", "")):
            yield f"{place}.color: expected six hexadecimal digits, found {shown(channel.get('color'))}"
        # "Each dictionary in "channels" MUST contain the field "window"": its fields are the schema's.
        if "window" not in channel:
            yield f"{place}: expected a window with min, max, start and end, found none"
