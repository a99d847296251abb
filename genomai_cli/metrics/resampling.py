"""Bootstrap intervals of measures, and permutation tests of whether given pairs belong together.

Shapes: N pairs, U different partners.
"""

from collections.abc import Callable
from dataclasses import dataclass

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

    `measure` gets the indices of the samples drawn, with replacement, and returns its measures by name.
    """
    draws = [measure(rng.integers(samples, size=samples)) for _ in range(repeats)]
    return {name: _percentile_interval([draw[name] for draw in draws]) for name in draws[0]}


def _percentile_interval(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if not np.isnan(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return float(low), float(high)


PERMUTATIONS = 9999
_ROUNDING = 1e-12  # of rounding, by which equal sums may differ


@dataclass(frozen=True)
class PermutationTest:
    """The mean similarity of the pairs beside the `expected` one of random assignments, whose standard deviation is
    `spread`; `p` is how often chance does at least as well."""

    pairs: int
    observed: float
    expected: float
    spread: float
    p: float
    permutations: int


def permutation_test(
    similarities: NDArray[np.float64],
    partners: NDArray[np.int64],
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> PermutationTest:
    """How often a random assignment of the partners among the rows has a mean similarity at least as high.

    Row i of `similarities` (N, U) is paired with column `partners[i]` (N,); a partner of several rows stays that of as
    many. With b of n random assignments at least as high, p is (b + 1) / (n + 1), never 0 (Phipson & Smyth 2010, Stat
    Appl Genet Mol Biol 9:39). ValueError without a pair.
    """
    if not len(partners):
        raise ValueError("no pairs to test")
    rows = np.arange(len(partners))
    observed = float(similarities[rows, partners].mean())
    permuted_means = np.array(
        [similarities[rows, rng.permutation(partners)].mean() for _ in range(permutations)]
    )
    at_least_observed = int(
        (permuted_means >= observed - _ROUNDING * max(1.0, abs(observed))).sum()
    )
    p = (at_least_observed + 1) / (permutations + 1)
    spread = float(permuted_means.std())
    return PermutationTest(
        len(rows), observed, float(permuted_means.mean()), spread, p, permutations
    )
