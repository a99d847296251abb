"""The copying model: exact against enumeration of all paths, phase, individuals left out."""

from itertools import pairwise, product

import numpy as np
import pytest
from conftest import empty_arrays

from genomai_cli import threads
from genomai_cli.population.networks import haplotype_blocks, haplotype_copying, reduced_copying
from genomai_cli.population.networks.block_layout import layout_of
from genomai_cli.population.networks.haplotype_blocks import blocks_of, refined
from genomai_cli.population.networks.haplotype_copying import (
    HaplotypeReference,
    Mosaic,
    _thinned,
    genotypes_of,
    likelihoods_of,
)
from genomai_cli.population.networks.haplotype_phases import DiploidModel, phases

INDIVIDUALS, SITES = 2, 5
POSITIONS = np.array([0.0, 4e5, 5e5, 9e5, 1.5e6])
REFERENCE = np.array(
    [[[0, 0, 1, 0, 1], [1, 0, 1, 1, 0]], [[1, 1, 0, 0, 1], [0, 1, 0, 1, 1]]], np.int8
)


def reference_of(alleles, position):
    """The reference of these haplotypes."""
    individuals, _, sites = alleles.shape
    reference = HaplotypeReference(empty_arrays(HaplotypeReference.shapes(2 * individuals, sites)))
    reference.set_haplotypes(alleles, position)
    return reference


@pytest.fixture
def reference():
    reference = reference_of(REFERENCE, POSITIONS)
    reference.rate[...], reference.error[...] = 1e-6, 0.02
    return reference


def enumerated(alleles, allowed=range(2 * INDIVIDUALS)):
    """The probability of allele 1 at each site, by the sum over all paths."""
    haplotypes, count = REFERENCE.reshape(-1, SITES), 2 * INDIVIDUALS
    stay = np.exp(-1e-6 * np.diff(POSITIONS)).tolist()
    total, ones = 0.0, np.zeros(SITES)
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
    alleles = np.full((1, 2, SITES), -1, np.int8)
    alleles[0, 0, typed] = np.array([1, 0, 1, 0, 1])[typed]
    alleles[0, 1, typed] = np.array([0, 0, 1, 1, 1])[typed]
    (pairs,) = reference.pairs(alleles, np.array([True]))
    untyped = [s for s in range(SITES) if s not in typed]
    for number, columns in enumerate(((2, 3), (1, 3))):
        found = pairs[:, list(columns)].sum(1)
        expected = enumerated(alleles[0, number].tolist())
        np.testing.assert_allclose(found[untyped], expected[untyped], atol=1e-5, rtol=0)
    np.testing.assert_allclose(pairs.sum(1), 1, rtol=1e-5)


def test_nobody_copies_oneself(reference):
    alleles = np.full((1, 2, SITES), -1, np.int8)
    alleles[..., :4] = REFERENCE[:1, :, :4]
    excluded = np.array([0])
    (pairs,) = reference.pairs(alleles, np.array([True]), excluded)
    (unrestricted,) = reference.pairs(alleles, np.array([True]))
    assert pairs[4, 2] < unrestricted[4, 2] - 0.1  # 1 | 0, as that individual has it
    linked = reference
    linked.position[4] = linked.position[3]
    (pairs,) = linked.pairs(alleles, np.array([True]), excluded)
    assert pairs[4, 3] == pytest.approx(1.0)  # both others have 1 there


def random_mosaics(rng, individuals, sites=40, founders=6):
    """Mosaics of few founders."""
    founder_alleles = rng.integers(0, 2, (founders, sites))
    switch = (rng.random((individuals, 2, sites)) < 0.01).cumsum(2)
    start = rng.integers(0, founders, (individuals, 2, 1))
    return founder_alleles[(start + switch) % founders, np.arange(sites)].astype(np.int8)


@pytest.fixture
def cohort():
    alleles = random_mosaics(np.random.default_rng(5), 60)
    reference = reference_of(alleles[:50], np.arange(40) * 1000.0)
    reference.rate[...] = 5e-5 / 100
    return reference, alleles[50:]


def mask_sites(alleles):
    masked_alleles = np.where(np.arange(40) % 3 == 0, alleles, np.int8(-1))
    return masked_alleles, np.arange(40) % 3 != 0


def called(pairs):
    return genotypes_of(pairs).argmax(2)


