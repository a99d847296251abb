"""Weights of models' logits on held-out samples."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from genomai_cli.training.stacking import stack


def simulated(seed, quality, samples=400):
    """Logits (G, N, 2) that know the labels (N,) as well as `quality` says, and the labels."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 2, samples)
    numbers_GN = [q * (2 * labels_N - 1) + rng.normal(size=samples) for q in quality]
    logits_GNC = torch.tensor(np.stack([-np.array(numbers_GN), np.array(numbers_GN)], axis=2))
    return logits_GNC, torch.from_numpy(labels_N)


@given(st.integers(0, 99), st.lists(st.floats(0, 3), min_size=1, max_size=3))
@settings(deadline=None, max_examples=30)
def test_no_model_alone_does_better_than_all_weighed(seed, quality):
    logits_GNC, labels_N = simulated(seed, quality)
    stacked = stack(logits_GNC, labels_N)
    assert (stacked.weight >= 0).all()
    single_losses = [float(functional.cross_entropy(x_NC, labels_N)) for x_NC in logits_GNC]
    assert (
        float(functional.cross_entropy(stacked(logits_GNC), labels_N)) <= min(single_losses) + 1e-3
    )


def test_a_model_that_knows_nothing_counts_little():
    weights = stack(*simulated(0, [2.0, 0.0], 2000)).weight
    assert weights[1] < 0.1 * weights[0]
