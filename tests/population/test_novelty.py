"""Novelty, of samples unlike the training samples: the measures by hand, and simulated groups left out of the fit."""

import numpy as np
import pytest
import torch

from genomai_cli.population.networks.genotype_mlp import allele_counts
from genomai_cli.population.networks.likelihood_fit import shrunken_frequencies
from genomai_cli.population.networks.novelty import (
    Novelty,
    confusion,
    drift,
    interpolate,
    novelty_axes,
)
from genomai_cli.population.networks.novelty_fit import fit_novelty
from genomai_cli.population.networks.novelty_trials import (
    LabelledGenotypes,
    information,
    population_axes,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SITES, MEMBERS = 600, 40
BETWEEN, WITHIN = 0.15, 0.01  # F_ST of groups, and of the populations in one


def drifted(rng, frequency, fst):
    """Frequencies of a population that split off: Balding and Nichols 1995."""
    scale = (1 - fst) / fst
    return np.clip(rng.beta(frequency * scale, (1 - frequency) * scale), 0.02, 0.98)


def samples_of(rng, frequencies, members=MEMBERS):
    """Allele copies of so many members of each population, and the indices of their populations."""
    copies = [rng.binomial(2, f, (members, len(f))) for f in frequencies]
    return np.concatenate(copies).astype(np.int8), np.repeat(np.arange(len(copies)), members)


@pytest.fixture(scope="module")
def populations():
    """Five groups of two populations and an admixed one, of which the last group is unknown to the fit."""
    rng = np.random.default_rng(5)
    ancestor = rng.uniform(0.15, 0.85, SITES)
    groups = [drifted(rng, ancestor, BETWEEN) for _ in range(5)]
    return [drifted(rng, group, WITHIN) for group in groups for _ in range(2)]


@pytest.fixture
def rng():
    return np.random.default_rng(6)


@pytest.fixture(scope="module")
def fitted(populations):
    rng = np.random.default_rng(7)
    copies, numbers = samples_of(rng, populations[:8])
    mixed = mixtures(rng, populations[0], populations[2])
    copies = np.concatenate([copies, mixed])
    numbers = np.concatenate([numbers, np.full(len(mixed), 8)])
    groups = [0, 0, 1, 1, 2, 2, 3, 3, 0]
    samples = LabelledGenotypes(copies, numbers, groups)
    novelty = fit_novelty(samples, lambda *counts: shrunken_frequencies(*counts, 20.0))
    return novelty, torch.from_numpy(shrunken_frequencies(*samples.counts(), 20.0))


def mixtures(rng, one, other, members=MEMBERS):
    """Samples with more or less of their alleles from one population, the rest from another."""
    share = rng.uniform(0.1, 0.9, (members, 1))
    return rng.binomial(2, share * one + (1 - share) * other).astype(np.int8)


def margin(fitted, copies, known=slice(None)):
    novelty, frequency = fitted
    alternate = torch.zeros(copies.shape).double()
    total = torch.zeros_like(alternate)
    alternate[:, known] = torch.from_numpy(copies[:, known]).double()
    total[:, known] = 2.0
    return novelty(alternate, total, frequency).margin.numpy()


@pytest.mark.parametrize("known", [slice(None), slice(0, SITES, 3)], ids=["all", "third"])
def test_members_are_not_novel_and_outsiders_are(rng, populations, fitted, known):
    members, _ = samples_of(rng, populations[:8])
    outsiders, _ = samples_of(rng, populations[8:])
    assert (margin(fitted, members, known) > 0).mean() < 0.02
    assert (margin(fitted, outsiders, known) > 0).mean() > 0.8


def test_members_of_an_admixed_population_are_not_novel(rng, populations, fitted):
    same_mixture = mixtures(rng, populations[0], populations[2], 100)
    other_mixture = mixtures(rng, populations[4], populations[6], 100)
    assert (margin(fitted, same_mixture) > 0).mean() < 0.05
    assert (margin(fitted, other_mixture) > 0).mean() > 0.5


def test_the_bound_of_a_label_lies_above_that_of_the_flag(fitted):
    flagged, withheld = fitted[0].bounds
    assert (withheld > flagged).all()


def test_populations_of_the_groups_that_nobody_saw_keep_their_label(rng, populations, fitted):
    related = [drifted(rng, populations[number], WITHIN) for number in range(8)]
    assert (margin(fitted, samples_of(rng, related)[0]) > 1).mean() < 0.05


def test_haplotypes_are_fitted_on_as_they_are_scored(rng, populations):
    """One allele a site: read as homozygotes they have a drift that none has who is scored, and hide outsiders."""

    def haplotypes(frequencies):
        copies = np.concatenate([rng.binomial(1, f, (MEMBERS, SITES)) for f in frequencies])
        return 2 * copies.astype(np.int8), np.repeat(np.arange(len(frequencies)), MEMBERS)

    copies, numbers = haplotypes(populations[:8])
    samples = LabelledGenotypes(copies, numbers, [0, 0, 1, 1, 2, 2, 3, 3])
    assert (samples.counts()[1] == MEMBERS).all()
    novelty = fit_novelty(samples, lambda *counts: shrunken_frequencies(*counts, 20.0))
    frequency = torch.from_numpy(shrunken_frequencies(*samples.counts(), 20.0))
    members, outsiders = (
        novelty(*allele_counts(torch.from_numpy(found).long(), torch.float64), frequency)
        for found, _ in (haplotypes(populations[:8]), haplotypes(populations[8:]))
    )
    assert float((members.margin > 0).double().mean()) < 0.02
    assert float(members.outsider_probability.mean()) < 0.1
    assert float(outsiders.outsider_probability.mean()) > 0.5


def test_a_haplotype_has_no_drift():
    alternate = torch.tensor([[1.0, 0.0, 1.0]])
    assert float(drift(alternate, torch.ones(1, 3), torch.full((1, 3), 0.3))) == 0


def test_drift_is_the_sum_of_products_of_both_alleles_deviations():
    f = torch.tensor([[0.2, 0.5, 0.4]]).double()
    alternate, total = torch.tensor([[2.0, 1.0, 0.0]]).double(), torch.full((1, 3), 2.0).double()
    expected = (0.8 * 0.8 - 0.5 * 0.5 + 0.4 * 0.4) / np.sqrt(0.16**2 + 0.25**2 + 0.24**2)
    assert float(drift(alternate, total, f)) == pytest.approx(expected)


def test_drift_is_nothing_on_average_among_members_whatever_their_frequencies(rng):
    f = rng.uniform(0.1, 0.9, 500)
    alternate = torch.from_numpy(rng.binomial(2, f, (400, 500))).double()
    total = torch.full_like(alternate, 2)
    found = drift(alternate, total, torch.from_numpy(f).expand(400, -1))
    assert float(found.mean()) == pytest.approx(0, abs=0.15)
    assert float(found.std()) == pytest.approx(1, abs=0.1)


def test_information_is_the_mutual_information_of_genotype_and_group():
    equal, fixed = np.array([0.3, 0.3]), np.array([1e-9, 1 - 1e-9])
    assert information(np.stack([equal, fixed], 1)) == pytest.approx([0, 2 * np.log(2)], abs=1e-6)


def test_axes_tell_the_groups_apart(populations):
    frequency = np.stack(populations)
    coordinates = (np.log(frequency) - np.log1p(-frequency)) @ population_axes(frequency, 4)
    of_group = coordinates.reshape(5, 2, 4)
    within = np.abs(of_group[:, 0] - of_group[:, 1]).max()
    assert np.ptp(of_group.mean(1), axis=0).min() > 2 * within


def test_a_curve_goes_straight_from_point_to_point_and_on_flat():
    points, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0, 0.0])
    found = interpolate(torch.tensor([-5.0, 0.5, 2.0, 9.0]), points, values)
    assert found.tolist() == [1.0, 1.5, 1.0, 0.0]


