"""Discrete diffusion: schedules, the bound on the likelihood, ancestral sampling."""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch

from genomai_cli.diffusion import KERNELS
from genomai_cli.diffusion.kernel import (
    LINEAR,
    MASKED,
    MIN_TIME,
    SCHEDULES,
    InitialTokens,
    Sampling,
    guided,
    sample_categorical,
    spaced_numbers,
    spread_times,
)
from genomai_cli.diffusion.uniform import step_back

ABSORBING, UNIFORM = KERNELS["absorbing"], KERNELS["uniform"]
LENGTH, VOCABULARY = 3, 2
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=SCHEDULES.values(), ids=lambda schedule: schedule.name)
def schedule(request):
    return request.param


@pytest.fixture
def joint():
    """A distribution over all sequences of three tokens 0 and 1, in which the tokens depend on each other."""
    weights = np.random.default_rng(3).gamma(0.7, size=(VOCABULARY,) * LENGTH)
    return weights / weights.sum()


def conditionals(joint, noised):
    """The exact probabilities (L, V) of each token given the visible ones."""
    conditional = joint.copy()
    for position, token in enumerate(noised):
        if token != MASKED:
            contradicting = [slice(None)] * LENGTH
            contradicting[position] = 1 - token
            conditional[tuple(contradicting)] = 0
    conditional /= conditional.sum()
    axes = range(LENGTH)
    return np.stack([conditional.sum(axis=tuple(set(axes) - {position})) for position in axes])


def exact_denoiser(joint):
    """A denoiser that knows the distribution; the conditionals of each pattern are computed once."""
    table = np.stack([conditionals(joint, noised) for noised in product((MASKED, 0, 1), repeat=3)])
    logits = torch.from_numpy(np.log(table + 1e-300))

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        assert ((keep_probability_BT > 0) == (tokens_BT != MASKED)).all()
        codes = (tokens_BT + 1) @ torch.tensor([9, 3, 1])
        return logits[codes][chosen_BT]

    return denoiser


def test_a_schedule_falls_from_one_to_zero(schedule):
    times = np.linspace(0, 1, 101)
    alpha = schedule.alpha(times)
    assert alpha[[0, -1]] == pytest.approx([1, 0], abs=1e-12)
    assert (np.diff(alpha) < 0).all()


def test_a_schedules_slope_is_its_derivative(schedule):
    times = np.linspace(0.05, 0.95, 19)
    numeric = (schedule.alpha(times + 1e-6) - schedule.alpha(times - 1e-6)) / 2e-6
    assert schedule.derivative(times) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("count", [1, 7, 16])
def test_times_are_spread_evenly(count):
    times = spread_times(count, np.random.default_rng(1))
    assert ((times >= MIN_TIME) & (times <= 1)).all()
    unit = (times - MIN_TIME) / (1 - MIN_TIME)
    assert sorted((unit * count).astype(int)) == list(range(count))


def test_tokens_are_masked_as_often_as_the_schedule_says(schedule):
    tokens = np.ones((3, 20000), np.int64)
    times = np.array([0.1, 0.5, 0.9])
    noised = ABSORBING.noised(tokens, schedule.alpha(times), VOCABULARY, np.random.default_rng(2))
    assert (noised == MASKED).mean(axis=1) == pytest.approx(1 - schedule.alpha(times), abs=0.02)
    assert set(np.unique(noised)) == {MASKED, 1}


def integrated_bound(joint_of_network, sequence, schedule):
    """The absorbing bound of one sequence: over all patterns of masked tokens, integrated over time."""
    points, weights = np.polynomial.legendre.leggauss(60)
    times, widths = (points + 1) / 2, weights / 2
    alpha, derivative = (
        torch.from_numpy(values) for values in (schedule.alpha(times), schedule.derivative(times))
    )
    total = 0.0
    for masked in product((False, True), repeat=LENGTH):
        noised = [
            MASKED if is_masked else token
            for is_masked, token in zip(masked, sequence, strict=True)
        ]
        probabilities = conditionals(joint_of_network, noised)
        pattern_probability = (1 - alpha) ** sum(masked) * alpha ** (LENGTH - sum(masked))
        noised, truth = (torch.tensor(tokens)[None] for tokens in (noised, sequence))
        for position in ABSORBING.scored(noised, truth)[0].nonzero()[:, 0]:
            logits = torch.from_numpy(np.log(probabilities[position])).expand(len(times), -1)
            pair = (tokens[0, position].expand(len(times)) for tokens in (truth, noised))
            nats = ABSORBING.nats(logits, *pair, alpha, derivative)
            total += float((nats * pattern_probability).numpy() @ widths)
    return total


