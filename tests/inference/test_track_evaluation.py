"""Baselines without a network for models that denoise tracks."""

import json

import numpy as np
import pytest

from genomai_cli.cli.evaluation_report import coverage_json, omics_json
from genomai_cli.formats.track_table import Track
from genomai_cli.inference.coverage_evaluation import (
    MODEL,
    OTHER_TRACKS,
    CoverageComparison,
    baseline_predictions,
)
from genomai_cli.inference.track_evaluation import DECAY_LENGTH, Row, last_seen


def test_a_track_is_predicted_as_last_seen_decaying_with_distance():
    values, visible = np.zeros((1, 6, 3), np.float32), np.zeros((1, 6, 3), np.bool_)
    visible[0, [0, 1, 4], 0], values[0, 1, 0] = True, 1  # a peak at 1, hidden at 2 and 3, none at 4
    visible[0, 3, 1], values[0, 3, 1] = True, 1  # never seen before 3
    predicted = last_seen(values, visible)[0]
    decay = np.exp(-np.arange(3) / DECAY_LENGTH)
    assert np.allclose(predicted[:, 0], [0, *decay, 0, 0])
    assert np.allclose(predicted[:, 1], [0, 0, 0, *decay])
    assert not predicted[:, 2].any()


def test_measures_that_there_are_not_are_null_in_json():
    """A mean everywhere has no correlation, and a track without others no guess by them."""
    measured_RC = np.random.default_rng(0).random((50, 1)).astype(np.float32)
    comparison = CoverageComparison([Track("one")], np.ones(1, np.float32))
    guesses = baseline_predictions(measured_RC, comparison.means)
    comparison.add(measured_RC, {MODEL: measured_RC} | guesses)
    row = _strict(coverage_json(list(comparison.rows())))["rows"][0]
    assert row["told"][MODEL]["value"] == pytest.approx(1)
    assert row["told"][OTHER_TRACKS] == {"value": None, "low": None, "high": None}
    rows = [Row("tracks", "masked", "auc", 3, np.nan, (np.nan, np.nan), {"nothing": 0.5})]
    (row,) = _strict(omics_json(rows, 0.5))["rows"]
    assert (row["model"], row["interval"], row["guesses"]) == (None, [None, None], {"nothing": 0.5})


def _strict(text):
    """The document, in which the words NaN and Infinity may not stand."""
    return json.loads(text, parse_constant=pytest.fail)
