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
LENGTH, LETTERS = 3, 2
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=SCHEDULES.values(), ids=lambda schedule: schedule.name)
def schedule(request):
    return request.param


@pytest.fixture
def joint():
    """A distribution over all sequences of three tokens 0 and 1, in which the tokens depend on each other."""
    weights = np.random.default_rng(3).gamma(0.7, size=(LETTERS,) * LENGTH)
    return weights / weights.sum()


def conditionals(joint, shown):
    """The exact probabilities (L, A) of each letter given the visible ones."""
    agreeing = joint.copy()
    for place, letter in enumerate(shown):
        if letter != MASKED:
            others = [slice(None)] * LENGTH
            others[place] = 1 - letter
            agreeing[tuple(others)] = 0
    agreeing /= agreeing.sum()
    axes = range(LENGTH)
    return np.stack([agreeing.sum(axis=tuple(set(axes) - {place})) for place in axes])


def exact_denoiser(joint):
    """A denoiser that knows the distribution, and asks it once for each pattern."""
    table = np.stack([conditionals(joint, shown) for shown in product((MASKED, 0, 1), repeat=3)])
    logits = torch.from_numpy(np.log(table + 1e-300))

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        assert ((keep_probability_BT > 0) == (tokens_BT != MASKED)).all()
        codes = (tokens_BT + 1) @ torch.tensor([9, 3, 1])
        return logits[codes][chosen_BT]

    return denoiser


def test_a_schedule_falls_from_everything_to_nothing(schedule):
    times = np.linspace(0, 1, 101)
    kept = schedule.alpha(times)
    assert kept[[0, -1]] == pytest.approx([1, 0], abs=1e-12)
    assert (np.diff(kept) < 0).all()


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
    letters = np.ones((3, 20000), np.int64)
    times = np.array([0.1, 0.5, 0.9])
    shown = ABSORBING.noised(letters, schedule.alpha(times), LETTERS, np.random.default_rng(2))
    assert (shown == MASKED).mean(axis=1) == pytest.approx(1 - schedule.alpha(times), abs=0.02)
    assert set(np.unique(shown)) == {MASKED, 1}


def integrated_bound(joint_of_network, word, schedule):
    """The absorbing bound of one sequence: over all patterns of masked tokens, integrated over time."""
    points, weights = np.polynomial.legendre.leggauss(60)
    times, widths = (points + 1) / 2, weights / 2
    kept, slope = (
        torch.from_numpy(values) for values in (schedule.alpha(times), schedule.derivative(times))
    )
    total = 0.0
    for hidden in product((False, True), repeat=LENGTH):
        shown = [MASKED if h else letter for h, letter in zip(hidden, word, strict=True)]
        chances = conditionals(joint_of_network, shown)
        often = (1 - kept) ** sum(hidden) * kept ** (LENGTH - sum(hidden))
        shown, truth = (torch.tensor(letters)[None] for letters in (shown, word))
        for place in ABSORBING.scored(shown, truth)[0].nonzero()[:, 0]:
            logits = torch.from_numpy(np.log(chances[place])).expand(len(times), -1)
            parts = (letters[0, place].expand(len(times)) for letters in (truth, shown))
            nats = ABSORBING.nats(logits, *parts, kept, slope)
            total += float((nats * often).numpy() @ widths)
    return total


def test_the_bound_is_the_mean_over_all_orders_of_appearance(schedule, joint):
    """With any network, here one that knows another distribution (Uria et al. 2014; Ou et al. 2024)."""
    network = np.random.default_rng(4).gamma(1.0, size=joint.shape)
    network = (network / network.sum()) ** 0.5  # not a distribution: its conditionals still are
    word = (1, 0, 1)
    nats = []
    for order in permutations(range(LENGTH)):
        shown = [MASKED] * LENGTH
        nats.append(0.0)
        for place in order:
            nats[-1] -= np.log(conditionals(network, shown)[place, word[place]])
            shown[place] = word[place]
    assert integrated_bound(network, word, schedule) == pytest.approx(np.mean(nats), rel=1e-6)


def test_the_bound_of_a_network_that_knows_everything_is_the_likelihood(schedule, joint):
    for word in product(range(LETTERS), repeat=LENGTH):
        expected = -np.log(joint[word])
        assert integrated_bound(joint, word, schedule) == pytest.approx(expected, rel=1e-6)


