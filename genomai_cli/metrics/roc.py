"""How well scores tell positives from negatives: the ROC curve and the area under it.

Shape suffixes: N samples, P points of the curve.
"""

import math

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics.classification import Z_95

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def roc_curve(scores_N: Floats, positive_N: Flags) -> tuple[Floats, Floats]:
    """False and true positive rates (P,) of calling all scores from each one on, from (0, 0) to (1, 1); equal scores
    are called together. NaN without positives, or without negatives."""
    order = np.argsort(-scores_N, kind="stable")
    last = np.append(np.diff(scores_N[order]) != 0, True)
    true = np.append(0, positive_N[order].cumsum()[last])
    false = np.append(0, (~positive_N[order]).cumsum()[last])
    with np.errstate(invalid="ignore"):
        return false / (~positive_N).sum(), true / positive_N.sum()


def roc_area(scores_N: Floats, positive_N: Flags) -> float:
    """How often a positive scores above a negative, ties counting half; NaN without either."""
    if not positive_N.any() or positive_N.all():
        return math.nan
    false_P, true_P = roc_curve(scores_N, positive_N)
    return float(np.trapezoid(true_P, false_P))


def area_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """The 95 % interval of an area under the ROC curve, by Hanley and McNeil 1982 (Radiology 143:29)."""
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)  # fmt: skip
    half = Z_95 * math.sqrt(max(variance, 0) / (positives * negatives))
    return max(0.0, area - half), min(1.0, area + half)
