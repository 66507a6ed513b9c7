"""Read what lies beside the pictures and the counts of a spatial transcriptomics slide.

Spots and their places, labels by pathologists, the table of slides, the references; and what follows from them: where
a spot stands on its array, how large a pixel is, and whether the spots lie on the tissue. Every function takes bytes
or columns and knows no URL. Errors count rows from 1, the first below the header; blank lines are no rows.
"""

from __future__ import annotations

from zarrscope.readers.slides.alignment import Alignment, alignment, tissue_mask
from zarrscope.readers.slides.bib import Bibliography, Reference, read_bib
from zarrscope.readers.slides.coords import Coords, read_coords
from zarrscope.readers.slides.grid import SpotGrid, spot_grid
from zarrscope.readers.slides.labels import MISSING, read_annotation
from zarrscope.readers.slides.meta import read_meta
from zarrscope.readers.slides.scale import PixelSize, micrometres_per_pixel

__all__ = [
    "MISSING",
    "Alignment",
    "Bibliography",
    "Coords",
    "PixelSize",
    "Reference",
    "SpotGrid",
    "alignment",
    "micrometres_per_pixel",
    "read_annotation",
    "read_bib",
    "read_coords",
    "read_meta",
    "spot_grid",
    "tissue_mask",
]
