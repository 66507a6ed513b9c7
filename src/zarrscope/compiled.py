"""Compile loops with numba, for given types of arguments; they hold no lock while they run.

Importing this module imports no compiler: that is done when the first loop is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

type Loop = Callable[..., Any]


def jit(signatures: list[Any], **options: Any) -> Callable[[Loop], Loop]:
    """Compile now for these types of arguments, or take what was compiled for the loop's file before.

    ``options`` are numba's own.
    """
    import numba

    def decorate(loop: Loop) -> Loop:
        try:
            compiled: Loop = numba.njit(signatures, nogil=True, cache=True, **options)(loop)
        except RuntimeError:  # there is no folder in which numba may keep what it compiles
            compiled = numba.njit(signatures, nogil=True, **options)(loop)
        return compiled

    return decorate
