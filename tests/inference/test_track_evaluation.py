"""Guesses without a network beside models that restore tracks."""

import numpy as np

from genomai_cli.inference.track_evaluation import DECAY_LENGTH, last_seen


def test_a_track_is_guessed_as_it_was_last_seen_the_surer_the_nearer():
    taken, seen = np.zeros((1, 6, 3), np.float32), np.zeros((1, 6, 3), np.bool_)
    seen[0, [0, 1, 4], 0], taken[0, 1, 0] = True, 1  # a peak at 1, hidden at 2 and 3, none at 4
    seen[0, 3, 1], taken[0, 3, 1] = True, 1  # never seen before 3
    found = last_seen(taken, seen)[0]
    fades = np.exp(-np.arange(3) / DECAY_LENGTH)
    assert np.allclose(found[:, 0], [0, *fades, 0, 0])
    assert np.allclose(found[:, 1], [0, 0, 0, *fades])
    assert not found[:, 2].any()
