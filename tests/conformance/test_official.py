"""The official schemas are whole, resolve without the network, and answer as the specification's own suites expect."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest
from referencing.exceptions import Unresolvable

from zarrscope.conformance import check_image, official

SUITES = Path(__file__).parent / "suites"

# What git calls each file on branch 0.5 of ome/ngff-spec, at the commit that the NOTICE names.
BLOBS = {
    "_version": "1da06a6d84a2ebd9d483631ad46963ab4c85c20c",
    "bf2raw": "d3c87253dcbd82847083730acece8c4409165072",
    "image": "f94fd942dc6ac88f03f387fa827a95ee67500f4b",
    "label": "dd5cb6d6113d471150c094a016d03585147610ac",
    "ome": "365692808a56f61cde9228e80260e86df5fb48f1",
    "ome_zarr": "9b22bba6956d604e44407adbcdac6a988906354d",
    "plate": "3c8a1b971c8832828dc6182969c303b45f733f8e",
    "strict_image": "042790e79e806540e011d9088597730029c9447b",
    "strict_label": "f1ec4db59557d4c4cc3d8252008245094083ab29",
    "strict_plate": "ce678ce891bd39025618d45176fed1fa4e38be16",
    "strict_well": "43cb58cbcd0d37b142e3a511562a1458a72d055b",
    "well": "447f51dfe6e829337179921febe0671fad36aec8",
}

# Invalid, but passed by the schemas: the suite's own exception, since no JSON schema can say that a path names the row
# before the column.
BEYOND_SCHEMAS = {"plate/well_path_has_column_before_row"}


def suite_cases(pattern):
    cases = []
    for path in sorted(SUITES.glob(pattern)):
        suite = json.loads(path.read_text(encoding="utf-8"))
        schema = Path(suite["schema"]["id"]).stem
        cases += [pytest.param(schema, case, id=f"{schema}-{case['formerly']}") for case in suite["tests"]]
    return cases


def arrays_for(attributes):
    """Give every dataset the array that it asks for, so that only the metadata is judged."""
    return {
        dataset["path"]: {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [64 >> level] * len(multiscale.get("axes", [])),
            "data_type": "uint8",
            "dimension_names": [axis.get("name") for axis in multiscale.get("axes", [])],
        }
        for multiscale in attributes["ome"].get("multiscales", [])
        for level, dataset in enumerate(multiscale.get("datasets", []))
        if isinstance(dataset.get("path"), str)
    }


def test_suites_are_complete():
    assert len(suite_cases("*_suite.json")) == 86


@pytest.mark.parametrize(("schema", "case"), suite_cases("*_suite.json"))
def test_schema_answers_as_its_suite_expects(schema, case):
    found = official.violations(case["data"], schema)
    assert (not found) == (case["valid"] or case["formerly"] in BEYOND_SCHEMAS), found


@pytest.mark.parametrize(("schema", "case"), suite_cases("*image_suite.json"))
def test_check_image_answers_as_its_suite_expects(schema, case):
    """The sentences that we add to the schemas refuse nothing that the specification calls valid."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": case["data"]}
    found = check_image(group, arrays_for(case["data"]), "image", strict=schema == "strict_image")
    assert (not found) == case["valid"], found


def test_every_schema_is_vendored():
    folder = files("zarrscope.conformance") / "schemas"
    assert {entry.name for entry in folder.iterdir()} == {"NOTICE", *(f"{name}.schema" for name in BLOBS)}


@pytest.mark.parametrize("name", BLOBS)
def test_schema_is_byte_identical_to_the_official_one(name):
    data = (files("zarrscope.conformance") / "schemas" / f"{name}.schema").read_bytes()
    assert hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == BLOBS[name]


def test_an_unknown_schema_is_not_fetched():
    """A reference that the package does not carry raises at once: no request leaves the machine."""
    with pytest.raises(Unresolvable):
        official._registry().resolver().lookup("https://ngff.openmicroscopy.org/0.6/schemas/image.schema")


def test_validators_are_built_once():
    assert official._validator("image") is official._validator("image")


def test_a_long_message_is_cut_in_the_middle():
    (line,) = official.violations({"ome": {"version": "0.5", "multiscales": "x" * 9999}}, "image")
    assert len(line) < 250
    assert line.endswith("is not of type 'array'")
