"""What a sample with groups of its own holds: the record lists only the sample, and these are its groups as elements.

A record stays small because a slide is one element of it. What kind of group each of a sample's names is follows from
the name: counts and localizations are tables, gene-major twins are neither image nor table, all else are images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from zarrscope.record import Element

type Kind = Literal["image", "table"]

COUNTS, BY_GENE = "counts", "by_gene"
TABLES = frozenset({COUNTS, "locs"})
MATRICES = frozenset({BY_GENE})
_IMAGES = frozenset({"image"})


def held(sample: Element) -> tuple[Element, ...]:
    """Give the images and tables of a sample, in the order of its record; their shapes stand in their own groups."""
    return tuple(
        Element(
            path=f"{sample.path}/{name}",
            kind="table" if name in TABLES else "image",
            role=name,
            shape=(),
            digest="",
            name=sample.name,
        )
        for name in sample.holds
        if name not in MATRICES
    )


def as_kind(element: Element, kind: Kind) -> Element:
    """Take a sample's group for what it is asked to be, where its name alone does not tell: opening it will show."""
    told = element.role in TABLES or element.role in _IMAGES
    return element if told or element.shape else replace(element, kind=kind)
