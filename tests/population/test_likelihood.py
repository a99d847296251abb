"""The population likelihood against integrals and hand calculations; its estimation; mixtures; site choice."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from genomai_cli.population.networks import likelihood_fit
from genomai_cli.population.networks.likelihood import (
    PopulationLikelihood,
    mixture_gain,
    mode,
)
from genomai_cli.population.networks.likelihood_fit import (
    fit_likelihood,
    principal_axes,
    shrunken_frequencies,
)
from genomai_cli.population.networks.novelty import evenness
from genomai_cli.population.panel import informativeness, most_informative

pytestmark = pytest.mark.usefixtures("one_thread")
SITES = 40


def logit(frequency):
    return np.log(frequency) - np.log1p(-frequency)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def likelihood_of(theta, axes, spread, prior=None):
    """A likelihood with the given values."""
    likelihood = PopulationLikelihood(len(theta), theta.shape[1], axes.shape[1]).double()
    likelihood.theta.copy_(torch.from_numpy(theta))
    likelihood.axes.copy_(torch.from_numpy(axes))
    likelihood.spread.copy_(torch.from_numpy(spread))
    likelihood.log_prior.copy_(torch.from_numpy(np.zeros(len(theta)) if prior is None else prior))
    return likelihood


def sample_alleles(rng, frequency, samples, ploidy=2):
    """Allele counts of samples of a population, as tensors: alternate and total."""
    alternate = rng.binomial(ploidy, frequency, (samples, len(frequency))).astype(float)
    return torch.from_numpy(alternate), torch.full(alternate.shape, float(ploidy)).double()


def log_density(alternate, total, theta, axes, u):
    """The log-likelihood of one sample's alleles at each of the coordinates u (N, J)."""
    frequency = sigmoid(theta + u @ axes.T)
    return alternate @ np.log(frequency).T + (total - alternate) @ np.log1p(-frequency).T


@pytest.fixture
def rng():
    return np.random.default_rng(21)


@pytest.fixture
def example(rng):
    """Two populations on one axis, with the alleles of five samples of which some sites are missing."""
    theta, axes = rng.normal(0, 1.2, (2, SITES)), rng.normal(0, 0.3, (SITES, 1))
    spread = np.array([[[0.8]], [[0.1]]])
    alternate, total = sample_alleles(rng, sigmoid(theta[0] + 0.9 * axes[:, 0]), 5)
    missing = torch.from_numpy(rng.random(total.shape) < 0.2)
    return theta, axes, spread, alternate.masked_fill(missing, 0), total.masked_fill(missing, 0)


def test_the_likelihood_is_the_integral_over_the_axis(example):
    theta, axes, spread, alternate, total = example
    prior = np.log([0.3, 0.7])
    found = likelihood_of(theta, axes, spread, prior)(alternate, total).numpy()
    u = np.linspace(-8, 8, 4001)[:, None]
    for population in range(2):
        variance = spread[population, 0, 0]
        log_weight = -0.5 * u[:, 0] ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
        for sample in range(len(alternate)):
            counts = alternate[sample].numpy(), total[sample].numpy()
            logs = log_density(*counts, theta[population], axes, u) + log_weight
            integral = logs.max() + np.log(np.trapezoid(np.exp(logs - logs.max()), u[:, 0]))
            assert found[sample, population] == pytest.approx(
                integral + prior[population], abs=0.02
            )


def test_the_likelihood_is_the_integral_over_two_correlated_axes(rng):
    theta, axes = rng.normal(0, 1, (1, SITES)), rng.normal(0, 0.3, (SITES, 2))
    spread = np.array([[[0.9, 0.4], [0.4, 0.5]]])
    alternate, total = sample_alleles(rng, sigmoid(theta[0] + axes @ [0.8, -0.5]), 1)
    found = float(likelihood_of(theta, axes, spread)(alternate, total))
    grid = np.linspace(-6, 6, 241)
    u = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    quadratic = np.einsum("nj,jk,nk->n", u, np.linalg.inv(spread[0]), u)
    logs = log_density(alternate[0].numpy(), total[0].numpy(), theta[0], axes, u)
    logs -= 0.5 * quadratic + 0.5 * np.log(np.linalg.det(2 * np.pi * spread[0]))
    integral = logs.max() + np.log(np.exp(logs - logs.max()).sum() * (grid[1] - grid[0]) ** 2)
    assert found == pytest.approx(integral, abs=0.05)


