"""Scores of imputed genotypes by hand, and the folds of the benchmark."""

import numpy as np
import pytest

from benchmarks.imputation import panel, replaced
from benchmarks.imputation.scores import Concordance, Row, markdown, tsv

TRUTH = np.array([[0, 1, 2], [1, 0, -1]])
HIDDEN = np.array([[True, True, False], [True, True, True]])
P = np.array([[[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [1, 0, 0]], [[0, 0.9, 0.1], [0.6, 0.4, 0], [1, 0, 0]]])  # fmt: skip


def test_concordance_by_hand():
    score = Concordance.of(TRUTH, P, HIDDEN)
    measures = score.measures()
    assert measures["concordance"] == pytest.approx(3 / 4)
    assert measures["variants"] == pytest.approx(1 / 2)
    assert measures["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.9, 0.6]).mean())
    assert score.measures(np.array([0]))["concordance"] == 0.5
    low, high = score.intervals()["concordance"]
    assert low == 0.5
    assert high == 1


def test_the_reference_may_be_another_letter_at_each_site():
    score = Concordance.of(TRUTH, P, HIDDEN, np.array([0, 1, 0]))
    assert score.variants.tolist() == [0, 2]
    assert score.variants_correct.tolist() == [0, 2]


def test_a_gain_is_of_the_same_samples():
    score = Concordance.of(TRUTH, P, HIDDEN)
    rows = [Row("50 %", "one", score), Row("50 %", "other", score, 1.0, Row("50 %", "one", score))]
    assert rows[1].score.intervals(rows[0].score)["log_loss"] == (0, 0)
    assert markdown(rows).splitlines()[-1].endswith("| +0.0000 (+0.0000 to +0.0000) |")
    assert len({line.count("\t") for line in tsv(rows)}) == 1


def test_frequencies_give_hardy_weinberg_proportions():
    probabilities = panel.hardy_weinberg(np.array([[0.25]]))
    assert probabilities[0, 0] == pytest.approx([0.5625, 0.375, 0.0625])


def test_called_populations_are_the_likeliest():
    frequency = np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]])
    fold = panel.Fold(None, frequency, np.array([0.5, 0.5]), np.array([0, 0]), TRUTH)
    observed = np.array([[[0, 0, -1], [0, 1, -1]], [[1, -1, -1], [1, -1, -1]]], np.int8)
    probabilities = panel.called_population(fold, observed)
    assert probabilities[:, 2] == pytest.approx(panel.hardy_weinberg(frequency[[1, 0]])[:, 2])


def test_changes_of_replaced_genotypes_are_counted():
    truth = np.array([[0, 1, 2, 0, 1]])
    replaced_genotypes = np.array([[0, 2, 0, 2, 1]])  # three are replaced
    # corrected, another error, left as it is, and a correct one changed
    denoised = np.array([[0, 1, 1, 2, 0]])
    assert replaced.counts(truth, replaced_genotypes, denoised) == [5, 3, 3, 2, 1]
