"""The schemas of record and plan: exported from the code, and kept by every document that we write.

After a change of the dataclasses behind them write them anew::

    python tests/test_schemas.py --write
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import zarrscope as zs
from zarrscope import planning, record
from zarrscope.model import Progress

FOLDER = Path(__file__).parent.parent / "schemas"
EXPORTS = {"record": record.schema, "plan": planning.schema}

type Document = dict[str, Any]


def exported(name: str) -> Document:
    """Export a schema: what msgspec tells of the types, and the docstrings told where they belong.

    All we write is written out, defaults too, and nothing else is: so every property is required, and no other allowed.
    """
    schema = EXPORTS[name]()
    for definition in schema["$defs"].values():
        told, fields = _told(definition.get("description", ""))
        definition["description"] = told
        definition["required"] = list(definition["properties"])
        definition["additionalProperties"] = False
        for field, entry in definition["properties"].items():
            entry.pop("default", None)
            if field in fields:
                entry["description"] = fields[field]
    return schema


def _told(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a numpy-style docstring into what it says of the whole and of each parameter."""
    text, _, listed = inspect.cleandoc(docstring).partition("\nParameters\n----------\n")
    fields: dict[str, str] = {}
    for entry in filter(None, re.split(r"\n(?=\S)", listed)):
        names, _, meaning = entry.partition("\n")
        fields |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return " ".join(text.split()), fields


def text(name: str) -> str:
    return json.dumps(exported(name), indent=2, ensure_ascii=False) + "\n"


def path(name: str) -> Path:
    return FOLDER / f"{name}.schema.json"


def problems(name: str, document: Document) -> list[str]:
    """List what the committed schema faults in a document."""
    validator = Draft202012Validator(json.loads(path(name).read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def written(store: Path) -> Document:
    """Read the record of a store, as any JSON reader would."""
    return json.loads((store / "zarr.json").read_bytes())["attributes"]["zarrscope"]


class StoppedError(Exception):
    """Raised to stop a conversion half-way."""


def stopped(sources: Any, store: Path) -> None:
    """Begin a conversion, and stop it when its plan is written down."""

    def stop(_: Progress) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        zs.convert(sources, store, progress=stop)


@pytest.mark.parametrize("name", EXPORTS)
def test_the_schema_is_that_of_the_code(name):
    """The committed schema is the exported one, is a valid schema, and says what each definition is."""
    assert path(name).read_text() == text(name), f"run: python {Path(__file__).name} --write"
    schema = json.loads(text(name))
    Draft202012Validator.check_schema(schema)
    assert all(definition["description"] for definition in schema["$defs"].values())


@pytest.mark.parametrize("store", ["stedfm_store", "biosr_store"])
def test_a_finished_store_has_a_valid_record(store, request):
    assert problems("record", written(request.getfixturevalue(store))) == []


def test_a_record_with_everything_in_it_is_valid(biosr, tmp_path):
    """So is a record with a choice of samples, a card, a quarantined member, and findings."""
    tree, store = tmp_path / "biosr", tmp_path / "biosr.zarr"
    shutil.copytree(biosr, tree)
    (tree / "test_gt" / "001.tif").write_bytes(b"II*\x00 no picture at all")
    (tree / "training_gt" / "00000002.tif").unlink()
    (tree / "notes.txt").write_text("not of this dataset")
    zs.convert(tree, store, where="number <= 5", limit=8, shard=4, codec="zstd:3", card={"contact": "the owner"})
    document = written(store)
    assert problems("record", document) == []
    assert document["findings"] or document["conversions"][0]["findings"]
    assert document["conversions"][0]["counts"]["quarantined"] >= 2


def test_a_record_with_a_conversion_under_way_is_valid(stedfm, tmp_path):
    """A store to which an archive is being added says so in its record, and holds the plan of what is under way."""
    store = tmp_path / "stedfm.zarr"
    zs.convert(stedfm["subset/normalised"], store)
    stopped([stedfm["subset/normalised"], stedfm["subset/raw"]], store)
    document = written(store)
    assert document["pending"]
    assert problems("record", document) == []
    assert problems("plan", json.loads((store / ".zarrscope" / "plan.json").read_bytes())) == []


@pytest.mark.parametrize("source", ["stedfm", "biosr"])
def test_a_plan_is_valid(source, request, tmp_path):
    """What ``plan --json`` prints, and the plan that an unfinished store holds."""
    held = request.getfixturevalue(source)
    sources = list(held.values()) if isinstance(held, dict) else held
    planned = zs.plan(sources, tmp_path / "never.zarr", limit=7)
    assert problems("plan", json.loads(planning.to_json(planned))) == []
    assert planning.from_json(planning.to_json(planned)) == planned
    stopped(sources, tmp_path / "begun.zarr")
    assert problems("plan", json.loads((tmp_path / "begun.zarr" / ".zarrscope" / "plan.json").read_bytes())) == []


def without_license(document: Document) -> None:
    del document["terms"]["license"]


CHANGES = {
    "a word of its own": lambda document: document.update(colour="blue"),
    "a nested word of its own": lambda document: document["elements"][0].update(colour="blue"),
    "no licence": without_license,
    "a negative count": lambda document: document["conversions"][0]["counts"].update(converted=-1),
    "a short digest": lambda document: document["elements"][0].update(digest="abc"),
    "an unknown kind": lambda document: document["elements"][0].update(kind="movie"),
    "a text for a number": lambda document: document["samples"][0].update(length="177"),
    "no digest": lambda document: document.update(digest=""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_schema_is_tight(change, biosr_store):
    """What is no record of ours is refused by the schema."""
    document = copy.deepcopy(written(biosr_store))
    change(document)
    assert problems("record", document)


def main() -> None:
    """Write the schemas anew."""
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    FOLDER.mkdir(exist_ok=True)
    for name in EXPORTS:
        path(name).write_text(text(name))
        print(path(name))


if __name__ == "__main__":
    main()