def test_the_bound_is_the_mean_over_all_orders_of_appearance(schedule, joint):
    """With any network, here one that knows another distribution (Uria et al. 2014; Ou et al. 2024)."""
    network = np.random.default_rng(4).gamma(1.0, size=joint.shape)
    network = (network / network.sum()) ** 0.5  # not a distribution: its conditionals still are
    sequence = (1, 0, 1)
    nats = []
    for order in permutations(range(LENGTH)):
        noised = [MASKED] * LENGTH
        nats.append(0.0)
        for position in order:
            nats[-1] -= np.log(conditionals(network, noised)[position, sequence[position]])
            noised[position] = sequence[position]
    assert integrated_bound(network, sequence, schedule) == pytest.approx(np.mean(nats), rel=1e-6)


def test_the_bound_of_a_network_that_knows_everything_is_the_likelihood(schedule, joint):
    for sequence in product(range(VOCABULARY), repeat=LENGTH):
        expected = -np.log(joint[sequence])
        assert integrated_bound(joint, sequence, schedule) == pytest.approx(expected, rel=1e-6)


def test_the_absorbing_bound_weighs_by_one_over_time():
    logits = torch.tensor([[0.0, math.log(3)]]).double()
    for time, weight in ((0.25, 4.0), (1.0, 1.0)):
        arguments = (
            torch.tensor([1]),
            torch.tensor([MASKED]),
            torch.tensor([1 - time]),
            torch.tensor([-1.0]),
        )
        nats = ABSORBING.nats(logits, *arguments)
        assert nats.tolist() == pytest.approx([weight * math.log(4 / 3)])


def test_only_masked_tokens_that_are_known_are_scored():
    noised, truth = torch.tensor([[MASKED, MASKED, 0]]), torch.tensor([[1, MASKED, 0]])
    assert ABSORBING.scored(noised, truth).tolist() == [[True, False, False]]
    assert UNIFORM.scored(noised, truth).tolist() == [[True, False, True]]


def sampled(denoiser, seeds, schedule, steps, *, kernel=ABSORBING, known=None, **options):
    initial = InitialTokens.masked(len(seeds), LENGTH, CPU)
    if known is not None:
        initial = InitialTokens(known, known != MASKED)
    return kernel.sample(denoiser, initial, seeds, Sampling(schedule, VOCABULARY, steps, **options))


def sampled_frequencies(joint, schedule, steps, samples=6000):
    seeds = [[5, number] for number in range(samples)]
    return frequencies(sampled(exact_denoiser(joint), seeds, schedule, steps))


def frequencies(tokens):
    """The share of each sequence among the samples."""
    assert tokens.min() >= 0
    counts = np.zeros((VOCABULARY,) * LENGTH)
    np.add.at(counts, tuple(tokens.numpy().T), 1)
    return counts / len(tokens)


def test_sampling_with_the_exact_denoiser_gives_the_distribution(schedule, joint):
    assert sampled_frequencies(joint, schedule, 100) == pytest.approx(joint, abs=0.025)


def test_in_a_single_step_tokens_are_independent(schedule, joint):
    marginals = conditionals(joint, [MASKED] * LENGTH)
    independent = np.einsum("i,j,k->ijk", *marginals)
    assert abs(independent - joint).max() > 0.06
    assert sampled_frequencies(joint, schedule, 1) == pytest.approx(independent, abs=0.025)


