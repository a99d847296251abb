"""The permutation test of pairs: exact where it can be counted, uniform under chance, never 0."""

from itertools import permutations

import numpy as np
import pytest

from genomai_cli.metrics.resampling import permutation_test


def run_permutation(similarity, partner, permutations=999, seed=0):
    rng = np.random.default_rng(seed)
    return permutation_test(np.array(similarity, float), np.array(partner), rng, permutations)


def test_perfect_pairs_are_rare():
    result = run_permutation(np.eye(12), range(12))
    assert result.observed == 1
    assert result.p == 1 / 1000  # the least that 999 permutations can say
    assert result.pairs == 12
    assert result.permutations == 999
    assert result.expected == pytest.approx(1 / 12, abs=0.02)


def test_the_worst_pairs_are_surpassed_by_all():
    assert run_permutation(-np.eye(6), range(6)).p == 1


def test_p_is_the_share_of_all_assignments_where_they_can_be_counted():
    similarity = np.random.default_rng(4).normal(size=(5, 5))
    means = [similarity[np.arange(5), list(order)].mean() for order in permutations(range(5))]
    exact = np.mean(np.array(means) >= means[0] - 1e-12)
    assert run_permutation(similarity, range(5), 20_000).p == pytest.approx(exact, abs=0.02)


def test_a_partner_of_several_rows_stays_that_of_as_many():
    similarity = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    # of the six ways to give two rows each partner, one is as good
    assert run_permutation(similarity, [0, 0, 1, 1], 5000).p == pytest.approx(1 / 6, abs=0.03)


def test_one_partner_for_all_says_nothing():
    result = run_permutation(np.random.default_rng(5).random((9, 3)), [1] * 9)
    assert result.p == 1
    assert result.spread == pytest.approx(0, abs=1e-12)


def test_under_chance_p_is_uniform():
    rng = np.random.default_rng(6)
    results = [run_permutation(rng.normal(size=(8, 8)), range(8), 199, seed) for seed in range(300)]
    p = np.sort([result.p for result in results])
    # the largest distance to the uniform distribution (Kolmogorov and Smirnov): 1.63 / sqrt(n) in 1 of 100 cases
    assert np.abs(p - np.arange(1, 301) / 300).max() < 1.63 / np.sqrt(300) + 1 / 200


def test_the_same_seed_gives_the_same_p():
    similarity = np.random.default_rng(7).normal(size=(20, 20))
    assert run_permutation(similarity, range(20)) == run_permutation(similarity, range(20))
    assert (
        run_permutation(similarity, range(20), seed=1).expected
        != run_permutation(similarity, range(20)).expected
    )


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        run_permutation(np.zeros((0, 2)), np.zeros(0, int))
