"""What the held-out samples do not show of a classifier: that it does better than chance, or how it calls a label that
none of them has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from scipy import special

from genomai_cli.metrics.classification import Counts, matthews
from genomai_cli.metrics.numbers import Numbers, pearson

SIGNIFICANCE = 0.05  # a larger p-value says that calls may well be chance


def class_limits(matrix: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """From the confusion matrix of held-out samples, the p-value of calls that are independent of the labels
    (`chance_p`, 1 for calls that are rather the wrong ones), and the classes that none of the samples has
    (`unmeasured`), if there are any."""
    p = independence_p(matrix) if matthews(matrix) > 0 else 1.0
    limits: dict[str, Any] = {"chance_p": round(p, 4)}
    unmeasured = [classes[number] for number in np.flatnonzero(~matrix.any(axis=1)).tolist()]
    return limits | ({"unmeasured": unmeasured} if unmeasured else {})


def number_limits(truth_N: Numbers, predicted_N: Numbers) -> dict[str, Any]:
    """The p-value of predicted numbers that do not rise with the true ones (`chance_p`)."""
    return {"chance_p": round(correlation_p(truth_N, predicted_N), 4)}


def independence_p(matrix: Counts) -> float:
    """The p-value of Pearson's chi-squared test of truth and calls; 1 where all samples have one label or one call."""
    observed = matrix[matrix.any(axis=1)][:, matrix.any(axis=0)]
    rows, columns = observed.shape
    if min(rows, columns) < 2:
        return 1.0
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    chi_squared = ((observed - expected) ** 2 / expected).sum()
    return float(special.chdtrc((rows - 1) * (columns - 1), chi_squared))


def correlation_p(truth_N: Numbers, predicted_N: Numbers) -> float:
    """The one-sided p-value of Pearson's r, by Student's t; 1 where that is not defined."""
    r, degrees = pearson(truth_N, predicted_N), len(truth_N) - 2
    if degrees < 1 or not r:
        return 1.0
    t = r * sqrt(degrees / max(1 - r * r, np.finfo(float).eps))
    return float(special.stdtr(degrees, -t))


def limits_in_words(
    validation: Mapping[str, Mapping[str, Any]], heads: Iterable[str] = ()
) -> Iterator[str]:
    """A sentence for each limit of each head's validation, and for each of the `heads` that has none."""
    for head in heads:
        if head not in validation:
            yield (
                f"{head}: no held-out sample has a label: how well it is called is not known, and its probabilities "
                "are not calibrated"
            )
    for head, measures in validation.items():
        p, unmeasured = measures.get("chance_p", 0.0), measures.get("unmeasured", ())
        if p > SIGNIFICANCE:
            yield (
                f"{head}: on the held-out samples no better than chance (p = {p:.2f}): what it answers "
                "is not to be relied on"
            )
        if unmeasured:
            others = f" (nor {len(unmeasured) - 1} other labels)" if len(unmeasured) > 1 else ""
            yield (
                f"{head}: no held-out sample is {unmeasured[0]}{others}: how well that is called is "
                "not known"
            )
