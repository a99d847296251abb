"""How good calls and probabilities of labels are, with intervals, beside always calling the most frequent label.

Calls are counted in a confusion matrix: rows are the truth, columns the calls. A call that is no label at all (UNKNOWN)
has a column of its own and an empty row, so it counts as wrong in every measure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.tables import UNKNOWN_LABEL
from genomai_cli.metrics import resampling

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


def wilson_interval(correct: int, samples: int, z: float = Z_95) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, J Am Stat Assoc 22:209): the score test inverted."""
    if samples == 0:
        return 0.0, 1.0
    share = correct / samples
    centre = share + z * z / (2 * samples)
    half = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples**2))
    scale = 1 + z * z / samples
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def majority_matrix(truth: Codes, labels: int) -> Counts:
    """The confusion matrix of always calling the label that is most frequent in the truth."""
    most_frequent = int(np.bincount(truth, minlength=labels).argmax())
    return confusion_matrix(truth, np.full_like(truth, most_frequent), labels)


def majority_share(truth: Codes, labels: int) -> float:
    """The accuracy of always calling the label that is most frequent in the truth."""
    return accuracy(majority_matrix(truth, labels))


def codes_of(values: Sequence[str], labels: Sequence[str]) -> Codes:
    """The index of each value among the labels."""
    indices = {label: index for index, label in enumerate(labels)}
    return np.array([indices[value] for value in values], dtype=np.int64)


Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
BINS = 15
CONSISTENCY_DRAWS = 400
SMALLEST_PROBABILITY = (
    1e-15  # a certain call that is wrong costs 34.5 nats rather than infinitely many
)


