"""Small datasets, true to the form of the published ones, with synthetic content: for a first try and for tests.

>>> import tempfile
>>> from pathlib import Path
>>> with tempfile.TemporaryDirectory() as folder:
...     made = make_stedfm(Path(folder), images=1, size=32, kinds=["full/normalised"])
...     print(made["full/normalised"].name)
STED-FM-dataset-crops.tar
"""

from __future__ import annotations

from zarrscope.demo.biosr import make_biosr
from zarrscope.demo.stamps import read_stamp, stamp
from zarrscope.demo.stedfm import ARCHIVES, make_stedfm
from zarrscope.demo.stimage import make_stimage

__all__ = ["ARCHIVES", "make_biosr", "make_stedfm", "make_stimage", "read_stamp", "stamp"]
