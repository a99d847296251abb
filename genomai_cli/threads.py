"""Threads of the processor that arrays are computed with, by numpy and compiled loops, so that they do not show.

torch has a number of its own, see `device.use_threads`, which sets both.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits


@dataclass
class _ThreadCount:
    count: int | None = None


_setting = _ThreadCount()


def use(count: int) -> None:
    """Compute with so many threads from now on."""
    _setting.count = min(count, 2 * (os.cpu_count() or 1))  # thousands end in a crash


def count() -> int:
    """The number of threads; as long as none is chosen, that of OMP_NUM_THREADS, or one a processor."""
    if _setting.count is not None:
        return _setting.count
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and int(value) else _processors()


def run_strided(threads: int, rows: int, worker: Callable[..., None], *arrays: Any) -> None:
    """Call `worker(first, step, *arrays)` in at most so many threads; each takes every step-th of the rows."""
    threads = min(rows, threads)
    if threads <= 1:
        worker(0, 1, *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: worker(first, threads, *arrays), range(threads)))


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Linear algebra of numpy and scipy inside, or in a function with this decorator, runs on one thread: sums in
    products and factors of matrices depend on the number of threads otherwise."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _processors() -> int:
    """The number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
