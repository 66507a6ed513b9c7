"""The official JSON schemas of OME-NGFF 0.5, carried in the package and resolved without the network.

The strict schemas name no dialect and refer to the plain ones by URL, so all of them go into one registry under the
dialect of their siblings. A registry without a retriever raises where a reference is unknown: nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_BASE = "https://ngff.openmicroscopy.org/0.5/schemas/"
_LONGEST = 160  # characters of a schema's message that a report shows: it may quote a whole document


def violations(document: object, schema: str) -> list[str]:
    """Hold the attributes of a ``zarr.json`` against one official schema.

    Parameters
    ----------
    document
        The attributes: an object with a key ``ome``.
    schema
        ``image``, ``strict_image``, ``label``, ``plate``, ``well``, ...

    Returns
    -------
    list of str
        One line a violation: where in the document, and what is wrong there.

    >>> violations({}, "image")
    ["attributes: 'ome' is a required property"]
    """
    return list(dict.fromkeys(_line(error) for error in _validator(schema).iter_errors(document)))


@cache
def _registry() -> Registry[Any]:
    documents = (
        json.loads(entry.read_text(encoding="utf-8"))
        for entry in files("zarrscope.conformance").joinpath("schemas").iterdir()
        if entry.name.endswith(".schema")
    )
    resources = (Resource.from_contents(one, default_specification=DRAFT202012) for one in documents)
    return resources @ Registry[Any]()


@cache
def _validator(schema: str) -> Draft202012Validator:
    # Reading the schemas takes ten times as long as holding a document against them.
    registry = _registry()
    return Draft202012Validator(registry.contents(f"{_BASE}{schema}.schema"), registry=registry)


def _line(error: ValidationError) -> str:
    # Under oneOf, the branch that came nearest says more than "is not valid under any of the given schemas".
    nearest = best_match(iter([error])) or error
    message = nearest.message
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
    return f"{''.join(_place(nearest))}: {message}"


def _place(error: ValidationError) -> Iterator[str]:
    yield "attributes"
    for part in error.absolute_path:
        yield f"[{part}]" if isinstance(part, int) else f".{part}"