def test_a_low_temperature_gives_the_likeliest_tokens(joint):
    seeds = [[6, number] for number in range(50)]
    tokens = sampled(exact_denoiser(joint), seeds, LINEAR, 1, temperature=1e-3)
    likeliest = conditionals(joint, [MASKED] * LENGTH).argmax(axis=1)
    assert (tokens.numpy() == likeliest).all()


def test_a_sample_depends_on_its_own_seed_only(joint):
    seeds = [[7, number] for number in range(40)]
    denoiser = exact_denoiser(joint)
    together = sampled(denoiser, seeds, LINEAR, 20)
    alone = [sampled(denoiser, [seed], LINEAR, 20) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))
    others = [[8, number] for number in range(40)]
    assert not torch.equal(together, sampled(denoiser, others, LINEAR, 20))


def test_known_tokens_stay(joint):
    known = torch.tensor([[1, MASKED, 0]]).repeat(2000, 1)
    seeds = [[9, number] for number in range(2000)]
    tokens = sampled(exact_denoiser(joint), seeds, LINEAR, 10, known=known)
    assert (tokens[:, [0, 2]] == known[:, [0, 2]]).all()
    expected = conditionals(joint, [1, MASKED, 0])[1, 1]
    assert float(tokens[:, 1].double().mean()) == pytest.approx(expected, abs=0.04)


def test_a_uniform_number_chooses_the_token_of_its_interval():
    probabilities = torch.tensor([0.2, 0.5, 0.3]).expand(4, -1)
    uniform = torch.tensor([0.1, 0.25, 0.69, 0.71])
    assert sample_categorical(probabilities, uniform).tolist() == [0, 1, 1, 2]


def test_tokens_of_a_group_have_numbers_evenly_apart():
    groups = np.array([0, 1, 0, 1, 0, 2])
    generators = [np.random.default_rng(seed) for seed in range(4000)]
    numbers = spaced_numbers(generators, groups, torch.zeros(1, 6)).numpy()
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.allclose(np.diff(np.sort(numbers[:, groups == 0])), 1 / 3)
    assert np.allclose(np.diff(np.sort(numbers[:, groups == 1])), 1 / 2)
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.02  # each is uniform by itself
    assert np.abs(numbers.var(axis=0) - 1 / 12).max() < 0.005
    assert np.abs(np.corrcoef(numbers.T)[5, :5]).max() < 0.06  # independent of another group's


def test_tokens_of_a_group_appear_one_by_one_and_keep_the_distribution(joint):
    max_chosen = []
    exact = exact_denoiser(joint)

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        max_chosen.append(int(chosen_BT.sum(dim=1).max()))
        return exact(tokens_BT, chosen_BT, keep_probability_BT)

    groups = np.zeros(LENGTH, np.int64)
    sampling = Sampling(LINEAR, VOCABULARY, LENGTH, groups=groups)
    seeds = [[11, number] for number in range(8000)]
    device = torch.device("cpu")
    tokens = ABSORBING.sample(denoiser, InitialTokens.masked(8000, LENGTH, device), seeds, sampling)
    assert max_chosen == [1] * LENGTH
    frequency = np.zeros(joint.shape)
    np.add.at(frequency, tuple(tokens.numpy().T), 1 / 8000)
    assert np.abs(frequency - joint).max() < 0.02  # one by one, the samples are exact


def test_guidance_moves_away_from_the_unconditional_logits():
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([0.5])
    logits = [float(guided(conditional, unconditional, guidance)) for guidance in (0, 1, 2)]
    assert logits == [0.5, 2.0, 3.5]


def test_from_a_start_time_tokens_are_noised_up_to_it_and_sampled_anew(joint):
    tokens = torch.tensor([[1, 0, 1]]).repeat(4000, 1)
    seeds = [[10, number] for number in range(4000)]
    initial = InitialTokens(tokens, torch.zeros_like(tokens, dtype=torch.bool))
    masked_shares = []
    exact = exact_denoiser(joint)

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        masked_shares.append(float((tokens_BT == MASKED).double().mean()))
        return exact(tokens_BT, chosen_BT, keep_probability_BT)

    ABSORBING.sample(denoiser, initial, seeds, Sampling(LINEAR, VOCABULARY, 10, start_time=0.4))
    assert masked_shares[0] == pytest.approx(0.4, abs=0.03)  # masked at the start
    assert (np.diff(masked_shares) < 0).all()


