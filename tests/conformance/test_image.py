"""A healthy OME-Zarr image passes, and each rule, broken alone, is named at its place."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.conformance import check_image
from zarrscope.errors import Problem

ABSENT = object()
SPACE = [{"name": "y", "type": "space", "unit": "nanometer"}, {"name": "x", "type": "space", "unit": "nanometer"}]
SAMPLE = {"name": "n", "type": "sample"}
TIME = {"name": "t", "type": "time"}
CHANNEL = {"name": "c", "type": "channel"}
DEPTH = {"name": "z", "type": "space"}


def array(shape, names, dtype="uint16"):
    return {"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": dtype, "dimension_names": names}


def image(axes, shapes, *, factor=2, **ome):
    """Build the documents of an image: the group under the path "", its levels under theirs."""
    names = [axis["name"] for axis in axes]
    lead = len(axes) - 2
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0] * lead + [65.0 * factor**level] * 2},
                {"type": "translation", "translation": [0.0] * lead + [65.0 * (factor**level - 1) / 2] * 2},
            ],
        }
        for level in range(len(shapes))
    ]
    multiscale = {"name": "wf", "type": "mean", "metadata": {}, "axes": axes, "datasets": datasets}
    ome = {"version": "0.5", "multiscales": [multiscale], **ome}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    return {"": group, **{str(level): array(list(shape), names) for level, shape in enumerate(shapes)}}


def stack():
    return image([SAMPLE, *SPACE], [(1000, 224, 224)])


def pyramid():
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [{"color": color, "window": dict(window)} for color in ("FF0000", "00FF00", "0000ff")]
    shapes = [(3, 400, 300), (3, 200, 150), (3, 100, 75)]
    return image([CHANNEL, *SPACE], shapes, omero={"channels": channels})


def altered(documents, where, path, value):
    """Give a copy of the documents with one field replaced, or taken away."""
    documents = copy.deepcopy(documents)
    steps = [int(part) if part.isdigit() else part for part in path.split(".") if part]
    *parents, last = (where, *steps)
    node = documents
    for part in parents:
        node = node[part]
    if value is ABSENT:
        del node[last]
    else:
        node[last] = value
    return documents


def check(documents, **options):
    arrays = {path: document for path, document in documents.items() if path}
    return check_image(documents[""], arrays, "s.zarr/wf", **options)


M = "attributes.ome.multiscales.0"
T = f"{M}.datasets.1.coordinateTransformations"
SCALE = {"type": "scale", "scale": [1, 1, 1]}
SHIFT = {"type": "translation", "translation": [0, 0, 0]}


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param(stack(), id="stack-of-samples"),
        pytest.param(pyramid(), id="pyramid-with-omero"),
        pytest.param(image(SPACE, [(9, 9)]), id="plane"),
        pytest.param(image([TIME, *SPACE], [(5, 9, 9)]), id="movie"),
        pytest.param(image([TIME, SAMPLE, DEPTH, *SPACE], [(2, 3, 4, 9, 9)]), id="five-axes"),
        pytest.param(image([{"name": "n"}, *SPACE], [(3, 9, 9)]), id="axis-without-type"),
        pytest.param(altered(stack(), "sample_id", "", array([1000], ["n"], "string")), id="array-that-is-no-level"),
        pytest.param(altered(pyramid(), "1", "shape", [3, 200, 300]), id="one-axis-shrinks"),
        pytest.param(altered(pyramid(), "", T, [{"type": "scale", "scale": [1, 130, 130]}]), id="scale-alone"),
        pytest.param(altered(stack(), "", f"{M}.coordinateTransformations", [SCALE, SHIFT]), id="common-transforms"),
        pytest.param(altered(stack(), "0", "data_type", {"name": "uint16", "configuration": {}}), id="type-as-object"),
    ],
)
def test_a_healthy_image_passes(documents):
    assert check(documents) == []


# base, document, field, new value -> where the problem is, what is said of it
FAULTS = {
    # the schemas
    "no-ome": (stack, "", "attributes.ome", ABSENT, "", "'ome' is a required property"),
    "no-attributes": (stack, "", "attributes", ABSENT, "", "'ome' is a required property"),
    "attributes-not-an-object": (stack, "", "attributes", [1], "", "'ome' is a required property"),
    "other-version": (stack, "", "attributes.ome.version", "0.4", "", "'0.4' is not one of ['0.5']"),
    "no-axes": (stack, "", f"{M}.axes", ABSENT, "", "'axes' is a required property"),
    "no-datasets": (stack, "", f"{M}.datasets", [], "", "should be non-empty"),
    "no-transformation": (stack, "", f"{M}.datasets.0.coordinateTransformations", [], "", "should be non-empty"),
    "window-incomplete": (pyramid, "", "attributes.ome.omero.channels.0.window.end", ABSENT, "", "'end' is a required"),
    # the strict schema
    "no-name": (stack, "", f"{M}.name", ABSENT, "", "'name' is a required property (strict_image.schema)"),
    "no-type": (stack, "", f"{M}.type", ABSENT, "", "'type' is a required property (strict_image.schema)"),
    "no-metadata": (stack, "", f"{M}.metadata", ABSENT, "", "'metadata' is a required property (strict_image.schema)"),
    # the text: axes
    "metadata-not-an-object": (stack, "", f"{M}.metadata", "mean", "", "expected an object, found 'mean'"),
    "same-name-twice": (stack, "", f"{M}.axes.0.name", "x", "", "expected names that differ, found x, y, x"),
    "time-not-first": (
        lambda: image([SAMPLE, TIME, *SPACE], [(2, 3, 9, 9)]), "", "node_type", "group", "", "found n (sample), t (tim",
    ),
    "channel-and-custom": (
        lambda: image([SAMPLE, CHANNEL, *SPACE], [(2, 3, 9, 9)]), "", "node_type", "group", "", "one channel or custom",
    ),
    "two-times": (
        lambda: image([TIME, {**TIME, "name": "u"}, *SPACE], [(2, 3, 9, 9)]), "", "node_type", "group", "", "one time",
    ),
    "space-first": (lambda: image([*SPACE, CHANNEL], [(9, 9, 3)]), "", "node_type", "group", "", "found y (space)"),
    "one-space-axis": (stack, "", f"{M}.axes.1", {"name": "y"}, "", "two or three space axes, found n (sample), y (no"),
    # the text: transformations
    "translation-first": (pyramid, "", T, [SHIFT, SCALE], "", "expected one scale and then at most one translation"),
    "two-translations": (pyramid, "", T, [SCALE, SHIFT, SHIFT], "", "found scale, translation, translation"),
    "scale-too-short": (pyramid, "", f"{T}.0.scale", [130, 130], "", "expected a scale of 3 numbers, one an axis"),
    "translation-too-long": (pyramid, "", f"{T}.1.translation", [0] * 4, "", "expected a translation of 3 numbers"),
    "scale-of-nought": (pyramid, "", f"{T}.0.scale", [1, 0, 130], "", "positive, finite numbers, found [1, 0, 130]"),
    "scale-not-a-number": (pyramid, "", f"{T}.0.scale", [1, float("nan"), 130], "", "positive, finite numbers"),
    "translation-infinite": (pyramid, "", f"{T}.1.translation", [0, 0, float("inf")], "", "of finite numbers"),
    "common-translation-first": (
        stack, "", f"{M}.coordinateTransformations", [SHIFT, SCALE], "", "multiscales[0].coordinateTransformations: ex",
    ),
    "common-scale-too-short": (
        stack, "", f"{M}.coordinateTransformations", [{"type": "scale", "scale": [1, 1]}], "", "a scale of 3 numbers",
    ),
    # the text: the arrays
    "level-missing": (pyramid, "2", "", ABSENT, "/2", "expected the array of a level"),
    "path-elsewhere": (stack, "", f"{M}.datasets.0.path", "../gt/0", "/../gt/0", "expected the array of a level"),
    "level-is-a-group": (stack, "0", "node_type", "group", "/0", "expected a Zarr array, found node_type 'group'"),
    "level-not-an-object": (stack, "0", "", [], "/0", "expected a Zarr array, found node_type none"),
    "level-of-zarr-2": (stack, "0", "zarr_format", 2, "/0", "expected zarr_format 3, found 2"),
    "group-of-zarr-2": (stack, "", "zarr_format", 2, "", "expected zarr_format 3, found 2"),
    "group-is-an-array": (stack, "", "node_type", "array", "", "expected a Zarr group, found node_type 'array'"),
    "no-shape": (stack, "0", "shape", ABSENT, "/0", "expected a shape, a list of lengths, found none"),
    "shape-negative": (stack, "0", "shape", [-1, 2, 2], "/0", "expected a shape, a list of lengths, found [-1, 2, 2]"),
    "too-few-dimensions": (stack, "0", "shape", [224, 224], "/0", "expected 3 dimensions, one an axis (n, y, x)"),
    "no-dimension-names": (stack, "0", "dimension_names", ABSENT, "/0", "expected dimension_names ['n', 'y', 'x'], fo"),
    "dimension-names-swapped": (stack, "0", "dimension_names", ["n", "x", "y"], "/0", "found ['n', 'x', 'y']"),
    # the text: levels
    "levels-equal": (pyramid, "1", "shape", [3, 400, 300], "/1", "expected a level smaller than '0'"),
    "level-grows": (pyramid, "2", "shape", [3, 100, 151], "/2", "expected a level smaller than '1'"),
    "pixels-shrink": (pyramid, "", f"{T}.0.scale", [1, 130, 64], "/1", "expected pixels no smaller than the [1.0, 65."),
    "type-changes": (pyramid, "1", "data_type", "float32", "/1", "expected the data type of '0', uint16, found float3"),
    # the text: omero
    "no-color": (pyramid, "", "attributes.ome.omero.channels.1.color", ABSENT, "", "channels[1].color: expected six"),
    "color-with-hash": (pyramid, "", "attributes.ome.omero.channels.1.color", "#00FF0", "", "six hexadecimal digits"),
    "no-window": (pyramid, "", "attributes.ome.omero.channels.2.window", ABSENT, "", "channels[2]: expected a window"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_a_broken_rule_is_named_at_its_place(case):
    base, document, field, value, where, message = case
    found = check(altered(base(), document, field, value))
    assert any(problem.where == f"s.zarr/wf{where}" and message in problem.message for problem in found), found
    assert {problem.kind for problem in found} == {"conformance"}


def test_strictness_can_be_waived():
    """What the plain schema only recommends is asked for by default, and not otherwise."""
    bare = altered(altered(stack(), "", f"{M}.name", ABSENT), "", f"{M}.type", ABSENT)
    assert len(check(bare)) == 2
    assert check(bare, strict=False) == []


def test_all_problems_are_told_at_once():
    documents = altered(altered(pyramid(), "1", "dimension_names", None), "2", "", ABSENT)
    assert [problem.where for problem in check(documents)] == ["s.zarr/wf/1", "s.zarr/wf/2"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value):
    """Name every place of a JSON document as a way down from its root."""
    yield ()
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from ((key, *way) for way in places(inner))


@settings(deadline=None)  # nothing is timed
@given(data=st.data())
def test_no_document_is_too_strange(data):
    """Whatever JSON stands in whichever place, the answer is a list of problems and never an exception."""
    documents = copy.deepcopy(data.draw(st.sampled_from([stack(), pyramid()])))
    *parents, last = data.draw(st.sampled_from([way for way in places(documents) if way]))
    node = documents
    for part in parents:
        node = node[part]
    node[last] = data.draw(JSON | st.just(10**400))
    assert all(isinstance(problem, Problem) for problem in check(documents))
