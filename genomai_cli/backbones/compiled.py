"""Loops over arrays, compiled by numba and shared out among threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import torch

Returned = TypeVar("Returned")


def compiled(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """The loop as machine code, without promises about NaN, division by 0 or the order of sums."""
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "nsz", "reassoc"},
        "error_model": "numpy",  # a check of every division would keep loops from being vectorised
        "no_cfunc_wrapper": True,
    }
    made: Callable[..., Returned]
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder where it could be kept for the next run
        made = numba.njit(**options)(function)
    return made


def each(count: int, walk: Callable[..., None], *arrays: Any) -> None:
    """Call `walk(first, step, *arrays)` so that each of `count` rows is walked, by as many threads as torch uses."""
    threads = min(count, torch.get_num_threads())
    if threads <= 1:
        walk(0, 1, *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: walk(first, threads, *arrays), range(threads)))
