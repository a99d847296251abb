"""How well values along windows follow those that were measured: Pearson's r a track, over all bins of all windows,
with intervals from windows drawn with replacement.

Shape suffixes: W windows, R bins, C tracks, N draws.
"""

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
Values = NDArray[np.float32]
Correlations = NDArray[np.float64]


def moments(told_WRC: Values, measured_WRC: Values) -> Correlations:
    """What Pearson's r is made of, window by window (W, 6, C)."""
    x, y = told_WRC.astype(np.float64), measured_WRC.astype(np.float64)
    parts = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


def pearson(moments_6C: Correlations) -> Correlations:
    """r (..., C) of sums (..., 6, C); NaN where nothing varies."""
    n, x, y, xx, yy, xy = np.moveaxis(moments_6C, -2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Correlations = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
    return found


def drawn(moments_W6C: Correlations, seed: int = 0) -> Correlations:
    """r (N, C) of windows drawn with replacement."""
    windows = len(moments_W6C)
    rng = np.random.default_rng(seed)
    counts_NW = rng.multinomial(windows, np.full(windows, 1 / windows), DRAWS)
    return pearson(np.einsum("nw,wmc->nmc", counts_NW, moments_W6C))


def others(values_WRC: Values) -> Values:
    """At each bin the mean of the other tracks."""
    tracks = values_WRC.shape[2]
    return (values_WRC.sum(axis=2, keepdims=True) - values_WRC) / max(tracks - 1, 1)
