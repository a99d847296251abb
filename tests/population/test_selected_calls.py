"""Calls selected by genotype: how they are recognised, and the likelihood given the selection."""

import numpy as np
import pytest
import torch

from genomai_cli.backbones.classifier import Fusion
from genomai_cli.population.call_patterns import lacks_reference
from genomai_cli.population.networks.likelihood import PopulationLikelihood
from genomai_cli.population.networks.selected_calls import (
    UNCERTAIN,
    is_selected,
    log_likelihood_given_called,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def copies_with(reference, heterozygous, alternate, missing=10):
    counts = (reference, heterozygous, alternate, missing)
    return torch.from_numpy(np.repeat([0, 1, 2, -1], counts))[None]


@pytest.mark.parametrize(
    ("counts", "selected"),
    [
        ((0, 12, 8), True),
        ((0, 11, 8), False),
        ((1, 12, 8), False),
        ((3, 60, 40), True),
        ((40, 60, 40), False),
        ((0, 30, 0), True),
        ((0, 0, 30), True),
        ((0, 0, 0), False),
    ],
)
def test_many_calls_without_the_reference_were_chosen(counts, selected):
    reference, *others = counts
    assert bool(lacks_reference(reference, reference + sum(others))) is selected


def theta(sites, frequency=0.3):
    return torch.logit(torch.full((2, sites), frequency).double())


@pytest.mark.parametrize(
    ("counts", "frequency", "selected"),
    [
        ((0, 5, 2), 0.3, True),  # 51 % of people are homozygous for the reference at each site
        ((0, 1, 0), 0.3, False),
        ((1, 5, 2), 0.3, False),
        ((3, 60, 40), 0.3, True),
        ((40, 60, 40), 0.3, False),
        ((0, 12, 30), 0.95, False),  # as good as nobody is
        ((0, 0, 0), 0.3, False),
    ],
)
def test_what_calls_lack_is_weighed_by_how_rare_that_is(counts, frequency, selected):
    copies = copies_with(*counts)
    assert bool(is_selected(copies, theta(copies.shape[1], frequency))) is selected


def test_of_two_populations_the_one_in_which_calls_by_chance_are_likelier_counts():
    copies = copies_with(0, 5, 25)
    both = torch.cat([theta(copies.shape[1])[:1], theta(copies.shape[1], 0.9)[:1]])
    assert bool(is_selected(copies, theta(copies.shape[1])))
    assert not bool(is_selected(copies, both))


def test_samples_with_all_their_calls_were_not_chosen():
    rng = np.random.default_rng(3)
    frequency = rng.uniform(0.1, 0.9, 200)
    copies = torch.from_numpy(rng.binomial(2, frequency, (500, 200)))
    logit = torch.logit(torch.from_numpy(frequency))[None]
    assert not is_selected(copies, logit).any()
    chosen = torch.where(copies > 0, copies, -1)
    assert is_selected(chosen, logit).all()


def test_the_likelihood_is_that_of_genotypes_with_an_alternate_allele():
    f = torch.tensor([[0.2], [0.7]]).double()
    called = 1 - (1 - f) ** 2
    for copies, probability in ((1, 2 * f * (1 - f) / called), (2, f**2 / called)):
        found = log_likelihood_given_called(torch.tensor([[copies]]), f)
        assert torch.allclose(found.exp(), probability.T)
    missing = log_likelihood_given_called(torch.tensor([[-1]]), f)
    assert torch.equal(missing, torch.zeros(1, 2).double())


def test_sites_whose_roles_are_exchanged_are_scored_the_other_way_round():
    f = torch.tensor([[0.2], [0.7]]).double()
    found = log_likelihood_given_called(torch.tensor([[0]]), f)
    assert torch.allclose(found.exp(), ((1 - f) ** 2 / (1 - f**2)).T)


@pytest.fixture(scope="module")
def likelihood():
    """Two populations at 300 sites, without axes to speak of."""
    rng = np.random.default_rng(8)
    likelihood = PopulationLikelihood(2, 300, 1).double()
    theta = torch.from_numpy(rng.normal(-0.3, 0.8, (2, 300)))
    likelihood.theta.copy_(theta)
    likelihood.spread.copy_(1e-6 * likelihood.spread)
    return likelihood


def test_variants_alone_still_tell_populations_apart(likelihood):
    rng = np.random.default_rng(9)
    frequency = torch.sigmoid(likelihood.theta).numpy()
    for population in range(2):
        copies = rng.binomial(2, frequency[population], (200, 300))
        chosen = torch.from_numpy(np.where(copies > 0, copies, -1))
        assert bool(is_selected(chosen, likelihood.theta).all())
        found = likelihood.scores(chosen)["likelihood"].argmax(1)
        assert float((found == population).double().mean()) > 0.95


def test_networks_have_no_vote_on_chosen_calls(likelihood):
    unselected = torch.from_numpy(np.tile([0, 1, 2], 100))[None]
    chosen = torch.where(unselected > 0, unselected, -1)
    found = likelihood.scores(torch.cat([unselected, chosen]))
    assert found["votes"].tolist() == [1, 0]


def test_other_samples_of_a_batch_are_scored_as_if_alone(likelihood):
    unselected = torch.from_numpy(np.tile([0, 1, 2], 100))[None]
    both = torch.cat([unselected, torch.where(unselected > 0, unselected, -1)])
    alone = likelihood.scores(unselected)["likelihood"]
    assert torch.allclose(likelihood.scores(both)["likelihood"][:1], alone)


def test_no_label_of_chosen_calls_is_sure(likelihood):
    rng = np.random.default_rng(10)
    copies = torch.from_numpy(rng.binomial(2, torch.sigmoid(likelihood.theta[:1]).numpy()))
    both = torch.cat([copies, torch.where(copies > 0, copies, -1)])
    scores = likelihood.scores(both) | {"pop": torch.zeros(2, 2).double()}
    fusion = Fusion({"pop": 2}, {"pop": [0, 1]}).double()
    unselected, chosen = fusion(scores, torch.ones(2).double())["pop"].exp().amax(1).tolist()
    assert unselected > 0.99
    assert chosen == pytest.approx(1 - UNCERTAIN / 2, abs=0.01)
