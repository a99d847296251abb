"""How good predicted numbers are, with intervals, beside always predicting the mean of the true ones.

Shape suffixes: N samples.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics import resampling
from genomai_cli.metrics.classification import Estimate, wilson_interval

Numbers = NDArray[np.float64]


def pearson(truth_N: Numbers, predicted_N: Numbers) -> float:
    """The correlation coefficient; 0 where one of the two does not vary."""
    truth_centred, predicted_centred = _centred(truth_N), _centred(predicted_N)
    scale = math.sqrt(
        float(truth_centred @ truth_centred) * float(predicted_centred @ predicted_centred)
    )
    return float(truth_centred @ predicted_centred) / scale if scale > 0 else 0.0


def _centred(values_N: Numbers) -> Numbers:
    """The values less their mean: exactly 0 where they are all the same, though rounding takes the mean off them."""
    if (values_N == values_N[:1]).all():
        return np.zeros_like(values_N)
    return np.asarray(values_N - values_N.mean())


def spearman(truth_N: Numbers, predicted_N: Numbers) -> float:
    """The correlation coefficient of the ranks, equal values sharing their mean rank."""
    return pearson(_ranks(truth_N), _ranks(predicted_N))


def _ranks(values_N: Numbers) -> Numbers:
    _, which, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[which.reshape(-1)], np.float64)


def r_squared(truth_N: Numbers, predicted_N: Numbers) -> float:
    """R^2: 1 less the squared error relative to that of the mean; 0 where the truth does not vary."""
    total = float(np.square(_centred(truth_N)).sum())
    return 1 - float(np.square(truth_N - predicted_N).sum()) / total if total > 0 else 0.0


def root_mean_square(errors_N: Numbers) -> float:
    """The root of the mean squared error."""
    return math.sqrt(float(np.square(errors_N).mean()))


def correlations(truth_N: Numbers, predicted_N: Numbers) -> dict[str, float]:
    """Pearson's r, Spearman's rho, R^2 and the root mean squared error, by name."""
    return {
        "pearson": pearson(truth_N, predicted_N),
        "spearman": spearman(truth_N, predicted_N),
        "r2": r_squared(truth_N, predicted_N),
        "rmse": root_mean_square(truth_N - predicted_N),
    }


@dataclass(frozen=True, eq=False)
class NumberPredictions:
    """A number (N,) a sample and its interval, NaN where none was predicted."""

    value: Numbers
    low: Numbers
    high: Numbers


@dataclass(frozen=True, slots=True)
class NumberScores:
    """The measures of a head of numbers, over the samples that have a prediction; `unknown` have none."""

    samples: int
    unknown: int
    measures: dict[str, Estimate]


def score_numbers(
    truth_N: Numbers, predictions: NumberPredictions, rng: np.random.Generator
) -> NumberScores:
    """Every measure, with `covered`, the share of the true numbers that lie in the interval."""
    known_N = ~np.isnan(predictions.value)
    if not known_N.any():
        return NumberScores(len(truth_N), len(truth_N), {})
    true, value = truth_N[known_N], predictions.value[known_N]
    covered = (true >= predictions.low[known_N]) & (true <= predictions.high[known_N])

    def measures(indices: NDArray[np.int64]) -> dict[str, float]:
        found = correlations(true[indices], value[indices])
        return found | {"covered": float(covered[indices].mean())}

    values = measures(np.arange(len(true)))
    intervals = resampling.bootstrap_intervals(measures, len(true), rng)
    intervals["covered"] = wilson_interval(int(covered.sum()), len(true))
    baseline = {
        "pearson": 0.0,
        "spearman": 0.0,
        "r2": 0.0,
        "rmse": root_mean_square(_centred(true)),
    }
    return NumberScores(
        len(truth_N),
        int((~known_N).sum()),
        {
            name: Estimate(point, *intervals[name], baseline.get(name))
            for name, point in values.items()
        },
    )
