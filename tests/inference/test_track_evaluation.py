"""Baselines without a network for models that denoise tracks."""

import numpy as np

from genomai_cli.inference.track_evaluation import DECAY_LENGTH, last_seen


def test_a_track_is_predicted_as_last_seen_decaying_with_distance():
    values, visible = np.zeros((1, 6, 3), np.float32), np.zeros((1, 6, 3), np.bool_)
    visible[0, [0, 1, 4], 0], values[0, 1, 0] = True, 1  # a peak at 1, hidden at 2 and 3, none at 4
    visible[0, 3, 1], values[0, 3, 1] = True, 1  # never seen before 3
    predicted = last_seen(values, visible)[0]
    decay = np.exp(-np.arange(3) / DECAY_LENGTH)
    assert np.allclose(predicted[:, 0], [0, *decay, 0, 0])
    assert np.allclose(predicted[:, 1], [0, 0, 0, *decay])
    assert not predicted[:, 2].any()
