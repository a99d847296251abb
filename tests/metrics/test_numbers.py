"""Measures of predicted numbers."""

import numpy as np
import pytest

from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.metrics.numbers import (
    NumberPredictions,
    correlations,
    pearson,
    r_squared,
    score_numbers,
    spearman,
)


def test_correlations_by_hand():
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(truth, 5 - 2 * truth) == pytest.approx(-1)
    assert spearman(truth, np.exp(truth)) == pytest.approx(1)
    assert spearman(truth, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(0.894427)
    assert r_squared(truth, np.full(4, 2.5)) == pytest.approx(0)
    assert correlations(truth, truth + 1)["rmse"] == pytest.approx(1)
    assert pearson(truth, np.ones(4)) == r_squared(np.ones(4), truth) == 0


def test_scores_count_what_has_no_prediction():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    predicted = truth + rng.normal(size=200) / 2
    predicted[:20] = np.nan
    scores = score_numbers(truth, NumberPredictions(predicted, predicted - 1, predicted + 1), rng)
    assert (scores.samples, scores.unknown) == (200, 20)
    assert scores.measures["covered"].value == pytest.approx(0.95, abs=0.04)
    r2 = scores.measures["r2"]
    assert r2.low < r2.value < r2.high < 1
    assert r2.baseline == 0
    assert scores.measures["rmse"].baseline == pytest.approx(truth[20:].std())


def test_nothing_predicted_has_no_measures():
    missing = np.full(3, np.nan)
    predicted = NumberPredictions(missing, missing, missing)
    assert score_numbers(np.arange(3.0), predicted, np.random.default_rng(0)).measures == {}


def test_numbers_that_are_all_the_same_do_not_vary_though_their_mean_is_rounded():
    same = np.full(3, 0.1)
    assert same.mean() != 0.1
    assert pearson(same, np.full(3, 0.7)) == pearson(same, np.arange(3.0)) == 0
    assert r_squared(same, np.arange(3.0)) == 0
    truth = np.array([0.1, 0.2, 0.3])  # of which a resample may hold one alone
    predicted = NumberPredictions(truth + 0.05, truth, truth + 0.1)
    scores = score_numbers(truth, predicted, np.random.default_rng(0))
    assert -10 < scores.measures["r2"].low <= scores.measures["r2"].value


def test_a_share_that_is_one_in_a_few_samples_may_be_less():
    truth = np.arange(12.0)
    predicted = NumberPredictions(truth, truth - 1, truth + 1)
    covered = score_numbers(truth, predicted, np.random.default_rng(0)).measures["covered"]
    assert (covered.value, covered.low, covered.high) == (1, *wilson_interval(12, 12))
    assert covered.low == pytest.approx(0.757, abs=1e-3)