def test_the_absorbing_bound_weighs_by_one_over_time():
    logits = torch.tensor([[0.0, math.log(3)]]).double()
    for time, weight in ((0.25, 4.0), (1.0, 1.0)):
        parts = (
            torch.tensor([1]),
            torch.tensor([MASKED]),
            torch.tensor([1 - time]),
            torch.tensor([-1.0]),
        )
        nats = ABSORBING.nats(logits, *parts)
        assert nats.tolist() == pytest.approx([weight * math.log(4 / 3)])


def test_only_masked_tokens_that_are_known_are_scored():
    shown, truth = torch.tensor([[MASKED, MASKED, 0]]), torch.tensor([[1, MASKED, 0]])
    assert ABSORBING.scored(shown, truth).tolist() == [[True, False, False]]
    assert UNIFORM.scored(shown, truth).tolist() == [[True, False, True]]


def sampled(denoiser, seeds, schedule, steps, *, kernel=ABSORBING, known=None, **options):
    start = InitialTokens.masked(len(seeds), LENGTH, CPU)
    if known is not None:
        start = InitialTokens(known, known != MASKED)
    return kernel.sample(denoiser, start, seeds, Sampling(schedule, LETTERS, steps, **options))


def words_drawn(joint, schedule, steps, people=6000):
    seeds = [[5, number] for number in range(people)]
    return shares(sampled(exact_denoiser(joint), seeds, schedule, steps))


def shares(letters):
    """How often each sequence was drawn."""
    assert letters.min() >= 0
    counts = np.zeros((LETTERS,) * LENGTH)
    np.add.at(counts, tuple(letters.numpy().T), 1)
    return counts / len(letters)


def test_sampling_with_the_exact_denoiser_gives_the_distribution(schedule, joint):
    assert words_drawn(joint, schedule, 100) == pytest.approx(joint, abs=0.025)


def test_in_a_single_step_letters_know_nothing_of_each_other(schedule, joint):
    marginals = conditionals(joint, [MASKED] * LENGTH)
    independent = np.einsum("i,j,k->ijk", *marginals)
    assert abs(independent - joint).max() > 0.06
    assert words_drawn(joint, schedule, 1) == pytest.approx(independent, abs=0.025)


def test_a_low_temperature_gives_the_likeliest_letters(joint):
    seeds = [[6, number] for number in range(50)]
    letters = sampled(exact_denoiser(joint), seeds, LINEAR, 1, temperature=1e-3)
    likeliest = conditionals(joint, [MASKED] * LENGTH).argmax(axis=1)
    assert (letters.numpy() == likeliest).all()


def test_a_sample_depends_on_its_own_seed_only(joint):
    seeds = [[7, number] for number in range(40)]
    denoiser = exact_denoiser(joint)
    together = sampled(denoiser, seeds, LINEAR, 20)
    alone = [sampled(denoiser, [seed], LINEAR, 20) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))
    others = [[8, number] for number in range(40)]
    assert not torch.equal(together, sampled(denoiser, others, LINEAR, 20))


def test_letters_that_are_known_stay(joint):
    known = torch.tensor([[1, MASKED, 0]]).repeat(2000, 1)
    seeds = [[9, number] for number in range(2000)]
    letters = sampled(exact_denoiser(joint), seeds, LINEAR, 10, known=known)
    assert (letters[:, [0, 2]] == known[:, [0, 2]]).all()
    expected = conditionals(joint, [1, MASKED, 0])[1, 1]
    assert float(letters[:, 1].double().mean()) == pytest.approx(expected, abs=0.04)


def test_a_uniform_number_chooses_the_letter_of_its_stretch():
    chances = torch.tensor([0.2, 0.5, 0.3]).expand(4, -1)
    uniform = torch.tensor([0.1, 0.25, 0.69, 0.71])
    assert sample_categorical(chances, uniform).tolist() == [0, 1, 1, 2]


def test_tokens_of_a_group_have_numbers_evenly_apart():
    groups = np.array([0, 1, 0, 1, 0, 2])
    generators = [np.random.default_rng(seed) for seed in range(4000)]
    numbers = spaced_numbers(generators, groups, torch.zeros(1, 6)).numpy()
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.allclose(np.diff(np.sort(numbers[:, groups == 0])), 1 / 3)
    assert np.allclose(np.diff(np.sort(numbers[:, groups == 1])), 1 / 2)
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.02  # each is uniform by itself
    assert np.abs(numbers.var(axis=0) - 1 / 12).max() < 0.005
    assert np.abs(np.corrcoef(numbers.T)[5, :5]).max() < 0.06  # another group's tell nothing


