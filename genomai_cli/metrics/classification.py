"""How often labels are right, counted from a confusion matrix: rows are the truth, columns the prediction.

A prediction that is no label at all (UNKNOWN) has a column of its own and an empty row, so it counts as
wrong in every measure.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Codes = NDArray[np.int64]

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def confusion_matrix(truth: Codes, predicted: Codes, labels: int) -> Counts:
    """`matrix[t, p]`: how many samples of label `t` were called `p`."""
    flat = np.bincount(truth * labels + predicted, minlength=labels * labels)
    return flat.reshape(labels, labels)


def accuracy(matrix: Counts) -> float:
    """Share of the samples that are right: trace / sum."""
    return float(np.trace(matrix) / matrix.sum())


def balanced_accuracy(matrix: Counts) -> float:
    """Mean, over the labels that occur in the truth, of the share of their samples that are right."""
    per_label = matrix.sum(axis=1)
    present = per_label > 0
    return float(np.mean(np.diag(matrix)[present] / per_label[present]))


def macro_f1(matrix: Counts, *, skip: int | None = None) -> float:
    """Mean of F1 = 2 TP / (2 TP + FP + FN) over the labels that occur in truth or prediction.

    `skip` is the column of UNKNOWN, which is not a label to be averaged over (its samples count as FN).
    """
    totals = matrix.sum(axis=0) + matrix.sum(axis=1)
    present = totals > 0
    if skip is not None:
        present[skip] = False
    return float(np.mean(2 * np.diag(matrix)[present] / totals[present]))


def matthews(matrix: Counts) -> float:
    """The correlation coefficient R_K for K labels (Gorodkin 2004, Comput Biol Chem 28:367).

    With s samples, c right ones, t_k samples of label k and p_k calls of it:
    (c s - sum t_k p_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2)); 0 where that is 0/0.
    """
    true, called = matrix.sum(axis=1).astype(float), matrix.sum(axis=0).astype(float)
    samples = float(matrix.sum())
    covariance = float(np.trace(matrix)) * samples - true @ called
    variances = (samples**2 - called @ called) * (samples**2 - true @ true)
    return float(covariance / math.sqrt(variances)) if variances > 0 else 0.0


def wilson_interval(right: int, samples: int, z: float = Z_95) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, J Am Stat Assoc 22:209): the score test inverted."""
    if samples == 0:
        return 0.0, 1.0
    share = right / samples
    centre = share + z * z / (2 * samples)
    half = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples**2))
    scale = 1 + z * z / samples
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def majority_matrix(truth: Codes, labels: int) -> Counts:
    """The confusion matrix of always calling the label that is most frequent in the truth."""
    most_frequent = int(np.bincount(truth, minlength=labels).argmax())
    return confusion_matrix(truth, np.full_like(truth, most_frequent), labels)


def codes_of(values: Sequence[str], labels: Sequence[str]) -> Codes:
    """The place of each value among the labels."""
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[value] for value in values], dtype=np.int64)
