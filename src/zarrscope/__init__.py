"""zarrscope: microscopy and spatial-omics archives rewritten as sharded OME-Zarr and AnnData, proven and lazy.

The verbs are ``plan``, ``convert``, ``open``, ``verify``, ``info`` and ``sheet``; each is imported when it is first used, so
that ``import zarrscope`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zarrscope.api import convert, demo, finish, info, open, plan, sheet, verify  # noqa: A004
    from zarrscope.errors import ZarrscopeError
    from zarrscope.recipe import Catalog, Recipe

_HOMES = {
    **dict.fromkeys(("convert", "demo", "info", "open", "plan", "sheet", "verify"), "zarrscope.api"),
    "ZarrscopeError": "zarrscope.errors",
    **dict.fromkeys(("Catalog", "Recipe", "arrange", "stack"), "zarrscope.recipe"),
}

__all__ = ["Catalog", "Recipe", "ZarrscopeError", "convert", "demo", "info", "open", "plan", "sheet", "verify"]


def __getattr__(name: str) -> object:
    """Import a name from its home on first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zarrscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