def test_tokens_of_a_group_appear_one_by_one_and_keep_the_distribution(joint):
    seen = []
    exact = exact_denoiser(joint)

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        seen.append(int(chosen_BT.sum(dim=1).max()))
        return exact(tokens_BT, chosen_BT, keep_probability_BT)

    groups = np.zeros(LENGTH, np.int64)
    sampling = Sampling(LINEAR, LETTERS, LENGTH, groups=groups)
    seeds = [[11, number] for number in range(8000)]
    device = torch.device("cpu")
    found = ABSORBING.sample(denoiser, InitialTokens.masked(8000, LENGTH, device), seeds, sampling)
    assert seen == [1] * LENGTH
    counts = np.zeros(joint.shape)
    np.add.at(counts, tuple(found.numpy().T), 1 / 8000)
    assert np.abs(counts - joint).max() < 0.02  # one by one, the samples are exact


def test_guidance_moves_away_from_the_unconditional_logits():
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([0.5])
    amounts = [float(guided(conditional, unconditional, g)) for g in (0, 1, 2)]
    assert amounts == [0.5, 2.0, 3.5]


def test_from_a_time_on_letters_that_were_left_stay_and_others_are_drawn_anew(joint):
    begun = torch.tensor([[1, 0, 1]]).repeat(4000, 1)
    seeds = [[10, number] for number in range(4000)]
    start = InitialTokens(begun, torch.zeros_like(begun, dtype=torch.bool))
    seen = []
    exact = exact_denoiser(joint)

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        seen.append(float((tokens_BT == MASKED).double().mean()))
        return exact(tokens_BT, chosen_BT, keep_probability_BT)

    ABSORBING.sample(denoiser, start, seeds, Sampling(LINEAR, LETTERS, 10, start_time=0.4))
    assert seen[0] == pytest.approx(0.4, abs=0.03)  # hidden when it begins
    assert (np.diff(seen) < 0).all()


# --- the uniform kernel -------------------------------------------------------------------------


def blurring(kept):
    """The chance (A, A) that a token becomes another one until alpha is `kept`."""
    return kept * np.eye(LETTERS) + (1 - kept) / LETTERS


def blurred(joint, kept, but=None):
    """The distribution of sequences whose tokens are noised, all but one."""
    for place in range(LENGTH):
        if place != but:
            joint = np.moveaxis(np.tensordot(joint, blurring(kept), (place, 0)), -1, place)
    return joint


def others_say(joint, kept):
    """log p(token | the other tokens, noised) for every sequence that is shown and position: (2, 2, 2, L, A)."""
    told = np.empty((LETTERS,) * LENGTH + (LENGTH, LETTERS))
    for place in range(LENGTH):
        chances = np.moveaxis(blurred(joint, kept, but=place), place, -1)
        chances = chances / chances.sum(-1, keepdims=True)
        told[..., place, :] = np.moveaxis(chances[..., None, :].repeat(LETTERS, -2), -2, place)
    return np.log(told)


def uniform_bound(joint, word, schedule, points=80):
    """The uniform bound of one sequence with a network that knows everything, integrated over sequences and time."""
    nodes, widths = np.polynomial.legendre.leggauss(points)
    total = 0.0
    for time, width in zip((nodes + 1) / 2, widths / 2, strict=True):
        kept, slope = (
            float(schedule.alpha(np.array(time))),
            float(schedule.derivative(np.array(time))),
        )
        logits = torch.from_numpy(others_say(joint, kept))
        for shown in product(range(LETTERS), repeat=LENGTH):
            often = math.prod(blurring(kept)[x, z] for x, z in zip(word, shown, strict=True))
            numbers = torch.full((LENGTH,), kept).double(), torch.full((LENGTH,), slope).double()
            nats = UNIFORM.nats(logits[shown], torch.tensor(word), torch.tensor(shown), *numbers)
            total += width * often * float(nats.sum())
    return total


@pytest.mark.parametrize("word", [(0, 0, 0), (1, 0, 1)])
def test_the_uniform_bound_of_a_network_that_knows_everything_is_the_likelihood(joint, word):
    assert uniform_bound(joint, word, LINEAR) == pytest.approx(-np.log(joint[word]), rel=1e-2)


def test_the_mean_uniform_bound_of_letters_by_themselves_is_their_entropy():
    """A toy of two tokens, worked out by hand: p = (0.8, 0.2) at each of three positions."""
    joint = np.einsum("i,j,k->ijk", *[[0.8, 0.2]] * LENGTH)
    words = product(range(LETTERS), repeat=LENGTH)
    mean = sum(joint[word] * uniform_bound(joint, word, LINEAR, points=24) for word in words)
    assert mean == pytest.approx(LENGTH * 0.500402, rel=1e-2)


