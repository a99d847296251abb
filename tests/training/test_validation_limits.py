"""What held-out samples do not show is said: calls that are chance, labels that none of them has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from genomai_cli.metrics.classification import confusion_matrix
from genomai_cli.training.validation_limits import (
    class_limits,
    correlation_p,
    independence_p,
    limits_in_words,
    number_limits,
)

CLASSES = ["common", "rare", "rarest"]


def test_the_p_value_by_hand():
    """Chi squared of [[30, 10], [20, 20]] is 80 (30 20 - 10 20)^2 / (40 40 50 30) = 5.333, of one degree of freedom."""
    assert independence_p(np.array([[30, 10], [20, 20]])) == pytest.approx(0.020921, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=50))
def test_the_p_value_is_one_that_the_order_of_labels_does_not_change(pairs):
    truth, predicted = np.array(pairs).T
    p = independence_p(confusion_matrix(truth, predicted, 3))
    assert 0 <= p <= 1
    assert independence_p(confusion_matrix(2 - truth, 2 - predicted, 3)) == pytest.approx(p)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=50))
def test_the_p_value_is_that_of_scipy(pairs):
    matrix = confusion_matrix(*np.array(pairs).T, 3)
    occurring = matrix[matrix.any(axis=1)][:, matrix.any(axis=0)]
    expected = stats.chi2_contingency(occurring, correction=False).pvalue
    assert independence_p(matrix) == pytest.approx(expected)


@given(st.integers(3, 30), st.integers(0, 2**32), st.floats(-1, 1))
def test_the_p_value_of_a_correlation_is_that_of_scipy(count, seed, slope):
    x, noise = np.random.default_rng(seed).normal(size=(2, count))
    expected = stats.pearsonr(x, slope * x + noise, alternative="greater").pvalue
    assert correlation_p(x, slope * x + noise) == pytest.approx(expected)


def test_always_the_same_call_is_chance():
    assert independence_p(np.array([[90, 0], [10, 0]])) == 1


def test_labels_that_no_sample_has_are_named():
    limits = class_limits(np.array([[20, 0, 1], [0, 0, 0], [0, 0, 0]]), CLASSES)
    assert limits == {"chance_p": 1.0, "unmeasured": ["rare", "rarest"]}
    words = list(limits_in_words({"kind": {"accuracy": 0.95, **limits}}))
    assert words[0].startswith("kind: on the held-out samples no better than chance (p = 1.00)")
    assert words[1].startswith("kind: no held-out sample is rare (nor 1 other labels)")


@pytest.mark.parametrize(("right", "said"), [(20, False), (1, True)])
def test_calls_that_are_worse_than_chance_are_no_better(right, said):
    limits = class_limits(np.array([[right, 21 - right], [21 - right, right]]), CLASSES[:2])
    assert bool(list(limits_in_words({"kind": limits}))) is said


def test_numbers_have_to_rise_with_the_true_ones():
    truth = np.arange(20.0)
    noise = np.random.default_rng(1).normal(size=20)
    assert number_limits(truth, truth + noise)["chance_p"] < 1e-4
    assert number_limits(truth, -truth)["chance_p"] > 0.99
    assert number_limits(truth, noise)["chance_p"] > 0.05
    for predicted in (np.zeros(20), np.full(20, 3.0)):
        assert number_limits(truth, predicted) == {"chance_p": 1.0}
    assert number_limits(truth[:2], truth[:2]) == {"chance_p": 1.0}


def test_a_head_that_no_held_out_sample_has_is_named():
    measures = {"n": 10, "accuracy": 0.5, "majority": 0.5}
    (words,) = limits_in_words({"kind": measures}, ["kind", "rare"])
    assert words.startswith("rare: no held-out sample has a label")


def test_measures_of_older_models_have_no_limits():
    assert not list(limits_in_words({"kind": {"n": 10, "accuracy": 0.5, "majority": 0.5}}))