def expected_calibration_error(confidence: Floats, correct: Flags, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy (Guo et al. 2017, ICML, eq. 3).

    The samples are sorted by the probability of their top label into `bins` equal-width bins
    ((i-1)/bins, i/bins]; the result is the sum over bins of n_bin/n * |accuracy_bin - mean confidence_bin|.
    """
    if len(confidence) == 0:
        return float("nan")
    bin_N = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_N, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_interval(
    confidence: Floats,
    correct: Flags,
    bootstrap_interval: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The 95 % interval of the calibration error, from `bootstrap_interval`, the middle 95 % of its values in
    resampled samples.

    Resampling adds to gaps, so those values lie above the estimate as it does above the truth: they are mirrored at the
    estimate (the basic bootstrap; Davison & Hinkley 1997, Bootstrap Methods, 5.2). The lower end is 0 where answers
    drawn from the stated probabilities would often show as large an error (consistency resampling; Broecker & Smith
    2007, Weather Forecast 22:651).
    """
    if len(confidence) == 0:
        return bootstrap_interval
    value = expected_calibration_error(confidence, correct)
    low, high = (2 * value - end for end in reversed(bootstrap_interval))
    consistent_errors = [
        expected_calibration_error(confidence, rng.random(len(confidence)) < confidence)
        for _ in range(CONSISTENCY_DRAWS)
    ]
    is_consistent = value <= np.quantile(consistent_errors, 0.975)
    return 0.0 if is_consistent else max(0.0, low), min(1.0, max(value, high))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Calls of about the same probability: how many, their mean probability, and the share that is right with its
    interval."""

    samples: int
    mean_confidence: float
    accuracy: float
    low: float
    high: float


def reliability(confidence: Floats, correct: Flags, bins: int = BINS) -> list[ReliabilityBin]:
    """The bins of `expected_calibration_error` that have samples, with Wilson's intervals."""
    bin_N = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for number in np.unique(bin_N).tolist():
        in_bin = bin_N == number
        count, right_count = int(in_bin.sum()), int(correct[in_bin].sum())
        mean = float(confidence[in_bin].mean())
        found.append(
            ReliabilityBin(count, mean, right_count / count, *wilson_interval(right_count, count))
        )
    return found


def log_losses(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """One value a sample: -log of the probability given to the true label, kept off 0 by 1e-15."""
    true_label_probability = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.clip(true_label_probability, SMALLEST_PROBABILITY, 1.0))


def brier_scores(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """One value a sample, 0 to 2: sum over labels of (p - [label is true])^2 (Brier 1950, eq. 2)."""
    one_hot = np.zeros_like(probabilities)
    one_hot[np.arange(len(truth)), truth] = 1.0
    return np.asarray(((probabilities - one_hot) ** 2).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Predictions:
    """The calls of a head, one entry a sample.

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
    confusion: Counts = field(repr=False)


def score(truth: Sequence[str], predictions: Predictions, rng: np.random.Generator) -> HeadScores:
    """Every measure that the predictions allow; `rng` draws the resamples for the intervals."""
    coded = _CodedCalls.of(truth, predictions)
    all_samples = np.arange(len(truth))
    values = coded.measures(all_samples)
    intervals = resampling.bootstrap_intervals(coded.measures, len(truth), rng)
    confusion = coded.confusion(all_samples)
    intervals["accuracy"] = wilson_interval(int(np.trace(confusion)), len(truth))
    if "ece" in values:
        intervals["ece"] = calibration_interval(
            *coded.confidence_and_correctness(all_samples), intervals["ece"], rng
        )
    baseline = coded.baseline()
    return HeadScores(
        samples=len(truth),
        unknown=sum(label == UNKNOWN_LABEL for label in predictions.called),
        measures={
            name: Estimate(value, *intervals[name], baseline.get(name))
            for name, value in values.items()
        },
        labels=coded.labels,
        confusion=confusion,
    )


@dataclass(frozen=True, slots=True)
class _CodedCalls:
    """True and called labels as indices of `labels`, of which UNKNOWN is the last."""

    labels: list[str]
    truth: Codes
    called: Codes
    confidence: NDArray[np.float64]
    losses: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, truth: Sequence[str], predictions: Predictions) -> "_CodedCalls":
        used = {*truth, *predictions.called, *predictions.labels} - {UNKNOWN_LABEL}
        labels = [*sorted(used), UNKNOWN_LABEL]
        codes = codes_of(truth, labels)
        called = codes_of(predictions.called, labels)
        return cls(
            labels, codes, called, predictions.confidence, _losses(codes, labels, predictions)
        )

    def confusion(self, indices: NDArray[np.int64]) -> Counts:
        """The confusion matrix of the chosen samples."""
        return confusion_matrix(self.truth[indices], self.called[indices], len(self.labels))

    def measures(self, indices: NDArray[np.int64]) -> dict[str, float]:
        """All measures of the chosen samples; those of probabilities over the samples that have one."""
        values = self._of_matrix(self.confusion(indices))
        if np.isnan(self.confidence).all():
            return values
        with_confidence = indices[~np.isnan(self.confidence[indices])]
        values["ece"] = expected_calibration_error(*self.confidence_and_correctness(indices))
        return values | {name: _mean(loss[with_confidence]) for name, loss in self.losses.items()}

    def confidence_and_correctness(self, indices: NDArray[np.int64]) -> tuple[Floats, Flags]:
        """The probabilities of the chosen samples' calls that have one, and which of these calls are right."""
        with_confidence = indices[~np.isnan(self.confidence[indices])]
        return self.confidence[with_confidence], self.truth[with_confidence] == self.called[
            with_confidence
        ]

    def baseline(self) -> dict[str, float]:
        """The measures of always calling the most frequent label of the truth."""
        return self._of_matrix(majority_matrix(self.truth, len(self.labels)))

    def _of_matrix(self, matrix: Counts) -> dict[str, float]:
        return {
            "accuracy": accuracy(matrix),
            "balanced_accuracy": balanced_accuracy(matrix),
            "mcc": matthews(matrix),
            "macro_f1": macro_f1(matrix, skip=len(self.labels) - 1),
        }


def _losses(
    truth: Codes, labels: list[str], predictions: Predictions
) -> dict[str, NDArray[np.float64]]:
    """Log loss and Brier score of each sample, where every label's probability is known."""
    if predictions.probabilities is None:
        return {}
    table = np.zeros((len(truth), len(labels)))
    table[:, codes_of(predictions.labels, labels)] = predictions.probabilities
    return {
        "log_loss": log_losses(table, truth),
        "brier": brier_scores(table, truth),
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
