"""Lazy reading of finished stores: images, tables, samples, queries, and the same through xarray.

Importing this package imports nothing heavy: each name is fetched when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ElementView": "zarrscope.loaders.views",
    "Samples": "zarrscope.loaders.samples",
    "Selection": "zarrscope.loaders.queries",
    "SlideView": "zarrscope.loaders.slides",
    "ShardedArray": "zarrscope.loaders.shards",
    "Store": "zarrscope.loaders.store",
    "open_store": "zarrscope.loaders.store",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_HOMES)
