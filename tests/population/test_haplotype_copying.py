"""The copying model: exact against enumeration of all paths, phase, individuals left out."""

from itertools import pairwise, product

import pytest
import torch

from genomai_cli.population.networks.haplotype_copying import HaplotypeReference, genotypes_of

PEOPLE, SITES = 2, 5
PLACE = torch.tensor([0.0, 4e5, 5e5, 9e5, 1.5e6], dtype=torch.float64)
REFERENCE = torch.tensor(
    [[[0, 0, 1, 0, 1], [1, 0, 1, 1, 0]], [[1, 1, 0, 0, 1], [0, 1, 0, 1, 1]]], dtype=torch.int8
)


@pytest.fixture
def reference():
    made = HaplotypeReference(2 * PEOPLE, SITES)
    made.learn(REFERENCE, PLACE)
    made.rate.fill_(1e-6)
    made.error.fill_(0.02)
    return made.double()


def enumerated(alleles, allowed=range(2 * PEOPLE)):
    """The probability of allele 1 at each site, by the sum over all paths."""
    haplotypes, count = REFERENCE.flatten(0, 1), 2 * PEOPLE
    stay = torch.exp(-1e-6 * PLACE.diff()).tolist()
    total, ones = 0.0, torch.zeros(SITES, dtype=torch.float64)
    for path in product(allowed, repeat=SITES):
        weight = 1.0
        for s, (one, other) in enumerate(pairwise(path)):
            weight *= stay[s] * (one == other) + (1 - stay[s]) / count
        copied = haplotypes[list(path), range(SITES)]
        for s in range(SITES):
            if alleles[s] >= 0:
                weight *= 0.98 if copied[s] == alleles[s] else 0.02
        total += weight
        ones += weight * copied
    return ones / total


@pytest.mark.parametrize("typed", [[0, 3], [1], [2, 4], [0, 1, 2, 3, 4], []])
def test_forward_backward_is_the_sum_over_all_paths(reference, typed):
    alleles = torch.full((1, 2, SITES), -1)
    alleles[0, 0, typed] = torch.tensor([1, 0, 1, 0, 1])[typed]
    alleles[0, 1, typed] = torch.tensor([0, 0, 1, 1, 1])[typed]
    (pairs,) = reference.pairs(alleles, torch.tensor([True]))
    hidden = [s for s in range(SITES) if s not in typed]
    for number, columns in enumerate(((2, 3), (1, 3))):
        found = pairs[:, list(columns)].sum(1)
        wanted = enumerated(alleles[0, number].tolist())
        torch.testing.assert_close(found[hidden], wanted[hidden], atol=1e-6, rtol=0)
    torch.testing.assert_close(pairs.sum(1), torch.ones(SITES).double())


def test_nobody_copies_oneself(reference):
    """Up to what is switched to within a gap, which may be anybody."""
    alleles = torch.full((1, 2, SITES), -1)
    alleles[..., :4] = REFERENCE[:1, :, :4]
    own = torch.tensor([0])
    (pairs,) = reference.pairs(alleles, torch.tensor([True]), own)
    (free,) = reference.pairs(alleles, torch.tensor([True]))
    assert pairs[4, 2] < free[4, 2] - 0.1  # 1 | 0, as that individual has it
    near = reference
    near.place[4] = near.place[3]
    (pairs,) = near.pairs(alleles, torch.tensor([True]), own)
    assert pairs[4, 3] == pytest.approx(1.0)  # both others have 1 there


def many(rng, people, sites=40, founders=6):
    """Mosaics of few founders."""
    pool = torch.randint(0, 2, (founders, sites), generator=rng)
    switch = (torch.rand(people, 2, sites, generator=rng) < 0.01).cumsum(2)
    start = torch.randint(0, founders, (people, 2, 1), generator=rng)
    return pool[(start + switch) % founders, torch.arange(sites)].to(torch.int8)


@pytest.fixture
def cohort():
    alleles = many(torch.Generator().manual_seed(5), 60)
    made = HaplotypeReference(2 * 50, 40)
    made.learn(alleles[:50], torch.arange(40).double() * 1000)
    made.rate.fill_(5e-5 / 100)
    return made, alleles[50:]


def hidden_copies(alleles):
    shown = torch.where(torch.arange(40) % 3 == 0, alleles, -1)
    return shown, torch.arange(40) % 3 != 0


def called(pairs):
    return genotypes_of(pairs).argmax(2)


def test_genotypes_without_phase_are_restored_nearly_as_well(cohort):
    reference, alleles = cohort
    shown, hidden = hidden_copies(alleles)
    turned = torch.where(torch.rand(10, 1, 40) < 0.5, shown, shown.flip(1))
    truth = alleles.sum(1)[:, hidden]
    found = {}
    for phased, given in ((True, shown), (False, turned)):
        pairs = reference.pairs(given, torch.full((10,), phased))
        found[phased] = (called(pairs)[:, hidden] == truth).double().mean()
    usual = (reference.alleles().mean(0)[hidden] * 2).round()
    assert found[True] > 0.95
    assert found[False] > 0.9 > (usual == truth).double().mean() + 0.2


def test_the_order_of_two_alleles_without_phase_says_nothing(cohort):
    reference, alleles = cohort
    shown, _ = hidden_copies(alleles)
    one = reference.pairs(shown, torch.zeros(10, dtype=torch.bool))
    other = reference.pairs(shown.flip(1), torch.zeros(10, dtype=torch.bool))
    torch.testing.assert_close(genotypes_of(one), genotypes_of(other))


def test_an_individual_does_not_depend_on_the_others_of_its_batch(cohort):
    reference, alleles = cohort
    shown, _ = hidden_copies(alleles)
    shown[3, :, :20] = -1
    shown[4] = -1
    phased = torch.tensor([True, False] * 5)
    together = reference.pairs(shown, phased)
    for number in range(10):
        alone = reference.pairs(shown[number : number + 1], phased[number : number + 1])[0]
        torch.testing.assert_close(together[number], alone, atol=2e-4, rtol=0)


def test_unknown_alleles_of_the_reference_count_as_the_usual_ones():
    alleles = torch.tensor([[[1, 0], [1, -1]], [[-1, 1], [0, 0]]], dtype=torch.int8)
    made = HaplotypeReference(4, 2)
    made.learn(alleles, torch.tensor([5.0, 9.0]))
    assert made.alleles().tolist() == [[1, 0], [1, 0], [1, 1], [0, 0]]
    assert made.place.tolist() == [0.0, 4.0]
