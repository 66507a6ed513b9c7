"""STimage-1K4M: 1,149 spatial transcriptomics slides, each a picture, coordinates of spots, and dense counts as text.

Each slide becomes a pyramid (c, y, x) and an AnnData of its counts, with a gene-major twin; all slides together are one
catalogue with one index of genes. Pictures are called ``.png`` whatever they are; counts are mostly written as ``0.0``;
symbols occur twice. A slide whose picture is broken keeps its counts, and says so; spots without a place, or without
counts, are counted and never made up.

Source: JiawenChenn/STimage-1K4M (README, docs), https://huggingface.co/datasets/jiawennnn/STimage-1K4M.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zarrscope.model import Content, Sample
from zarrscope.recipe import Built, Collected, Desk, Expected, Recipe
from zarrscope.recipes.stimage.layout import IGNORED, PATTERN, layout, look


def build(desk: Desk) -> Built:
    """Build a slide; what that needs is imported here, since every recipe is loaded when one is chosen."""
    from zarrscope.recipes.stimage.slide import build_slide

    return build_slide(desk)


def collect(collected: Collected) -> Mapping[str, Any]:
    """Build the index of genes."""
    from zarrscope.recipes.stimage.genes import gene_index

    return {"genes": gene_index(collected)}


def expect(sample: Sample, contents: Mapping[str, Content]) -> Mapping[str, Callable[[], Expected | None]]:
    """Give what each file promises, for verify."""
    from zarrscope.recipes.stimage.expected import expected

    return expected(sample, contents)


recipe = Recipe(
    name="stimage",
    version=1,
    title="STimage-1K4M: histology images with gene expression, spot by spot",
    license="MIT (the compilation; each study has terms of its own)",
    citation="Chen et al., STimage-1K4M: A histopathology image-gene expression dataset for spatial transcriptomics, "
    "NeurIPS 2024 Datasets and Benchmarks, https://arxiv.org/abs/2406.06393; cite each slide's study, too",
    pattern=PATTERN,
    ignored=IGNORED,
    layout=layout,
    build=build,
    look=look,
    parts={"image": ("image",), "counts": ("counts", "coord", "annotation", "image")},
    collect=collect,
    expect=expect,
)
