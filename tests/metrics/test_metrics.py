"""Measures agree with scikit-learn, with worked examples, and with their own definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from genomai_cli.metrics import classification, resampling

cases = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def matrix_of(pairs):
    truth, predicted = np.array(pairs).T
    return truth, predicted, classification.confusion_matrix(truth, predicted, 4)


def ignoring_sklearn_warnings(function, *arguments, **options):
    """scikit-learn warns about what our definitions settle."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@given(cases)
def test_counts_agree_with_scikit_learn(pairs):
    truth, predicted, matrix = matrix_of(pairs)
    expected = ignoring_sklearn_warnings(
        sklearn_metrics.confusion_matrix, truth, predicted, labels=range(4)
    )
    assert (matrix == expected).all()
    assert classification.accuracy(matrix) == pytest.approx(
        sklearn_metrics.accuracy_score(truth, predicted)
    )


@given(cases)
def test_balanced_accuracy_agrees_with_scikit_learn(pairs):
    truth, predicted, matrix = matrix_of(pairs)
    expected = ignoring_sklearn_warnings(
        sklearn_metrics.recall_score,
        truth,
        predicted,
        labels=sorted(set(truth.tolist())),
        average="macro",
    )
    assert classification.balanced_accuracy(matrix) == pytest.approx(expected)


@given(cases)
def test_matthews_agrees_with_scikit_learn(pairs):
    truth, predicted, matrix = matrix_of(pairs)
    expected = ignoring_sklearn_warnings(sklearn_metrics.matthews_corrcoef, truth, predicted)
    assert classification.matthews(matrix) == pytest.approx(expected, abs=1e-12)


@given(cases)
def test_macro_f1_agrees_with_scikit_learn(pairs):
    truth, predicted, matrix = matrix_of(pairs)
    expected = ignoring_sklearn_warnings(
        sklearn_metrics.f1_score, truth, predicted, average="macro", zero_division=0.0
    )
    assert classification.macro_f1(matrix) == pytest.approx(expected)


def test_log_loss_and_brier_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), size=50)
    truth = rng.integers(4, size=50)
    loss = classification.log_losses(probabilities, truth).mean()
    assert loss == pytest.approx(sklearn_metrics.log_loss(truth, probabilities, labels=range(4)))
    expected = ((probabilities - np.eye(4)[truth]) ** 2).sum(axis=1).mean()
    assert classification.brier_scores(probabilities, truth).mean() == pytest.approx(expected)


def test_certain_and_wrong_costs_a_finite_amount():
    loss = classification.log_losses(np.array([[1.0, 0.0]]), np.array([1]))
    assert loss[0] == pytest.approx(-np.log(1e-15))


@pytest.mark.parametrize(
    ("confidence", "correct", "error"),
    [
        ([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 1], 0.1),
        ([1.0, 1.0], [1, 0], 0.5),
        ([0.8] * 5, [1, 1, 1, 1, 0], 0.0),
        ([0.0], [0], 0.0),
        ([0.05, 0.95], [1, 1], 0.5 * 0.95 + 0.5 * 0.05),
    ],
)
def test_calibration_error_of_worked_examples(confidence, correct, error):
    measured = classification.expected_calibration_error(
        np.array(confidence), np.array(correct, dtype=bool)
    )
    assert measured == pytest.approx(error)


def test_calibration_error_follows_its_definition_bin_by_bin():
    rng = np.random.default_rng(2)
    confidence, correct = rng.uniform(size=400), rng.integers(2, size=400).astype(bool)
    error = 0.0
    for number in range(15):
        in_bin = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if in_bin.any():
            gap = abs(correct[in_bin].mean() - confidence[in_bin].mean())
            error += in_bin.mean() * gap
    assert classification.expected_calibration_error(confidence, correct) == pytest.approx(error)


def test_wilson_interval_of_newcombe():
    """Newcombe 1998, Stat Med 17:857, table I: 81/263 and 0/20."""
    assert classification.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert classification.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert classification.wilson_interval(0, 0) == (0.0, 1.0)