# --- the uniform kernel -------------------------------------------------------------------------


def transition_matrix(alpha):
    """The probabilities (V, V) that a token is replaced by another one until `alpha` is reached."""
    return alpha * np.eye(VOCABULARY) + (1 - alpha) / VOCABULARY


def noised_joint(joint, alpha, excluded=None):
    """The distribution of sequences whose tokens are noised, all but the excluded one."""
    for position in range(LENGTH):
        if position != excluded:
            joint = np.moveaxis(
                np.tensordot(joint, transition_matrix(alpha), (position, 0)), -1, position
            )
    return joint


def log_conditionals(joint, alpha):
    """log p(token | the other tokens, noised) for every noised sequence and position: (2, 2, 2, L, V)."""
    probabilities = np.empty((VOCABULARY,) * LENGTH + (LENGTH, VOCABULARY))
    for position in range(LENGTH):
        conditional = np.moveaxis(noised_joint(joint, alpha, excluded=position), position, -1)
        conditional = conditional / conditional.sum(-1, keepdims=True)
        probabilities[..., position, :] = np.moveaxis(
            conditional[..., None, :].repeat(VOCABULARY, -2), -2, position
        )
    return np.log(probabilities)


def uniform_bound(joint, sequence, schedule, points=80):
    """The uniform bound of one sequence with a network that knows everything, integrated over sequences and time."""
    nodes, widths = np.polynomial.legendre.leggauss(points)
    total = 0.0
    for time, width in zip((nodes + 1) / 2, widths / 2, strict=True):
        alpha, derivative = (
            float(schedule.alpha(np.array(time))),
            float(schedule.derivative(np.array(time))),
        )
        logits = torch.from_numpy(log_conditionals(joint, alpha))
        for noised in product(range(VOCABULARY), repeat=LENGTH):
            probability = math.prod(
                transition_matrix(alpha)[x, z] for x, z in zip(sequence, noised, strict=True)
            )
            terms = (
                torch.full((LENGTH,), alpha).double(),
                torch.full((LENGTH,), derivative).double(),
            )
            nats = UNIFORM.nats(
                logits[noised], torch.tensor(sequence), torch.tensor(noised), *terms
            )
            total += width * probability * float(nats.sum())
    return total


@pytest.mark.parametrize("sequence", [(0, 0, 0), (1, 0, 1)])
def test_the_uniform_bound_of_a_network_that_knows_everything_is_the_likelihood(joint, sequence):
    assert uniform_bound(joint, sequence, LINEAR) == pytest.approx(
        -np.log(joint[sequence]), rel=1e-2
    )


def test_the_mean_uniform_bound_of_independent_tokens_is_their_entropy():
    """A toy of two tokens, worked out by hand: p = (0.8, 0.2) at each of three positions."""
    joint = np.einsum("i,j,k->ijk", *[[0.8, 0.2]] * LENGTH)
    sequences = product(range(VOCABULARY), repeat=LENGTH)
    mean = sum(
        joint[sequence] * uniform_bound(joint, sequence, LINEAR, points=24)
        for sequence in sequences
    )
    assert mean == pytest.approx(LENGTH * 0.500402, rel=1e-2)


def test_a_wrong_prediction_costs_what_the_rates_say():
    """By hand: V = 2, alpha = 1/2, the token 1 is noised to 0, the prediction is (1/2, 1/2): r = 3, rho = 1."""
    arguments = torch.tensor([1]), torch.tensor([0]), torch.tensor([0.5]), torch.tensor([-1.0])
    nats = UNIFORM.nats(torch.zeros(1, 2), *arguments)
    assert nats.tolist() == pytest.approx([1 - 3 + 3 * math.log(3)])