def test_genotypes_without_phase_are_restored_nearly_as_well(cohort):
    reference, alleles = cohort
    typed, hidden = mask_sites(alleles)
    unphased = np.where(np.random.default_rng(0).random((10, 1, 40)) < 0.5, typed, typed[:, ::-1])
    truth = alleles.sum(1)[:, hidden]
    accuracy = {}
    for phased, queries in ((True, typed), (False, unphased)):
        pairs = reference.pairs(queries, np.full(10, phased))
        accuracy[phased] = (called(pairs)[:, hidden] == truth).mean()
    most_frequent = np.rint(reference.alleles().mean(0)[hidden] * 2)
    assert accuracy[True] > 0.95
    assert accuracy[False] > 0.9 > (most_frequent == truth).mean() + 0.2


def test_the_order_of_two_alleles_without_phase_says_nothing(cohort):
    reference, alleles = cohort
    typed, _ = mask_sites(alleles)
    pairs = reference.pairs(typed, np.zeros(10, np.bool_))
    swapped = reference.pairs(typed[:, ::-1], np.zeros(10, np.bool_))
    np.testing.assert_allclose(genotypes_of(pairs), genotypes_of(swapped), atol=1e-5)


def test_an_individual_does_not_depend_on_the_others_of_its_batch(cohort):
    reference, alleles = cohort
    typed, _ = mask_sites(alleles)
    typed[3, :, :20] = -1
    typed[4] = -1
    phased = np.array([True, False] * 5)
    together = reference.pairs(typed, phased)
    for number in range(10):
        alone = reference.pairs(typed[number : number + 1], phased[number : number + 1])[0]
        np.testing.assert_allclose(together[number], alone, atol=2e-4, rtol=0)


def test_unknown_alleles_of_the_reference_count_as_the_usual_ones():
    alleles = np.array([[[1, 0], [1, -1]], [[-1, 1], [0, 0]]], np.int8)
    reference = reference_of(alleles, np.array([5.0, 9.0]))
    assert reference.alleles().tolist() == [[1, 0], [1, 0], [1, 1], [0, 0]]
    assert reference.position.tolist() == [0.0, 4.0]


def test_haplotypes_packed_part_by_part_are_all_there(monkeypatch):
    monkeypatch.setattr(haplotype_copying, "SITES_AT_ONCE", 8)
    alleles = np.random.default_rng(0).integers(0, 2, (3, 2, 21)).astype(np.int8)
    reference = reference_of(alleles, np.arange(21.0))
    assert (reference.alleles() == alleles.reshape(6, 21)).all()


def mosaic_of(reference, position, typed, rate, error):
    return Mosaic(reference, position, typed, layout_of(blocks_of(reference, typed)), rate, error)


