"""What the held-out samples do not show of a classifier: that it does better than chance, or how it calls a label that
none of them has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from genomai_cli.metrics.classification import Counts

SIGNIFICANCE = 0.05  # a larger p-value says that calls may well be chance
MIN_NUMBERS = 3  # of a correlation with a p-value


def class_limits(matrix: Counts, classes: Sequence[str]) -> dict[str, Any]:
    """From the confusion matrix of held-out samples, the p-value of calls that are independent of the labels
    (`chance_p`), and the classes that none of the samples has (`unmeasured`), if there are any."""
    limits: dict[str, Any] = {"chance_p": round(independence_p(matrix), 4)}
    unmeasured = [classes[number] for number in np.flatnonzero(~matrix.any(axis=1)).tolist()]
    return limits | ({"unmeasured": unmeasured} if unmeasured else {})


def number_limits(truth_N: NDArray[Any], predicted_N: NDArray[Any]) -> dict[str, Any]:
    """The p-value (`chance_p`) of predicted numbers that do not rise with the true ones."""
    if len(truth_N) < MIN_NUMBERS or not np.ptp(truth_N) or not np.ptp(predicted_N):
        return {"chance_p": 1.0}
    result = stats.pearsonr(truth_N, predicted_N, alternative="greater")
    return {"chance_p": round(float(result.pvalue), 4)}


def independence_p(matrix: Counts) -> float:
    """The p-value of Pearson's chi-squared test of truth and calls; 1 where all samples have one label or one call."""
    observed = matrix[matrix.any(axis=1)][:, matrix.any(axis=0)]
    if min(observed.shape) < 2:
        return 1.0
    return float(stats.chi2_contingency(observed, correction=False).pvalue)


def limits_in_words(validation: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each limit of each head's validation."""
    for head, measures in validation.items():
        p, unmeasured = measures.get("chance_p", 0.0), measures.get("unmeasured", ())
        if p > SIGNIFICANCE or measures.get("mcc", measures.get("pearson", 1.0)) <= 0:
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