def test_bootstrap_is_seeded_and_covers_the_mean():
    values = np.random.default_rng(3).normal(size=200)

    def mean(rows):
        return {"mean": float(values[rows].mean())}

    first = resampling.bootstrap_intervals(mean, 200, np.random.default_rng(0))
    again = resampling.bootstrap_intervals(mean, 200, np.random.default_rng(0))
    assert first == again
    low, high = first["mean"]
    half = 1.96 / np.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def scores_of(truth, predicted, confidence, **more):
    predictions = classification.Predictions(predicted, np.array(confidence, dtype=float), **more)
    return classification.score(truth, predictions, np.random.default_rng(0))


def test_unknown_counts_as_wrong_and_is_counted():
    scores = scores_of(["EUR", "EUR", "AFR"], ["EUR", "UNKNOWN", "AFR"], [0.9, np.nan, 0.9])
    assert scores.samples == 3
    assert scores.unknown == 1
    assert scores.measures["accuracy"].value == pytest.approx(2 / 3)
    assert scores.measures["balanced_accuracy"].value == pytest.approx(0.75)
    assert scores.measures["macro_f1"].value == pytest.approx((1 + 2 / 3) / 2)
    assert scores.measures["ece"].value == pytest.approx(0.1)


def test_without_a_call_there_is_no_calibration_error():
    scores = scores_of(["EUR", "AFR"], ["UNKNOWN", "UNKNOWN"], [np.nan, np.nan])
    assert set(scores.measures) == {"accuracy", "balanced_accuracy", "mcc", "macro_f1"}
    assert scores.measures["accuracy"].value == 0


def test_baseline_is_the_majority_class():
    scores = scores_of(["EUR", "EUR", "AFR"], ["AFR", "AFR", "AFR"], [0.9, 0.9, 0.9])
    assert scores.measures["accuracy"].baseline == pytest.approx(2 / 3)
    assert scores.measures["balanced_accuracy"].baseline == pytest.approx(0.5)
    assert scores.measures["mcc"].baseline == 0
    assert scores.measures["ece"].baseline is None


def test_probabilities_give_log_loss_and_brier_even_for_a_label_without_a_column():
    table = np.array([[0.8, 0.2], [0.5, 0.5]])
    scores = scores_of(
        ["EUR", "OCE"], ["EUR", "AFR"], [0.8, 0.5], labels=["EUR", "AFR"], probabilities=table
    )
    assert scores.measures["log_loss"].value == pytest.approx((-np.log(0.8) - np.log(1e-15)) / 2)
    assert scores.measures["brier"].value == pytest.approx((0.04 + 0.04 + 0.25 + 0.25 + 1) / 2)


def test_intervals_enclose_their_values():
    rng = np.random.default_rng(4)
    truth = rng.choice(["AFR", "EUR", "EAS"], size=150).tolist()
    predicted = [label if rng.random() < 0.8 else "EUR" for label in truth]
    for measure in scores_of(truth, predicted, rng.uniform(0.5, 1, 150)).measures.values():
        assert measure.low <= measure.value <= measure.high + 0.05


@pytest.mark.parametrize("excess", [0.0, 0.03, 0.1])
def test_the_interval_of_the_calibration_error_holds_the_true_one(excess):
    """Of made-up probabilities that are too high by so much; percentiles of resamples hold a small one hardly ever."""
    rng = np.random.default_rng(8)
    covered, covered_by_percentiles = 0, 0
    for _ in range(60):
        confidence = 0.35 + 0.65 * rng.beta(5, 1, 300)
        correct = rng.random(300) < confidence - excess

        def error(rows, confidence=confidence, correct=correct):
            return {
                "ece": classification.expected_calibration_error(confidence[rows], correct[rows])
            }

        resampled = resampling.bootstrap_intervals(error, 300, rng, repeats=100)["ece"]
        low, high = classification.calibration_interval(confidence, correct, resampled, rng)
        covered += low <= excess <= high
        covered_by_percentiles += resampled[0] <= excess <= resampled[1]
        assert low <= error(np.arange(300))["ece"] <= high
    assert covered >= 48
    assert covered >= covered_by_percentiles
