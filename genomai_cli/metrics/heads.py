"""All measures of one classification head, each with its interval and what always calling one label would get."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genomai_cli.metrics import calibration, classification, resampling

UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a head called, one entry a sample.

    `confidence` is the probability of the called label, NaN for UNKNOWN; `probabilities` has a row a sample and a
    column for each of `labels`, or is None if only the calls are known.
    """

    called: Sequence[str]
    confidence: NDArray[np.float64]
    labels: Sequence[str] = ()
    probabilities: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure's value, its 95 % interval, and the value that the majority class would have."""

    value: float
    low: float
    high: float
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class HeadScores:
    """The measures of a head; `confusion[t, p]` counts the samples of `labels[t]` called `labels[p]`."""

    samples: int
    unknown: int
    measures: dict[str, Estimate]
    labels: list[str]
    confusion: classification.Counts = field(repr=False)


def score(truth: Sequence[str], predictions: Predictions, rng: np.random.Generator) -> HeadScores:
    """Every measure that the predictions allow; `rng` draws the resamples for the intervals."""
    cases = _Cases.of(truth, predictions)
    everyone = np.arange(len(truth))
    values = cases.measures(everyone)
    intervals = resampling.bootstrap_intervals(cases.measures, len(truth), rng)
    confusion = cases.confusion(everyone)
    intervals["accuracy"] = classification.wilson_interval(int(np.trace(confusion)), len(truth))
    baseline = cases.baseline()
    return HeadScores(
        samples=len(truth),
        unknown=sum(label == UNKNOWN for label in predictions.called),
        measures={
            name: Estimate(value, *intervals[name], baseline.get(name))
            for name, value in values.items()
        },
        labels=cases.labels,
        confusion=confusion,
    )


@dataclass(frozen=True, slots=True)
class _Cases:
    """Truth and prediction as numbers, UNKNOWN being the last label."""

    labels: list[str]
    truth: classification.Codes
    called: classification.Codes
    confidence: NDArray[np.float64]
    losses: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, truth: Sequence[str], predictions: Predictions) -> "_Cases":
        used = {*truth, *predictions.called, *predictions.labels} - {UNKNOWN}
        labels = [*sorted(used), UNKNOWN]
        codes = classification.codes_of(truth, labels)
        called = classification.codes_of(predictions.called, labels)
        return cls(
            labels, codes, called, predictions.confidence, _losses(codes, labels, predictions)
        )

    def confusion(self, chosen: NDArray[np.int64]) -> classification.Counts:
        """The confusion matrix of the chosen samples."""
        return classification.confusion_matrix(
            self.truth[chosen], self.called[chosen], len(self.labels)
        )

    def measures(self, chosen: NDArray[np.int64]) -> dict[str, float]:
        """All measures of the chosen samples; those of probabilities over the samples that have one."""
        values = self._of_matrix(self.confusion(chosen))
        rated = chosen[~np.isnan(self.confidence[chosen])]
        if np.isnan(self.confidence).all():
            return values
        values["ece"] = self._calibration_error(rated)
        return values | {name: _mean(loss[rated]) for name, loss in self.losses.items()}

    def baseline(self) -> dict[str, float]:
        """The measures of always calling the most frequent label of the truth."""
        return self._of_matrix(classification.majority_matrix(self.truth, len(self.labels)))

    def _of_matrix(self, matrix: classification.Counts) -> dict[str, float]:
        return {
            "accuracy": classification.accuracy(matrix),
            "balanced_accuracy": classification.balanced_accuracy(matrix),
            "mcc": classification.matthews(matrix),
            "macro_f1": classification.macro_f1(matrix, skip=len(self.labels) - 1),
        }

    def _calibration_error(self, rated: NDArray[np.int64]) -> float:
        right = self.truth[rated] == self.called[rated]
        return calibration.expected_calibration_error(self.confidence[rated], right)


def _losses(
    truth: classification.Codes, labels: list[str], predictions: Predictions
) -> dict[str, NDArray[np.float64]]:
    """Log loss and Brier score of each sample, where every label's probability is known."""
    if predictions.probabilities is None:
        return {}
    table = np.zeros((len(truth), len(labels)))
    table[:, classification.codes_of(predictions.labels, labels)] = predictions.probabilities
    return {
        "log_loss": calibration.log_losses(table, truth),
        "brier": calibration.brier_scores(table, truth),
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
