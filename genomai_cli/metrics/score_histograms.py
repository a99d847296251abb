"""How well scores tell positives from negatives, from histograms of them: for numbers of cases that no list can hold.

Scores of one bin count as equal. Shape suffixes: G groups of cases (...), S bins of scores, ascending.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Counts (..., S) of negatives and positives by bin of their score; sums over leading axes are histograms again."""

    negatives: Counts
    positives: Counts

    def total(self, weights: NDArray[np.int64] | None = None) -> "ScoreHistogram":
        """The sum over the first axis, each entry as often as `weights` says."""
        if weights is None:
            return ScoreHistogram(self.negatives.sum(axis=0), self.positives.sum(axis=0))
        return ScoreHistogram(
            np.tensordot(weights, self.negatives, 1), np.tensordot(weights, self.positives, 1)
        )

    def auc(self) -> NDArray[np.float64]:
        """The area (...) under the ROC curve: how often a positive scores above a negative, ties counting half; NaN
        without either."""
        below = self.negatives.cumsum(axis=-1) - self.negatives / 2
        pairs = (self.positives * below).sum(axis=-1)
        return _ratio(pairs, self.positives.sum(-1) * self.negatives.sum(-1))

    def average_precision(self) -> NDArray[np.float64]:
        """The area (...) under precision and recall as steps: the mean over positives of the precision at their score;
        NaN without positives."""
        true_positives = self.positives[..., ::-1].cumsum(-1)
        called = true_positives + self.negatives[..., ::-1].cumsum(-1)
        precision = _ratio(true_positives, called)
        weighted = (np.nan_to_num(precision) * self.positives[..., ::-1]).sum(-1)
        return _ratio(weighted, self.positives.sum(-1))

    def f1(self) -> NDArray[np.float64]:
        """F1 (..., S) of calling every score from the bin on; 0 where nothing is found."""
        true_positives = self.positives[..., ::-1].cumsum(-1)[..., ::-1]
        called = true_positives + self.negatives[..., ::-1].cumsum(-1)[..., ::-1]
        return np.nan_to_num(
            _ratio(2 * true_positives, called + self.positives.sum(-1, keepdims=True))
        )

    def accuracy(self, first: int) -> NDArray[np.float64]:
        """The share (...) of cases that are right if the scores from the bin `first` on are called positive."""
        right = self.negatives[..., :first].sum(-1) + self.positives[..., first:].sum(-1)
        return _ratio(right, self.negatives.sum(-1) + self.positives.sum(-1))


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    ratio: NDArray[np.float64] = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
