"""Loops over arrays, compiled by numba."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Returned = TypeVar("Returned")


def compiled(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """The loop as machine code, without promises about NaN, division by 0 or the order of sums."""
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "nsz", "reassoc"},
        "error_model": "numpy",  # a check of every division would keep loops from being vectorised
        "no_cfunc_wrapper": True,
    }
    jitted: Callable[..., Returned]
    try:
        jitted = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder where it could be kept for the next run
        jitted = numba.njit(**options)(function)
    return jitted
