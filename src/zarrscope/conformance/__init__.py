"""Whether a group keeps to the published rules: OME-Zarr 0.5 for images, AnnData on disk for tables.

Both checks are pure: they take parsed ``zarr.json`` documents and give problems. They read no pixel, open no store
and never ask the network; the official schemas are part of the package.
"""

from zarrscope.conformance.image import check_image
from zarrscope.conformance.table import check_table

__all__ = ["check_image", "check_table"]
