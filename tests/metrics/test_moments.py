"""Correlations and deviances from sums over windows: the formulas, and that missing bins never enter."""

import numpy as np
import pytest

from genomai_cli.metrics import moments

RNG = np.random.default_rng(0)
PREDICTED, MEASURED = RNG.gamma(1, 1, (2, 4, 10, 3))


def window_sums(predicted=PREDICTED, measured=MEASURED):
    return np.stack([moments.window_sums(*pair) for pair in zip(predicted, measured, strict=True)])


def measure(name, sums):
    return moments.MEASURES[name](sums.sum(axis=0))


def test_measures_are_those_of_all_bins_of_all_windows():
    sums = window_sums()
    for track in range(3):
        x, y = PREDICTED[..., track].ravel(), MEASURED[..., track].ravel()
        expected = {
            "pearson": np.corrcoef(x, y)[0, 1],
            "log_pearson": np.corrcoef(np.log1p(x), np.log1p(y))[0, 1],
            "deviance": np.mean(2 * (y * np.log(y / x.clip(1e-3)) - y + x.clip(1e-3))),
        }
        for name, value in expected.items():
            assert measure(name, sums)[track] == pytest.approx(value)


def test_missing_bins_never_enter():
    predicted, measured = PREDICTED.copy(), MEASURED.copy()
    measured[:2, 5:] = np.nan
    predicted[3, 2] = np.nan
    other = np.where(np.isnan(measured), 1e6, predicted)
    sums = window_sums(predicted, measured)
    assert np.array_equal(sums, window_sums(other, measured))
    assert sums[:, 0].sum(axis=0).tolist() == [29, 29, 29]
    assert np.isfinite(sums).all()


def test_a_value_that_is_met_has_no_deviance():
    assert moments.deviance(MEASURED, MEASURED).max() == pytest.approx(0, abs=1e-3)
    assert (moments.deviance(np.zeros(2), np.array([0.0, 1.0])) < 20).all()


def test_what_does_not_vary_has_no_r():
    sums = window_sums(np.full_like(PREDICTED, 0.1), MEASURED)
    assert np.isnan(measure("pearson", sums)).all()


def test_draws_of_one_window_are_that_windows():
    sums = window_sums()[:1]
    resampled = moments.bootstrap_sums(sums, 5, np.random.default_rng(0))
    assert np.allclose(resampled, sums[0])
