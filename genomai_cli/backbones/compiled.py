"""Loops over arrays, compiled where `numba` is installed (`pip install genomai[fast]`) and shared out among threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

Returned = TypeVar("Returned")
numba: Any = import_module("numba") if find_spec("numba") else None


def compiled(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """The loop as machine code, without promises about NaN or the order of sums; as it is where there is no numba."""
    if numba is None:
        return function
    flags = {"contract", "nsz", "reassoc"}
    made: Callable[..., Returned]
    try:
        made = numba.njit(nogil=True, cache=True, fastmath=flags, error_model="numpy", no_cfunc_wrapper=True)(function)
    except RuntimeError:  # no folder where it could be kept for the next run
        made = numba.njit(nogil=True, fastmath=flags)(function)
    return made


def each(count: int, walk: Callable[..., None], *arrays: Any) -> None:
    """Call `walk(first, step, *arrays)` so that each of `count` rows is walked, by as many threads as torch uses."""
    threads = min(count, torch.get_num_threads())
    if threads <= 1:
        walk(0, 1, *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: walk(first, threads, *arrays), range(threads)))
