"""The copying model: exact against enumeration of all paths, phase, individuals left out."""

from itertools import pairwise, product

import pytest
import torch

from genomai_cli.population.networks import haplotype_blocks, haplotype_copying, reduced_copying
from genomai_cli.population.networks.block_layout import layout_of
from genomai_cli.population.networks.haplotype_blocks import blocks_of, refined
from genomai_cli.population.networks.haplotype_copying import (
    HaplotypeReference,
    Mosaic,
    _spread,
    genotypes_of,
    likelihoods_of,
)
from genomai_cli.population.networks.haplotype_phases import Pairs, phases

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
        torch.testing.assert_close(found[hidden], wanted[hidden], atol=1e-5, rtol=0)
    torch.testing.assert_close(pairs.sum(1), torch.ones(SITES).double())


def test_nobody_copies_oneself(reference):
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
    usual = (reference.alleles().float().mean(0)[hidden] * 2).round()
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


def test_haplotypes_packed_part_by_part_are_all_there(monkeypatch):
    monkeypatch.setattr(haplotype_copying, "SITES_AT_ONCE", 8)
    alleles = torch.randint(0, 2, (3, 2, 21), generator=torch.Generator().manual_seed(0))
    made = HaplotypeReference(6, 21)
    made.learn(alleles.to(torch.int8), torch.arange(21.0))
    assert torch.equal(made.alleles().long(), alleles.flatten(0, 1))


def mosaic_of(reference, place, typed, rate, error):
    return Mosaic(reference, place, typed, layout_of(blocks_of(reference, typed)), rate, error)