def test_a_wrong_prediction_costs_what_the_rates_say():
    """By hand: A = 2, alpha = 1/2, the token 1 is shown as 0, the prediction is (1/2, 1/2): r = 3, rho = 1."""
    parts = torch.tensor([1]), torch.tensor([0]), torch.tensor([0.5]), torch.tensor([-1.0])
    nats = UNIFORM.nats(torch.zeros(1, 2), *parts)
    assert nats.tolist() == pytest.approx([1 - 3 + 3 * math.log(3)])


def test_uniform_times_are_dense_near_nothing_and_weighed_by_their_pace():
    even = np.linspace(0.01, 0.99, 99)
    numeric = (UNIFORM.times(even + 1e-6) - UNIFORM.times(even - 1e-6)) / 2e-6
    assert UNIFORM.time_derivative(UNIFORM.times(even)) == pytest.approx(numeric)
    assert (UNIFORM.times(even) < even).all()
    assert (ABSORBING.time_derivative(ABSORBING.times(even)) == 1).all()


def test_tokens_are_replaced_as_often_as_the_schedule_says(schedule):
    letters = np.repeat([[0], [1], [MASKED]], 20000, axis=1)
    kept = schedule.alpha(np.array([0.3, 0.7, 0.7]))
    shown = UNIFORM.noised(letters, kept, 4, np.random.default_rng(2))
    assert (shown[:2] == letters[:2]).mean(1) == pytest.approx(
        kept[:2] + (1 - kept[:2]) / 4, abs=0.02
    )
    assert (shown[2] == MASKED).all()


def knowing(joint):
    """A denoiser that knows what the others say at any time."""

    def denoiser(tokens_BT, chosen_BT, keep_probability_BT):
        logits = torch.from_numpy(
            others_say(joint, float(keep_probability_BT[~keep_probability_BT.eq(1)].min()))
        )
        return logits[tuple(tokens_BT.T)][chosen_BT]

    return denoiser


def test_uniform_sampling_with_the_exact_denoiser_gives_the_distribution(joint):
    seeds = [[11, number] for number in range(2000)]
    letters = sampled(knowing(joint), seeds, LINEAR, 40, kernel=UNIFORM)
    assert shares(letters) == pytest.approx(joint, abs=0.04)


def test_noise_and_the_way_back_leave_the_distribution_as_it_is(joint):
    rng = np.random.default_rng(12)
    words = rng.choice(LETTERS**LENGTH, 2000, p=joint.ravel())
    begun = torch.from_numpy(np.stack(np.unravel_index(words, joint.shape), axis=1))
    start = InitialTokens(begun, torch.zeros_like(begun, dtype=torch.bool))
    seeds = [[13, number] for number in range(2000)]
    for kernel, denoiser in ((ABSORBING, exact_denoiser(joint)), (UNIFORM, knowing(joint))):
        sampling = Sampling(LINEAR, LETTERS, 40, start_time=0.5)
        letters = kernel.sample(denoiser, start, seeds, sampling)
        assert shares(letters) == pytest.approx(joint, abs=0.05)
        assert 0.1 < float((letters != begun).double().mean()) < 0.45


def test_a_step_back_is_bayes_theorem():
    """By hand: two tokens, the prediction (0.9, 0.1), alpha from 1/4 to 1/2, the token 1 is shown."""
    chance = step_back(torch.tensor([[0.9, 0.1]]), torch.tensor([1]), 0.25, 0.5)
    earlier = torch.tensor(
        [0.5 * 0.9 + 0.25, 0.5 * 0.1 + 0.25]
    )  # from 0 to 1 by 1/4, from 1 to 1 by 3/4
    expected = earlier * torch.tensor([0.25, 0.75])
    assert chance[0].tolist() == pytest.approx((expected / expected.sum()).tolist())


def test_a_uniform_sample_depends_on_its_own_seed_only_and_fixed_letters_stay(joint):
    seeds = [[14, number] for number in range(20)]
    known = torch.tensor([[MASKED, 1, MASKED]]).repeat(20, 1)
    together = sampled(knowing(joint), seeds, LINEAR, 10, kernel=UNIFORM, known=known)
    alone = [
        sampled(knowing(joint), [s], LINEAR, 10, kernel=UNIFORM, known=known[:1]) for s in seeds
    ]
    assert torch.equal(together, torch.cat(alone))
    assert (together[:, 1] == 1).all()
