"""Intervals for measures that have no formula for one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

REPEATS = 1000


def bootstrap_intervals(
    measure: Callable[[NDArray[np.int64]], dict[str, float]],
    samples: int,
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (Efron 1979, Ann Stat 7:1) of all measures of a set of samples.

    `measure` gets the places of the samples drawn, with replacement, and returns its measures by name.
    """
    draws = [measure(rng.integers(samples, size=samples)) for _ in range(repeats)]
    return {name: _middle([draw[name] for draw in draws]) for name in draws[0]}


def _middle(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if not np.isnan(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return float(low), float(high)