def test_the_mode_is_the_top_of_the_posterior(example):
    theta, axes, spread, alternate, total = example
    precision = torch.from_numpy(np.linalg.inv(spread))
    tensors = torch.from_numpy(theta), torch.from_numpy(axes), precision
    found = mode(alternate, total, *tensors).numpy()
    u = np.linspace(-5, 5, 10_001)[:, None]
    for sample in range(len(alternate)):
        counts = alternate[sample].numpy(), total[sample].numpy()
        for population in range(2):
            logs = log_density(*counts, theta[population], axes, u)
            top = u[(logs - 0.5 * u[:, 0] ** 2 / spread[population, 0, 0]).argmax(), 0]
            assert found[sample, population, 0] == pytest.approx(top, abs=2e-3)


def test_without_spread_it_is_naive_bayes(example):
    theta, axes, _, alternate, total = example
    prior = np.log([0.2, 0.8])
    found = likelihood_of(theta, axes, np.full((2, 1, 1), 1e-12), prior)(alternate, total).numpy()
    frequency = sigmoid(theta)
    a, n = alternate.numpy(), total.numpy()
    expected = a @ np.log(frequency).T + (n - a) @ np.log(1 - frequency).T + prior
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_missing_sites_drop_out(example):
    theta, axes, spread, alternate, total = example
    known_sites = np.arange(0, SITES, 3)
    alternate[:, np.setdiff1d(np.arange(SITES), known_sites)] = 0
    total[:, np.setdiff1d(np.arange(SITES), known_sites)] = 0
    full = likelihood_of(theta, axes, spread)
    smaller = likelihood_of(theta[:, known_sites], axes[known_sites], spread)
    counts = alternate[:, known_sites], total[:, known_sites]
    torch.testing.assert_close(full(alternate, total), smaller(*counts))
    best = torch.zeros(len(total), dtype=torch.int64)
    torch.testing.assert_close(
        full.surprise(alternate, total, best), smaller.surprise(*counts, best)
    )


def test_a_barcode_without_any_site_leaves_the_prior(example):
    theta, axes, spread, _, total = example
    prior = np.log([0.3, 0.7])
    nothing = torch.zeros_like(total)
    found = likelihood_of(theta, axes, spread, prior)(nothing, nothing)
    torch.testing.assert_close(found, torch.from_numpy(prior).expand_as(found))


