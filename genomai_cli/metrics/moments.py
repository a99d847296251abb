"""How well predicted values along a genome follow measured ones, from sums over windows, of which bootstraps draw.

Bins that are NaN in either are in no sum. Shape suffixes: R bins, C tracks, S sums of a window, W windows, N draws.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
PEARSON, LOG_PEARSON, DEVIANCE = "pearson", "log_pearson", "deviance"
MIN_PREDICTION = 1e-3  # of a track's mean, which smaller values count as in a deviance
VALUE_SUMS, LOG_SUMS = slice(0, 6), [0, 6, 7, 8, 9, 10]  # the sums that correlations are made of
BIN_COUNT, DEVIANCE_SUM = 0, 11


def window_sums(predicted_RC: NDArray[np.floating], measured_RC: NDArray[np.floating]) -> Numbers:
    """The sums (S, C) of a window's values, in units of the tracks' means."""
    known_RC = ~(np.isnan(predicted_RC) | np.isnan(measured_RC))
    x, y = (np.where(known_RC, part, 0).astype(np.float64) for part in (predicted_RC, measured_RC))
    log_x, log_y = np.log1p(x.clip(min=0)), np.log1p(y.clip(min=0))
    parts = [known_RC, *_products(x, y), *_products(log_x, log_y)]
    parts.append(np.where(known_RC, deviance(x, y), 0))
    return np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])


def _products(x: Numbers, y: Numbers) -> tuple[Numbers, ...]:
    return x, y, x * x, y * y, x * y


def deviance(predicted: Numbers, measured: Numbers) -> Numbers:
    """Twice the Poisson loss of each value, 0 where prediction and measurement are equal."""
    predicted, measured = predicted.clip(min=MIN_PREDICTION), measured.clip(min=0)
    ratio = np.where(measured > 0, measured, predicted) / predicted
    deviances: Numbers = 2 * (measured * np.log(ratio) - (measured - predicted))
    return deviances


def pearson(sums_6C: Numbers) -> Numbers:
    """r (..., C) of the number of bins, the sums of both, of their squares and of their product (..., 6, C); NaN where
    nothing varies."""
    n, x, y, xx, yy, xy = np.moveaxis(sums_6C, -2, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varies = (spread_x > 1e-9 * n * xx) & (spread_y > 1e-9 * n * yy)
    root = np.sqrt(np.where(varies, spread_x * spread_y, 1))
    return np.where(varies, (n * xy - x * y) / root, np.nan)


def mean_deviance(sums_SC: Numbers) -> Numbers:
    """The mean deviance over bins (..., C); NaN without any."""
    count = sums_SC[..., BIN_COUNT, :]
    return np.where(count > 0, sums_SC[..., DEVIANCE_SUM, :] / np.maximum(count, 1), np.nan)


MEASURES: Mapping[str, Callable[[Numbers], Numbers]] = {
    PEARSON: lambda sums_SC: pearson(sums_SC[..., VALUE_SUMS, :]),
    LOG_PEARSON: lambda sums_SC: pearson(sums_SC[..., LOG_SUMS, :]),
    DEVIANCE: mean_deviance,
}


def bootstrap_sums(sums_WSC: Numbers, repeats: int, rng: np.random.Generator) -> Numbers:
    """The sums (N, S, C) of as many windows, drawn with replacement."""
    windows = len(sums_WSC)
    counts_NW = rng.multinomial(windows, np.full(windows, 1 / windows), repeats)
    return np.tensordot(counts_NW.astype(np.float64), sums_WSC, axes=1)
