"""Discrete diffusion: schedules, the bound on the likelihood, ancestral sampling."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from genomai_cli.diffusion.absorbing import HIDDEN, Draws, bound, drawn, guided, hide, sample
from genomai_cli.diffusion.schedule import EARLIEST, LINEAR, SCHEDULES, spread_times

LENGTH, LETTERS = 3, 2
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=SCHEDULES.values(), ids=lambda schedule: schedule.name)
def schedule(request):
    return request.param


@pytest.fixture
def joint():
    """A distribution over all words of three letters 0 and 1, in which the letters depend on each other."""
    weights = np.random.default_rng(3).gamma(0.7, size=(LETTERS,) * LENGTH)
    return weights / weights.sum()


def conditionals(joint, shown):
    """The exact probabilities (L, A) of each letter given the visible ones."""
    agreeing = joint.copy()
    for place, letter in enumerate(shown):
        if letter != HIDDEN:
            others = [slice(None)] * LENGTH
            others[place] = 1 - letter
            agreeing[tuple(others)] = 0
    agreeing /= agreeing.sum()
    axes = range(LENGTH)
    return np.stack([agreeing.sum(axis=tuple(set(axes) - {place})) for place in axes])


def exact_denoiser(joint):
    """A denoiser that knows the distribution, and asks it once for each pattern."""
    table = np.stack([conditionals(joint, shown) for shown in product((HIDDEN, 0, 1), repeat=3)])
    logits = torch.from_numpy(np.log(table + 1e-300))

    def denoiser(letters_BL, due_BL):
        codes = (letters_BL + 1) @ torch.tensor([9, 3, 1])
        return logits[codes][due_BL]

    return denoiser


def test_a_schedule_falls_from_everything_to_nothing(schedule):
    times = np.linspace(0, 1, 101)
    kept = schedule.kept(times)
    assert kept[[0, -1]] == pytest.approx([1, 0], abs=1e-12)
    assert (np.diff(kept) < 0).all()


def test_a_schedules_slope_is_its_derivative_and_gives_the_weight(schedule):
    times = np.linspace(0.05, 0.95, 19)
    numeric = (schedule.kept(times + 1e-6) - schedule.kept(times - 1e-6)) / 2e-6
    assert schedule.slope(times) == pytest.approx(numeric, rel=1e-6)
    assert schedule.weight(times) == pytest.approx(-numeric / (1 - schedule.kept(times)), rel=1e-6)


def test_the_linear_schedule_weighs_by_one_over_time():
    assert LINEAR.weight(np.array([0.25, 1.0])) == pytest.approx([4.0, 1.0])


@pytest.mark.parametrize("count", [1, 7, 16])
def test_times_are_spread_evenly(count):
    times = spread_times(count, np.random.default_rng(1))
    assert ((times >= EARLIEST) & (times <= 1)).all()
    unit = (times - EARLIEST) / (1 - EARLIEST)
    assert sorted((unit * count).astype(int)) == list(range(count))


def test_letters_are_hidden_as_often_as_the_schedule_says(schedule):
    letters = np.ones((3, 20000), np.int64)
    times = np.array([0.1, 0.5, 0.9])
    shown = hide(letters, times, schedule, np.random.default_rng(2))
    assert (shown == HIDDEN).mean(axis=1) == pytest.approx(1 - schedule.kept(times), abs=0.02)
    assert set(np.unique(shown)) == {HIDDEN, 1}


def integrated_bound(joint_of_network, word, schedule):
    """The bound of one word: over all patterns of hidden letters, integrated over time."""
    points, weights = np.polynomial.legendre.leggauss(60)
    times, widths = (points + 1) / 2, weights / 2
    hidden_share = 1 - schedule.kept(times)
    total = 0.0
    for hidden in product((False, True), repeat=LENGTH):
        shown = [HIDDEN if h else letter for h, letter in zip(hidden, word, strict=True)]
        chances = conditionals(joint_of_network, shown)[range(LENGTH), word]
        surprise = torch.from_numpy(-np.log(chances)).expand(len(times), -1)
        often = hidden_share ** sum(hidden) * (1 - hidden_share) ** (LENGTH - sum(hidden))
        hidden_BL = torch.tensor(hidden).expand(len(times), -1)
        everything = torch.ones_like(hidden_BL)
        weight = torch.from_numpy(schedule.weight(times))
        nats = bound(surprise, hidden_BL, weight, everything).numpy()
        total += float((nats * often * widths).sum())
    return total * LENGTH


def test_the_bound_is_the_mean_over_all_orders_of_appearance(schedule, joint):
    """With any network, here one that knows another distribution (Uria et al. 2014; Ou et al. 2024)."""
    network = np.random.default_rng(4).gamma(1.0, size=joint.shape)
    network = (network / network.sum()) ** 0.5  # not a distribution: its conditionals still are
    word = (1, 0, 1)
    nats = []
    for order in permutations(range(LENGTH)):
        shown = [HIDDEN] * LENGTH
        nats.append(0.0)
        for place in order:
            nats[-1] -= np.log(conditionals(network, shown)[place, word[place]])
            shown[place] = word[place]
    assert integrated_bound(network, word, schedule) == pytest.approx(np.mean(nats), rel=1e-6)


def test_the_bound_of_a_network_that_knows_everything_is_the_likelihood(schedule, joint):
    for word in product(range(LETTERS), repeat=LENGTH):
        expected = -np.log(joint[word])
        assert integrated_bound(joint, word, schedule) == pytest.approx(expected, rel=1e-6)


def test_unknown_letters_count_neither_as_surprise_nor_as_letters():
    surprise = torch.tensor([[2.0, 3.0, 5.0]])
    hidden = torch.tensor([[True, True, False]])
    known = torch.tensor([[True, False, True]])
    assert bound(surprise, hidden, torch.tensor([4.0]), known).tolist() == [4.0 * 2.0 / 2]


def words_drawn(joint, schedule, steps, people=6000):
    draws = Draws.of(LENGTH, [[5, number] for number in range(people)], CPU)
    letters = sample(exact_denoiser(joint), draws, schedule, steps=steps)
    assert letters.min() >= 0
    counts = np.zeros(joint.shape)
    np.add.at(counts, tuple(letters.numpy().T), 1)
    return counts / people


def test_sampling_with_the_exact_denoiser_gives_the_distribution(schedule, joint):
    assert words_drawn(joint, schedule, 100) == pytest.approx(joint, abs=0.025)


def test_in_a_single_step_letters_know_nothing_of_each_other(schedule, joint):
    marginals = conditionals(joint, [HIDDEN] * LENGTH)
    independent = np.einsum("i,j,k->ijk", *marginals)
    assert abs(independent - joint).max() > 0.06
    assert words_drawn(joint, schedule, 1) == pytest.approx(independent, abs=0.025)


def test_a_low_temperature_gives_the_likeliest_letters(joint):
    draws = Draws.of(LENGTH, [[6, number] for number in range(50)], CPU)
    letters = sample(exact_denoiser(joint), draws, LINEAR, steps=1, temperature=1e-3)
    likeliest = conditionals(joint, [HIDDEN] * LENGTH).argmax(axis=1)
    assert (letters.numpy() == likeliest).all()


def test_a_sample_depends_on_its_own_seed_only(joint):
    seeds = [[7, number] for number in range(40)]
    denoiser = exact_denoiser(joint)
    together = sample(denoiser, Draws.of(LENGTH, seeds, CPU), LINEAR, steps=20)
    alone = [sample(denoiser, Draws.of(LENGTH, [seed], CPU), LINEAR, steps=20) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))
    others = Draws.of(LENGTH, [[8, number] for number in range(40)], CPU)
    assert not torch.equal(together, sample(denoiser, others, LINEAR, steps=20))


def test_letters_that_are_known_stay(joint):
    known = torch.tensor([[1, HIDDEN, 0]]).repeat(2000, 1)
    draws = Draws.of(LENGTH, [[9, number] for number in range(2000)], CPU)
    letters = sample(exact_denoiser(joint), draws, LINEAR, steps=10, known_BL=known)
    assert (letters[:, [0, 2]] == known[:, [0, 2]]).all()
    expected = conditionals(joint, [1, HIDDEN, 0])[1, 1]
    assert float(letters[:, 1].double().mean()) == pytest.approx(expected, abs=0.04)


def test_a_uniform_number_chooses_the_letter_of_its_stretch():
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(4, -1)
    uniform = torch.tensor([0.1, 0.25, 0.69, 0.71])
    assert drawn(logits, uniform).tolist() == [0, 1, 1, 2]


def test_guidance_moves_away_from_the_unconditional_logits():
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([0.5])
    amounts = [float(guided(conditional, unconditional, g)) for g in (0, 1, 2)]
    assert amounts == [0.5, 2.0, 3.5]
