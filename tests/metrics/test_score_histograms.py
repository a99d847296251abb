"""Areas and accuracies from histograms are those of the scores themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from genomai_cli.metrics.score_histograms import ScoreHistogram


def histogram(scores, labels, bins=8):
    counts = [np.bincount(scores[labels == label], minlength=bins) for label in (0, 1)]
    return ScoreHistogram(*counts)


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=2, max_size=60))
@settings(max_examples=80, deadline=None)
def test_they_are_those_of_the_scores(cases):
    scores, labels = np.array([s for s, _ in cases]), np.array([int(y) for _, y in cases])
    scored = histogram(scores, labels)
    if 0 < labels.sum() < len(labels):
        assert scored.auc() == pytest.approx(roc_auc_score(labels, scores))
        assert scored.average_precision() == pytest.approx(average_precision_score(labels, scores))
        for threshold in range(8):
            assert scored.f1()[threshold] == pytest.approx(
                f1_score(labels, scores >= threshold, zero_division=0)
            )
            assert scored.accuracy(threshold) == pytest.approx(
                np.mean((scores >= threshold) == labels)
            )
    else:
        assert np.isnan(scored.auc())


def test_windows_add_up():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (3, 2, 8))
    windows = ScoreHistogram(counts[:, 0], counts[:, 1])
    total = windows.total(np.array([2, 0, 1]))
    assert np.array_equal(total.positives, 2 * counts[0, 1] + counts[2, 1])
    assert np.array_equal(windows.total().negatives, counts[:, 0].sum(0))