def test_thousands_of_haplotypes_leave_no_probability_outside_0_and_1():
    rng = np.random.default_rng(2)
    reference = (rng.random((60, 4000)) < np.linspace(0, 1, 60)[:, None]).astype(np.uint8)
    reference[::7], reference[1::7] = 1, 0
    typed = np.arange(0, 60, 3)
    model = mosaic_of(reference, np.arange(60) * 100.0, typed, 1e-6, 1e-4)
    evidence = reference[typed][:, :40].T.astype(np.float32)
    probabilities = model.imputed(evidence, np.arange(40) // 2)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert model.posteriors(evidence, np.arange(40) // 2)[0].max() <= 1


@pytest.fixture
def mosaic(cohort):
    """A mosaic typed at every third site, from the second on."""
    reference, alleles = cohort
    typed = np.arange(1, 40, 3)
    columns = np.ascontiguousarray(reference.alleles().T)
    model = mosaic_of(columns, reference.position.astype(np.float64), typed, 1e-5, 0.01)
    return model, alleles


def forward_backward_by_site(model, evidence, excluded):
    """The probabilities of allele 1 at all sites and, of the other sites' evidence, at the typed ones, and the mean
    probability of each haplotype, by forward-backward over all sites and haplotypes in double precision."""
    allowed = np.ones(model.reference.shape[1])
    if excluded >= 0:
        allowed[2 * excluded : 2 * excluded + 2] = 0
    prior = allowed / allowed.sum()
    sites = len(model.position)
    stay = np.exp(-model.rate * np.diff(model.position)).tolist()
    typed = {int(site): k for k, site in enumerate(model.typed)}
    evidence = evidence.astype(np.float64)
    likely = evidence * (1 - model.error) + (1 - evidence) * model.error

    def emission(s):
        if s not in typed:
            return np.ones_like(prior)
        return np.where(model.reference[s] == 1, likely[typed[s]], 1 - likely[typed[s]])

    forward, backward = [prior], [np.ones_like(prior)]
    for s in range(1, sites):
        emitted = forward[-1] * emission(s - 1)
        forward.append(stay[s - 1] * emitted / emitted.sum() + (1 - stay[s - 1]) * prior)
        emitted_after = backward[-1] * emission(sites - s)
        backward.append(stay[-s] * emitted_after / (emitted_after @ prior) + 1 - stay[-s])
    left_out = np.stack([a * b for a, b in zip(forward, backward[::-1], strict=True)])
    posterior = left_out * np.stack([emission(s) for s in range(sites)])
    left_out, posterior = (x / x.sum(1, keepdims=True) for x in (left_out, posterior))
    share = (left_out * model.reference).sum(1)[model.typed]
    share = share * (1 - model.error) + (1 - share) * model.error
    return (posterior * model.reference).sum(1), share, posterior[model.typed].mean(0)


@pytest.mark.parametrize("excluded", [-1, 7])
@pytest.mark.parametrize("max_sites", [1, 3, 64])
@pytest.mark.parametrize("typed", [slice(None), slice(4, 5), slice(3, 9)])
def test_blocks_of_any_length_give_the_answers_of_single_haplotypes(
    mosaic, typed, max_sites, excluded, monkeypatch
):
    monkeypatch.setattr(haplotype_blocks, "MAX_BLOCK_SITES", max_sites)
    monkeypatch.setattr(haplotype_blocks, "MIN_KINDS", 100)
    model, alleles = mosaic
    model = mosaic_of(model.reference, model.position, model.typed[typed], model.rate, model.error)
    evidence = alleles[0, 0][model.typed].astype(np.float32).clip(0.05, 0.9)
    imputed = model.imputed(evidence[None], np.array([excluded]))[0]
    left_out, mass = model.posteriors(evidence[None], np.array([excluded]))
    expected, share, mean = forward_backward_by_site(model, evidence, excluded)
    np.testing.assert_allclose(imputed, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(left_out[0], share, atol=1e-5, rtol=0)
    if max_sites == 64:
        np.testing.assert_allclose(mass[0], 2 * mean, atol=1e-5, rtol=0)  # one block


def test_haplotypes_of_a_kind_are_alike_in_all_rows():
    rows = (np.random.default_rng(4).random((70, 30)) < 0.02).astype(np.uint8)
    kinds = refined(np.arange(30) % 2, rows)
    for i in range(30):
        for j in range(30):
            equal = i % 2 == j % 2 and bool((rows[:, i] == rows[:, j]).all())
            assert (kinds[i] == kinds[j]) == equal


def test_haplotypes_of_a_group_are_walked_as_if_alone(mosaic, monkeypatch):
    monkeypatch.setattr(reduced_copying, "LANES", 8)  # three groups, of which one is not full
    monkeypatch.setattr(reduced_copying, "VECTOR", 8)
    model, alleles = mosaic
    evidence = alleles.reshape(20, -1)[:, model.typed].astype(np.float32).clip(0.1, 0.8)
    excluded = np.where(np.arange(20) % 3 == 0, -1, np.arange(20))
    results = model.imputed(evidence, excluded), *model.posteriors(evidence, excluded)
    for number in range(20):
        one = evidence[number : number + 1], excluded[number : number + 1]
        alone = model.imputed(*one), *model.posteriors(*one)
        for together, (expected,) in zip(results, alone, strict=True):
            np.testing.assert_allclose(together[number], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("number", [2, 3])
def test_threads_do_not_show(mosaic, monkeypatch, number):
    monkeypatch.setattr(reduced_copying, "LANES", 4)
    monkeypatch.setattr(reduced_copying, "VECTOR", 4)
    model, alleles = mosaic
    evidence = alleles.reshape(20, -1)[:, model.typed].astype(np.float32)
    none_excluded = np.full(20, -1)
    serial = model.imputed(evidence, none_excluded), *model.posteriors(evidence, none_excluded)
    monkeypatch.setattr(threads, "count", lambda: number)
    parallel = model.imputed(evidence, none_excluded), *model.posteriors(evidence, none_excluded)
    for expected, found in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(expected, found)


def sampled_paths(pairs, likelihoods, draws):
    """The alleles (X, 2, K) that one individual copies, by draws (X, K) from the paths of all pairs of states."""
    alleles, states = pairs.alleles[0].astype(np.int64), pairs.alleles.shape[1]
    read_as = np.array([1 - pairs.error, pairs.error])
    read_given_copied = np.stack([read_as, read_as[::-1]])  # of a copied allele, what it is read as
    emissions = [
        np.outer(read_given_copied[a], read_given_copied[b]).ravel()
        for a in range(2)
        for b in range(2)
    ]
    emissions = (
        np.stack(emissions) @ likelihoods[:, [0, 1, 1, 2]].T
    )  # by the pair of copied alleles (4, K)
    forward = []
    for k, stay in enumerate(pairs.stay.tolist()):
        move = np.full((states, states), (1 - stay) / states) + stay * np.eye(states)
        state_probability = move.T @ forward[-1] @ move if k else np.ones((states, states))
        state_probability = (
            state_probability * emissions[2 * alleles[:, None, k] + alleles[None, :, k], k]
        )
        forward.append(state_probability / state_probability.sum())
    paths = np.zeros((len(draws), 2, len(forward)))
    for x, uniform in enumerate(draws):
        weight = forward[-1]
        for k in range(len(forward) - 1, -1, -1):
            total = weight.ravel().cumsum()
            i, j = divmod(int((total < total[-1] * float(uniform[k])).sum()), states)
            paths[x, :, k] = alleles[[i, j], k]
            stay = float(pairs.stay[k])
            to_i, to_j = np.full((2, states), (1 - stay) / states)
            to_i[i] += stay
            to_j[j] += stay
            weight = forward[k - 1] * to_i[:, None] * to_j
    return paths


def test_phases_are_drawn_from_the_paths_of_both_haplotypes(mosaic):
    model, alleles = mosaic
    rng = np.random.default_rng(1)
    likelihoods = likelihoods_of(alleles)[:, model.typed]
    likelihoods[::2] = (likelihoods[::2] + 0.1) * rng.random(likelihoods[::2].shape)
    states = rng.random((10, 100)).argsort(axis=1)[:, :16]
    draws = rng.random((5, len(model.typed))).astype(np.float32)
    state_alleles = np.ascontiguousarray(model.alleles.T[states])
    paths = DiploidModel(state_alleles, model.stay, model.error).paths(likelihoods, draws)
    for number in range(10):
        pairs = DiploidModel(state_alleles[number : number + 1], model.stay, model.error)
        np.testing.assert_array_equal(
            paths[number], sampled_paths(pairs, likelihoods[number], draws)
        )


def test_phases_keep_to_what_is_known(mosaic):
    model, alleles = mosaic
    likelihoods = likelihoods_of(alleles)[:, model.typed]
    evidence = phases(model, likelihoods, np.full(10, -1))
    copies = alleles.sum(1)[:, model.typed]
    for draw in np.moveaxis(evidence, 1, 0):
        np.testing.assert_allclose(draw[:, 0][copies == 0], 0)
        np.testing.assert_allclose(draw[:, 1][copies == 2], 1)
        np.testing.assert_allclose(draw.sum(1)[copies == 1], 1)


def test_likelihoods_are_evidence(cohort):
    """At a low depth of reads, what they make likely restores more than calls made of it one by one."""
    reference, alleles = cohort
    rng = np.random.default_rng(3)
    copies = alleles.sum(1)
    depth = rng.poisson(1.0, copies.shape)
    p = np.array([0.01, 0.5, 0.99])
    ones = rng.binomial(depth, p[copies])
    likelihoods = p ** ones[..., None] * (1 - p) ** (depth - ones)[..., None]
    unknown = np.full_like(alleles, -1)
    no_phase = np.zeros(10, np.bool_)
    by_likelihoods = called(
        reference.pairs(unknown, no_phase, None, likelihoods.astype(np.float32))
    )
    best = np.where(depth == 0, -1, likelihoods.argmax(2))
    called_alleles = np.stack([best > 1, best > 0], axis=1).astype(np.int8)
    called_alleles = np.where((best < 0)[:, None], np.int8(-1), called_alleles)
    by_calls = called(reference.pairs(called_alleles, no_phase))
    accuracy = [(copies_found == copies).mean() for copies_found in (by_likelihoods, by_calls)]
    assert accuracy[0] > accuracy[1] + 0.05
    assert accuracy[0] > 0.85


def test_of_many_known_sites_some_are_read_evenly():
    known = np.ones((2, 10), np.bool_)
    known[1, ::2] = False
    thinned = _thinned(known, 5)
    assert thinned.sum(1).tolist() == [5, 5]
    np.testing.assert_array_equal(thinned[1], known[1])
    assert np.diff(np.flatnonzero(thinned[0])).tolist() == [2, 2, 2, 2]
