"""Whether probabilities mean what they say."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 15
SMALLEST_PROBABILITY = (
    1e-15  # a certain call that is wrong costs 34.5 nats rather than infinitely many
)


def expected_calibration_error(confidence: Floats, right: Flags, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy (Guo et al. 2017, ICML, eq. 3).

    The samples are sorted by the probability of their top label into `bins` equal-width bins
    ((i-1)/bins, i/bins]; the result is the sum over bins of n_bin/n * |accuracy_bin - mean confidence_bin|.
    """
    if len(confidence) == 0:
        return float("nan")
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def log_losses(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """One value a sample: -log of the probability given to the true label, kept off 0 by 1e-15."""
    given = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0))


def brier_scores(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """One value a sample, 0 to 2: sum over labels of (p - [label is true])^2 (Brier 1950, eq. 2)."""
    hits = np.zeros_like(probabilities)
    hits[np.arange(len(truth)), truth] = 1.0
    return np.asarray(((probabilities - hits) ** 2).sum(axis=1))