def test_thousands_of_haplotypes_leave_no_probability_outside_0_and_1():
    rng = torch.Generator().manual_seed(2)
    reference = (torch.rand(60, 4000, generator=rng) < torch.linspace(0, 1, 60)[:, None]).byte()
    reference[::7], reference[1::7] = 1, 0
    typed = torch.arange(0, 60, 3)
    made = mosaic_of(reference, torch.arange(60.0) * 100, typed, 1e-6, 1e-4)
    evidence = reference[typed][:, :40].T.float()
    found = made.imputed(evidence, torch.arange(40) // 2)
    assert bool(((found >= 0) & (found <= 1)).all())
    assert made.copied(evidence, torch.arange(40) // 2)[0].max() <= 1


@pytest.fixture
def mosaic(cohort):
    """A mosaic typed at every third site, from the second on."""
    reference, alleles = cohort
    typed = torch.arange(1, 40, 3)
    made = mosaic_of(reference.alleles().T.contiguous(), reference.place, typed, 1e-5, 0.01)
    return made, alleles


def walked_one_by_one(made, one, own):
    """The probabilities of allele 1 at all sites and, of the other sites' evidence, at the typed ones, and the mean
    probability of each haplotype, by forward-backward over all sites and haplotypes in double precision."""
    allowed = torch.ones(made.reference.shape[1], dtype=torch.float64)
    if own >= 0:
        allowed[2 * own : 2 * own + 2] = 0
    usual = allowed / allowed.sum()
    sites = len(made.place)
    stay = torch.exp(-made.rate * made.place.double().diff()).tolist()
    typed = {int(site): k for k, site in enumerate(made.typed)}
    likely = one.double() * (1 - made.error) + (1 - one.double()) * made.error

    def seen(s):
        if s not in typed:
            return torch.ones_like(usual)
        return torch.where(made.reference[s] == 1, likely[typed[s]], 1 - likely[typed[s]])

    ahead, behind = [usual], [torch.ones_like(usual)]
    for s in range(1, sites):
        last = ahead[-1] * seen(s - 1)
        ahead.append(stay[s - 1] * last / last.sum() + (1 - stay[s - 1]) * usual)
        after = behind[-1] * seen(sites - s)
        behind.append(stay[-s] * after / (after @ usual) + 1 - stay[-s])
    without = torch.stack([a * b for a, b in zip(ahead, behind[::-1], strict=True)])
    here = without * torch.stack([seen(s) for s in range(sites)])
    without, here = (x / x.sum(1, keepdim=True) for x in (without, here))
    ones = made.reference.double()
    share = (without * ones).sum(1)[made.typed].float()
    share = share * (1 - made.error) + (1 - share) * made.error
    return (here * ones).sum(1).float(), share, here[made.typed].mean(0).float()


@pytest.mark.parametrize("own", [-1, 7])
@pytest.mark.parametrize("longest", [1, 3, 64])
@pytest.mark.parametrize("typed", [slice(None), slice(4, 5), slice(3, 9)])
def test_blocks_of_any_length_give_the_answers_of_single_haplotypes(
    mosaic, typed, longest, own, monkeypatch
):
    monkeypatch.setattr(haplotype_blocks, "LONGEST", longest)
    monkeypatch.setattr(haplotype_blocks, "LEAST_KINDS", 100)
    made, alleles = mosaic
    made = mosaic_of(made.reference, made.place, made.typed[typed], made.rate, made.error)
    one = alleles[0, 0][made.typed].float().clamp(0.05, 0.9)
    found = made.imputed(one[None], torch.tensor([own]))[0]
    without, mass = made.copied(one[None], torch.tensor([own]))
    wanted, share, mean = walked_one_by_one(made, one, own)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(without[0], share, atol=1e-5, rtol=0)
    if longest == 64:
        torch.testing.assert_close(mass[0], 2 * mean, atol=1e-5, rtol=0)  # one block


def test_haplotypes_of_a_kind_are_alike_in_all_rows():
    rng = torch.Generator().manual_seed(4)
    rows = (torch.rand(70, 30, generator=rng) < 0.02).byte().numpy()
    kinds = refined(torch.arange(30).numpy() % 2, rows)
    for i in range(30):
        for j in range(30):
            alike = i % 2 == j % 2 and bool((rows[:, i] == rows[:, j]).all())
            assert (kinds[i] == kinds[j]) == alike


def test_haplotypes_of_a_group_are_walked_as_if_alone(mosaic, monkeypatch):
    monkeypatch.setattr(reduced_copying, "LANES", 8)  # three groups, of which one is not full
    monkeypatch.setattr(reduced_copying, "VECTOR", 8)
    made, alleles = mosaic
    evidence = alleles.flatten(0, 1)[:, made.typed].float().clamp(0.1, 0.8)
    owns = torch.where(torch.arange(20) % 3 == 0, -1, torch.arange(20))
    found = made.imputed(evidence, owns), *made.copied(evidence, owns)
    for number in range(20):
        one = evidence[number : number + 1], owns[number : number + 1]
        for some, (alone,) in zip(found, (made.imputed(*one), *made.copied(*one)), strict=True):
            torch.testing.assert_close(some[number], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_show(mosaic, monkeypatch, threads):
    monkeypatch.setattr(reduced_copying, "LANES", 4)
    monkeypatch.setattr(reduced_copying, "VECTOR", 4)
    made, alleles = mosaic
    evidence = alleles.flatten(0, 1)[:, made.typed].float()
    nobody = torch.full((20,), -1)
    alone = made.imputed(evidence, nobody), *made.copied(evidence, nobody)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shared = made.imputed(evidence, nobody), *made.copied(evidence, nobody)
    for one, two in zip(alone, shared, strict=True):
        assert torch.equal(one, two)


def drawn(pairs, told, draws):
    """The alleles (X, 2, K) that one individual copies, by draws (X, K) from the paths of all pairs of states."""
    alleles, states = pairs.alleles[0].long(), pairs.alleles.shape[1]
    right = torch.tensor([1 - pairs.error, pairs.error]).double()
    by_one = torch.stack([right, right.flip(0)])  # of a copied allele, what it is read as
    seen = [torch.outer(by_one[a], by_one[b]).flatten() for a in range(2) for b in range(2)]
    seen = (
        torch.stack(seen) @ told.double()[:, [0, 1, 1, 2]].T
    )  # by the pair of copied alleles (4, K)
    forward = []
    for k, stay in enumerate(pairs.stay.double().tolist()):
        move = torch.full((states, states), (1 - stay) / states).double() + stay * torch.eye(states)
        here = move.T @ forward[-1] @ move if k else torch.ones(states, states).double()
        here = here * seen[2 * alleles[:, None, k] + alleles[None, :, k], k]
        forward.append(here / here.sum())
    paths = torch.zeros(len(draws), 2, len(forward))
    for x, numbers in enumerate(draws):
        weight = forward[-1]
        for k in range(len(forward) - 1, -1, -1):
            total = weight.flatten().cumsum(0)
            i, j = divmod(int((total < total[-1] * float(numbers[k])).sum()), states)
            paths[x, :, k] = alleles[[i, j], k]
            stay = float(pairs.stay[k])
            to_i, to_j = torch.full((2, states), (1 - stay) / states).double()
            to_i[i] += stay
            to_j[j] += stay
            weight = forward[k - 1] * to_i[:, None] * to_j
    return paths


def test_phases_are_drawn_from_the_paths_of_both_haplotypes(mosaic):
    made, alleles = mosaic
    rng = torch.Generator().manual_seed(1)
    told = likelihoods_of(alleles)[:, made.typed]
    told[::2] = (told[::2] + 0.1) * torch.rand(told[::2].shape, generator=rng)
    states = torch.rand(10, 100, generator=rng).topk(16, dim=1).indices
    draws = torch.rand(5, len(made.typed), generator=rng)
    found = Pairs(made.alleles.T[states], made.stay, made.error).paths(told, draws)
    for number in range(10):
        pairs = Pairs(made.alleles.T[states[number : number + 1]], made.stay, made.error)
        assert torch.equal(found[number].float(), drawn(pairs, told[number], draws))


def test_phases_keep_to_what_is_known(mosaic):
    made, alleles = mosaic
    told = likelihoods_of(alleles)[:, made.typed]
    one = phases(made, told, torch.full((10,), -1))
    copies = alleles.sum(1)[:, made.typed]
    for draw in one.unbind(1):
        assert torch.allclose(draw[:, 0][copies == 0], torch.tensor(0.0))
        assert torch.allclose(draw[:, 1][copies == 2], torch.tensor(1.0))
        torch.testing.assert_close(draw.sum(1)[copies == 1], torch.ones(int((copies == 1).sum())))


def test_likelihoods_are_evidence(cohort):
    """At a low depth of reads, what they make likely restores more than calls made of it one by one."""
    reference, alleles = cohort
    rng = torch.Generator().manual_seed(3)
    copies = alleles.sum(1)
    depth = torch.poisson(torch.full(copies.shape, 1.0), generator=rng).long()
    p_one = torch.tensor([0.01, 0.5, 0.99])[copies]
    ones = (torch.rand(*copies.shape, 8, generator=rng) < p_one[..., None]).long()
    ones = (ones * (torch.arange(8) < depth[..., None])).sum(2)
    p = torch.tensor([0.01, 0.5, 0.99])
    told = p ** ones[..., None] * (1 - p) ** (depth - ones)[..., None]
    unknown = torch.full_like(alleles, -1)
    no_phase = torch.zeros(10, dtype=torch.bool)
    soft = called(reference.pairs(unknown, no_phase, None, told))
    best = told.argmax(2).masked_fill(depth == 0, -1)
    hard_alleles = torch.stack([(best > 1) | (best < 0), best > 0], 1).to(torch.int8)
    hard_alleles[(best < 0)[:, None].expand_as(hard_alleles)] = -1
    hard_alleles[:, 0][best == 1] = 0
    hard = called(reference.pairs(hard_alleles, no_phase))
    right = [(found == copies).double().mean() for found in (soft, hard)]
    assert right[0] > right[1] + 0.05
    assert right[0] > 0.85


def test_of_many_known_sites_some_are_read_evenly():
    known = torch.ones(2, 10, dtype=torch.bool)
    known[1, ::2] = False
    read = _spread(known, 5)
    assert read.sum(1).tolist() == [5, 5]
    assert torch.equal(read[1], known[1])
    assert read[0].nonzero()[:, 0].diff().tolist() == [2, 2, 2, 2]
