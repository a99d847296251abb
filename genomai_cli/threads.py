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
class _Chosen:
    count: int | None = None


_chosen = _Chosen()


def use(count: int) -> None:
    """Compute with so many threads from now on."""
    _chosen.count = min(count, 2 * (os.cpu_count() or 1))  # thousands end in a crash


def count() -> int:
    """With how many threads; as long as none are chosen, as OMP_NUM_THREADS says, or one a processor."""
    if _chosen.count is not None:
        return _chosen.count
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else _processors()


def each(threads: int, rows: int, walk: Callable[..., None], *arrays: Any) -> None:
    """Call `walk(first, step, *arrays)` so that each of so many rows is walked, by so many threads at most."""
    threads = min(rows, threads)
    if threads <= 1:
        walk(0, 1, *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: walk(first, threads, *arrays), range(threads)))


@contextmanager
def one_for_linear_algebra() -> Iterator[None]:
    """What the linear algebra of numpy and scipy makes inside, or in a function with this decorator, does not depend
    on how many threads it would take by itself, which the sums of products and factors of matrices do."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _processors() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
