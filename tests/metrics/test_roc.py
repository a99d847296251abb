"""ROC curves and areas, as scikit-learn has them, and bins of stated probabilities."""

import numpy as np
import pytest
from sklearn import metrics

from genomai_cli.metrics.classification import (
    expected_calibration_error,
    reliability,
    wilson_interval,
)
from genomai_cli.metrics.roc import roc_area, roc_curve

RNG = np.random.default_rng(11)
SCORES = RNG.integers(0, 30, 300) / 30  # with many ties
POSITIVE = RNG.random(300) < SCORES


def test_the_curve_and_its_area_are_those_of_scikit_learn():
    false, true, _ = metrics.roc_curve(POSITIVE, SCORES, drop_intermediate=False)
    curve = roc_curve(SCORES, POSITIVE)
    np.testing.assert_allclose(curve[0], false)
    np.testing.assert_allclose(curve[1], true)
    assert roc_area(SCORES, POSITIVE) == pytest.approx(metrics.roc_auc_score(POSITIVE, SCORES))


def test_the_area_is_how_often_a_positive_scores_above_a_negative():
    positives, negatives = SCORES[POSITIVE], SCORES[~POSITIVE]
    expected = (positives[:, None] > negatives).mean() + (
        positives[:, None] == negatives
    ).mean() / 2
    assert roc_area(SCORES, POSITIVE) == pytest.approx(expected)
    assert roc_area(-SCORES, POSITIVE) == pytest.approx(1 - expected)


def test_without_positives_or_negatives_there_is_no_area():
    none_positive = np.zeros(300, bool)
    assert np.isnan(roc_area(SCORES, none_positive))
    assert np.isnan(roc_area(SCORES, ~none_positive))
    assert np.isnan(roc_area(SCORES[:0], none_positive[:0]))


def test_bins_are_those_of_the_calibration_error():
    confidence = RNG.uniform(0.2, 1, 500)
    correct = RNG.random(500) < confidence**2
    bins = reliability(confidence, correct)
    assert sum(group.samples for group in bins) == 500
    error = sum(group.samples * abs(group.accuracy - group.mean_confidence) for group in bins) / 500
    assert error == pytest.approx(expected_calibration_error(confidence, correct))
    first = bins[0]
    assert (first.low, first.high) == wilson_interval(
        round(first.accuracy * first.samples), first.samples
    )
    assert first.low <= first.accuracy <= first.high