def test_a_sample_does_not_depend_on_its_neighbours(example):
    theta, axes, spread, alternate, total = example
    likelihood = likelihood_of(theta, axes, spread)
    together = likelihood(alternate, total)
    for row in range(len(alternate)):
        alone = likelihood(alternate[row : row + 1], total[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_members_are_not_surprising_and_random_barcodes_are(rng):
    theta = rng.normal(0, 1.5, (2, 400))
    likelihood = likelihood_of(theta, rng.normal(0, 0.3, (400, 1)), np.full((2, 1, 1), 1e-6))
    members = sample_alleles(rng, sigmoid(theta[1]), 300)
    best = torch.ones(300, dtype=torch.int64)
    surprise = likelihood.surprise(*members, best)
    assert abs(float(surprise.mean())) < 0.2
    assert float(surprise.std()) == pytest.approx(1, abs=0.15)
    random_samples = sample_alleles(rng, np.full(400, 0.5), 300)
    assert float(likelihood.surprise(*random_samples, best).min()) > 6


def test_a_haplotype_of_a_member_is_not_surprising_either(rng):
    theta = rng.normal(0, 1.5, (1, 400))
    likelihood = likelihood_of(theta, np.zeros((400, 1)) + 0.1, np.full((1, 1, 1), 1e-6))
    haplotypes = sample_alleles(rng, sigmoid(theta[0]), 300, ploidy=1)
    surprise = likelihood.surprise(*haplotypes, torch.zeros(300, dtype=torch.int64))
    assert abs(float(surprise.mean())) < 0.2


def test_frequencies_of_two_populations_are_drawn_towards_each_other():
    alternate, total = np.array([[3.0, 0.0], [40.0, 10.0]]), np.array([[10.0, 0.0], [49.0, 99.0]])
    raw = (alternate + 0.5) / (total + 1)
    found = shrunken_frequencies(alternate, total, 20.0)
    # With one other population there is nothing to regress on: the prediction is its frequency.
    assert found[0] == pytest.approx([(3 + 20 * raw[1, 0]) / 30, raw[1, 1]])
    # One of which nothing is known at a site draws nobody there.
    drawn_to = np.array([raw[0, 0], raw[1, 1]])
    assert found[1] == pytest.approx((alternate[1] + 20 * drawn_to) / (total[1] + 20))


def test_frequencies_without_shrinkage_are_those_counted(rng):
    total = np.full((3, 12), 50.0)
    alternate = rng.binomial(50, 0.4, (3, 12)).astype(float)
    np.testing.assert_allclose(shrunken_frequencies(alternate, total, 0.0), alternate / total)


def test_without_shrinkage_alleles_that_were_never_seen_and_sites_of_no_call_give_no_nan(rng):
    frequency = rng.beta(0.4, 1, (3, 200))
    populations = np.repeat(np.arange(3), 40)
    copies = rng.binomial(2, frequency[populations]).astype(np.int8)
    copies[populations == 2, :20] = -1
    likelihood = fit_likelihood(copies, populations, 3, axes=2, shrinkage=0.0)
    scores = likelihood.scores(torch.from_numpy(copies).long())
    assert not any(bool(score.isnan().any()) for score in scores.values())
    right = scores["likelihood"].argmax(1).numpy() == populations
    assert right.mean() > 0.95


def test_predicted_frequencies_agree_with_ridge_regression(rng):
    total = np.full((4, 30), 60.0)
    alternate = rng.binomial(60, sigmoid(rng.normal(0, 1, (4, 30)))).astype(float)
    other_logits = logit((alternate[:3] + 0.5) / 61).T
    mean = other_logits.mean(axis=1)
    ridge = Ridge(alpha=likelihood_fit.RIDGE * 30, fit_intercept=False)
    ridge.fit(other_logits - mean[:, None], logit((alternate[3] + 0.5) / 61) - mean)
    predicted = sigmoid(mean + ridge.predict(other_logits - mean[:, None]))
    expected = (alternate[3] + 15 * predicted) / (60 + 15)
    np.testing.assert_allclose(shrunken_frequencies(alternate, total, 15.0)[3], expected)


def test_a_site_unseen_in_a_population_has_the_predicted_frequency(rng):
    total = np.full((3, 20), 40.0)
    alternate = rng.binomial(40, 0.3, (3, 20)).astype(float)
    total[2, 5] = alternate[2, 5] = 0
    found = shrunken_frequencies(alternate, total, 10.0)
    assert np.isfinite(found).all()
    assert 0.05 < found[2, 5] < 0.7


def genotypes(rng, frequencies, members):
    """Copies (members of every population in turn, sites) and populations."""
    copies = np.concatenate([rng.binomial(2, f, (members, len(f))) for f in frequencies])
    return copies.astype(np.int8), np.repeat(np.arange(len(frequencies)), members)


def test_the_first_axis_tells_two_populations_apart(rng):
    truth = rng.uniform(0.1, 0.9, (2, 80))
    copies, _ = genotypes(rng, truth, 60)
    axes = principal_axes(copies, 2)
    assert axes.shape == (80, 2)
    np.testing.assert_allclose(np.sqrt((axes**2).mean(axis=0)), likelihood_fit.AXIS_SCALE)
    difference = logit(truth[0]) - logit(truth[1])
    assert abs(np.corrcoef(axes[:, 0], difference)[0, 1]) > 0.8


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_samples(rng):
    copies, _ = genotypes(rng, rng.uniform(0.1, 0.9, (2, 60)), 50)
    np.testing.assert_allclose(
        principal_axes(copies, 1), principal_axes(copies[::-1].copy(), 1), atol=1e-8
    )


def test_missing_genotypes_do_not_move_the_axes_much(rng):
    copies, _ = genotypes(rng, rng.uniform(0.1, 0.9, (2, 80)), 100)
    with_missing = np.where(rng.random(copies.shape) < 0.1, np.int8(-1), copies)
    before, after = principal_axes(copies, 1)[:, 0], principal_axes(with_missing, 1)[:, 0]
    assert np.corrcoef(before, after)[0, 1] > 0.97


@pytest.fixture
def fitted(rng):
    truth = sigmoid(logit(rng.uniform(0.1, 0.9, 150)) + rng.normal(0, 0.8, (3, 150)))
    copies, populations = genotypes(rng, truth, 120)
    return truth, fit_likelihood(copies, populations, 3, axes=2, shrinkage=5.0)


def test_fitted_frequencies_are_near_the_true_ones(fitted):
    truth, likelihood = fitted
    found = torch.sigmoid(likelihood.theta).numpy()
    assert np.abs(found - truth).mean() < 0.03


def test_a_fitted_likelihood_names_the_population_of_new_samples(fitted, rng):
    truth, likelihood = fitted
    for population in range(3):
        found = likelihood(*sample_alleles(rng, truth[population], 100)).argmax(1)
        assert float((found == population).double().mean()) > 0.97


def test_the_prior_is_the_share_of_samples(rng):
    truth = rng.uniform(0.2, 0.8, (2, 30))
    copies, populations = genotypes(rng, truth, 40)
    retained = np.r_[:40, 40:50]
    likelihood = fit_likelihood(copies[retained], populations[retained], 2, axes=1, shrinkage=5.0)
    torch.testing.assert_close(
        likelihood.log_prior.exp(), torch.tensor([0.8, 0.2], dtype=torch.float64)
    )


def test_samples_that_differ_along_an_axis_widen_the_spread(rng):
    base, tilt = rng.normal(0, 1, 150), rng.normal(0, 0.5, 150)
    coordinates = rng.normal(0, 1.5, 150)
    admixed = rng.binomial(2, sigmoid(base + np.outer(coordinates, tilt)))
    homogeneous = rng.binomial(2, sigmoid(base), (150, 150))
    copies = np.concatenate([admixed, homogeneous]).astype(np.int8)
    likelihood = fit_likelihood(copies, np.repeat([0, 1], 150), 2, axes=1, shrinkage=5.0)
    wide, narrow = likelihood.spread[:, 0, 0]
    assert float(wide) > 20 * float(narrow)


def log_likelihood(alternate, total, frequency):
    """Of one sample's alleles in a population of these frequencies."""
    return alternate @ np.log(frequency) + (total - alternate) @ np.log1p(-frequency)


def test_the_gain_of_a_mixture_is_the_best_of_a_grid_over_the_single_groups(rng):
    groups = rng.uniform(0.05, 0.95, (2, 300))
    counts = sample_alleles(rng, 0.65 * groups[0] + 0.35 * groups[1], 5)
    found = mixture_gain(*counts, torch.from_numpy(groups)).numpy()
    shares = np.linspace(0, 1, 501)
    for row in range(5):
        sample = counts[0][row].numpy(), counts[1][row].numpy()
        mixed = [log_likelihood(*sample, s * groups[0] + (1 - s) * groups[1]) for s in shares]
        assert found[row] == pytest.approx(max(mixed) - max(mixed[0], mixed[-1]), abs=0.05)


def test_a_child_of_two_groups_gains_by_a_mixture_and_a_member_does_not(rng):
    groups = rng.uniform(0.05, 0.95, (3, 300))
    frequencies = torch.from_numpy(groups)
    children = sample_alleles(rng, groups[:2].mean(axis=0), 50)
    assert float(mixture_gain(*children, frequencies).min()) > 10
    members = mixture_gain(*sample_alleles(rng, groups[2], 50), frequencies)
    assert float(members.max()) < 5
    assert float(members.min()) > -2  # the search may stop short of the single group


def test_missing_sites_do_not_enter_the_gain(rng):
    groups = rng.uniform(0.05, 0.95, (2, 60))
    alternate, total = sample_alleles(rng, groups.mean(axis=0), 3)
    alternate[:, 30:] = total[:, 30:] = 0
    torch.testing.assert_close(
        mixture_gain(alternate, total, torch.from_numpy(groups)),
        mixture_gain(alternate[:, :30], total[:, :30], torch.from_numpy(groups[:, :30])),
    )


def test_informativeness_by_hand():
    # Allele frequencies of the two groups: 0 and 1, 1/2 and 1/2, 1/4 and 3/4.
    first = np.array([[0, 1, 1], [0, 1, 0]], np.int8)
    second = np.array([[2, 1, 1], [2, 1, 2]], np.int8)
    found = informativeness(np.concatenate([first, second]), np.array([0, 0, 1, 1]))
    quarter = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert found == pytest.approx([np.log(2), 0, np.log(2) - quarter], abs=1e-9)


def test_a_group_without_a_call_tells_nothing_of_a_site():
    groups = np.repeat([0, 1, 2], 2)
    copies = np.array([[1, 0], [1, 0], [-1, 1], [-1, 1], [1, 1], [1, 1]], np.int8)
    found = informativeness(copies, groups)
    assert found[0] == pytest.approx(0)
    assert most_informative(copies, groups, 1).tolist() == [1]
    nobody = np.full((6, 1), -1, np.int8)
    assert informativeness(nobody, groups) == pytest.approx([0])


def test_informativeness_takes_groups_as_equally_frequent_and_skips_missing_calls():
    few = np.array([[0], [2], [-1]], np.int8)
    many = np.array([[0]] + [[2]] * 9, np.int8)
    groups = np.array([0, 1, 1])
    assert informativeness(few, groups) == pytest.approx([np.log(2)])
    assert informativeness(many, np.array([0] + [1] * 9)) == pytest.approx([np.log(2)])


def test_the_most_informative_sites_stay_in_panel_order():
    copies = np.array([[1, 0, 1, 0], [1, 0, 1, 1], [1, 2, 1, 1], [1, 2, 1, 2]], np.int8)
    groups = np.array([0, 0, 1, 1])
    assert most_informative(copies, groups, 2).tolist() == [1, 3]
    assert most_informative(copies, groups, 3).tolist() == [0, 1, 3]


class TestEvenness:
    def evenness_of(self, chosen):
        total = torch.zeros(1, 1000).double()
        total[0, chosen] = 2
        return float(evenness(total))

    def test_all_sites_and_random_ones_are_even(self, rng):
        assert self.evenness_of(slice(None)) == pytest.approx(1, abs=1e-3)
        assert self.evenness_of(torch.from_numpy(rng.permutation(1000)[:60])) == pytest.approx(
            1, abs=0.15
        )

    def test_one_chromosome_is_not(self):
        assert self.evenness_of(slice(300, 400)) == pytest.approx(0.1 / (1 - 0.99**100))

    def test_nothing_has_a_number_too(self):
        assert self.evenness_of([]) == 0.01

    def test_of_a_few_sites_each_is_a_stretch(self):
        assert evenness(torch.tensor([[2.0, 0, 2]])).tolist() == pytest.approx(
            [2 / 3 / (1 - 4 / 9)]
        )