def test_two_groups_teach_nothing(rng, populations):
    copies, numbers = samples_of(rng, populations[:4], 10)
    samples = LabelledGenotypes(copies, numbers, [0, 0, 1, 1])
    assert fit_novelty(samples, lambda *counts: shrunken_frequencies(*counts, 20.0)) is None
    assert (novelty_axes(4, 2), novelty_axes(4, 3), novelty_axes(26, 5)) == (0, 3, 4)


def test_a_new_novelty_is_finite_for_a_sample_without_sites():
    empty = torch.zeros(1, 5)
    found = Novelty(3, 5, 2)(empty, empty, torch.full((3, 5), 0.5))
    assert torch.isfinite(torch.stack(found)).all()


def test_an_outsider_is_more_probable_than_a_member(rng, populations, fitted):
    novelty, frequency = fitted
    probabilities = []
    for tested in (populations[:8], populations[8:]):
        copies = torch.from_numpy(samples_of(rng, tested)[0]).double()
        scores = novelty(copies, torch.full_like(copies, 2), frequency)
        probabilities.append(scores.outsider_probability)
    assert float(probabilities[0].mean()) < 0.1 < 0.7 < float(probabilities[1].mean())


def test_confusion_goes_by_the_two_groups_that_are_told_worst():
    frequency = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]).double()
    overlap = 2 * np.sqrt(0.09)
    both, first = torch.tensor([[2.0, 2.0], [2.0, 0.0]]).double()
    assert float(confusion(both[None], frequency)) == pytest.approx(2 * overlap**2 + overlap**4)
    assert float(confusion(first[None], frequency)) == pytest.approx(1 + 2 * overlap**2)
    assert float(confusion(torch.zeros(1, 2).double(), frequency)) == 3


def test_sites_beside_each_other_make_less_novel(populations, fitted):
    outsiders = samples_of(np.random.default_rng(11), populations[8:])[0]
    spread = margin(fitted, outsiders, slice(0, SITES, 10))
    adjacent = margin(fitted, outsiders, slice(0, SITES // 10))
    assert (adjacent > 0).mean() < (spread > 0).mean()


def test_few_sites_are_not_enough(populations, fitted):
    novelty, frequency = fitted
    means = torch.stack([frequency[[0, 1, 8]].mean(0), *frequency[2:8].reshape(3, 2, -1).mean(1)])
    total = torch.full((2, SITES), 2.0).double()
    total[1, 5:] = 0
    full, few = novelty.sufficiency(total, means).tolist()
    assert few < 1 < full
