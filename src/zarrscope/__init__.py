"""zarrscope: microscopy and spatial-omics archives rewritten as sharded OME-Zarr and AnnData, proven and lazy.

The verbs are ``plan``, ``convert``, ``open``, ``verify``, ``info`` and ``sheet``; each is imported on first
use, so that ``import zarrscope`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from zarrscope.version import __version__

if TYPE_CHECKING:
    from zarrscope.api import convert, demonstrate, info, manifest, open, plan, sheet, verify  # noqa: A004
    from zarrscope.errors import ZarrscopeError

_HOMES = {
    **dict.fromkeys(("convert", "demonstrate", "info", "manifest", "open", "plan", "sheet", "verify"), "zarrscope.api"),
    "ZarrscopeError": "zarrscope.errors",
}

__all__ = [
    "ZarrscopeError",
    "__version__",
    "convert",
    "demonstrate",
    "info",
    "manifest",
    "open",
    "plan",
    "sheet",
    "verify",
]


def __getattr__(name: str) -> object:
    """Import a name from its home on first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zarrscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