def test_uniform_times_are_dense_near_zero_and_weighted_by_their_derivative():
    even = np.linspace(0.01, 0.99, 99)
    numeric = (UNIFORM.times(even + 1e-6) - UNIFORM.times(even - 1e-6)) / 2e-6
    assert UNIFORM.time_derivative(UNIFORM.times(even)) == pytest.approx(numeric)
    assert (UNIFORM.times(even) < even).all()
    assert (ABSORBING.time_derivative(ABSORBING.times(even)) == 1).all()


def test_tokens_are_replaced_as_often_as_the_schedule_says(schedule):
    tokens = np.repeat([[0], [1], [MASKED]], 20000, axis=1)
    alpha = schedule.alpha(np.array([0.3, 0.7, 0.7]))
    noised = UNIFORM.noised(tokens, alpha, 4, np.random.default_rng(2))
    assert (noised[:2] == tokens[:2]).mean(1) == pytest.approx(
        alpha[:2] + (1 - alpha[:2]) / 4, abs=0.02
    )
    assert (noised[2] == MASKED).all()


def exact_uniform_denoiser(joint):
    """A denoiser that knows the distribution of each token given the noised others, at any time."""

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        logits = torch.from_numpy(
            log_conditionals(joint, float(keep_probability_BT[~keep_probability_BT.eq(1)].min()))
        )
        return logits[tuple(tokens_BT.T)][chosen_BT]

    return denoiser


def test_uniform_sampling_with_the_exact_denoiser_gives_the_distribution(joint):
    seeds = [[11, number] for number in range(2000)]
    tokens = sampled(exact_uniform_denoiser(joint), seeds, LINEAR, 40, kernel=UNIFORM)
    assert frequencies(tokens) == pytest.approx(joint, abs=0.04)


def test_noise_and_the_way_back_leave_the_distribution_as_it_is(joint):
    rng = np.random.default_rng(12)
    indices = rng.choice(VOCABULARY**LENGTH, 2000, p=joint.ravel())
    initial_tokens = torch.from_numpy(np.stack(np.unravel_index(indices, joint.shape), axis=1))
    initial = InitialTokens(initial_tokens, torch.zeros_like(initial_tokens, dtype=torch.bool))
    seeds = [[13, number] for number in range(2000)]
    for kernel, denoiser in (
        (ABSORBING, exact_denoiser(joint)),
        (UNIFORM, exact_uniform_denoiser(joint)),
    ):
        sampling = Sampling(LINEAR, VOCABULARY, 40, start_time=0.5)
        tokens = kernel.sample(denoiser, initial, seeds, sampling)
        assert frequencies(tokens) == pytest.approx(joint, abs=0.05)
        assert 0.1 < float((tokens != initial_tokens).double().mean()) < 0.45


def test_a_step_back_is_bayes_theorem():
    """By hand: two tokens, the prediction (0.9, 0.1), alpha from 1/4 to 1/2, the noised token is 1."""
    probability = step_back(torch.tensor([[0.9, 0.1]]), torch.tensor([1]), 0.25, 0.5)
    prior = torch.tensor(
        [0.5 * 0.9 + 0.25, 0.5 * 0.1 + 0.25]
    )  # from 0 to 1 by 1/4, from 1 to 1 by 3/4
    expected = prior * torch.tensor([0.25, 0.75])
    assert probability[0].tolist() == pytest.approx((expected / expected.sum()).tolist())


def test_a_uniform_sample_depends_on_its_own_seed_only_and_fixed_tokens_stay(joint):
    seeds = [[14, number] for number in range(20)]
    known = torch.tensor([[MASKED, 1, MASKED]]).repeat(20, 1)
    together = sampled(
        exact_uniform_denoiser(joint), seeds, LINEAR, 10, kernel=UNIFORM, known=known
    )
    alone = [
        sampled(exact_uniform_denoiser(joint), [seed], LINEAR, 10, kernel=UNIFORM, known=known[:1])
        for seed in seeds
    ]
    assert torch.equal(together, torch.cat(alone))
    assert (together[:, 1] == 1).all()
