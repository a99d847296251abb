"""Diffusion of tokens: the views and loss of the objective, keep probabilities, its Markov baseline."""

import math

import numpy as np
import pytest
import torch

from genomai_cli import tokenizers
from genomai_cli.alphabet import UNKNOWN_CODE, codes_of
from genomai_cli.backbones import heads
from genomai_cli.backbones.base import build_network
from genomai_cli.backbones.transformer import SoftMask
from genomai_cli.diffusion.denoisers import NoisedTokens, TokenDenoiser
from genomai_cli.diffusion.kernel import MASKED
from genomai_cli.errors import BundleError, TrainingError
from genomai_cli.objectives.base import NO_TARGET, Alphabet, Model, SingleProcess
from genomai_cli.objectives.diffusion import TICKS, Diffusion, DiffusionSettings
from genomai_cli.population.networks.denoiser import expected_alleles
from genomai_cli.training.baselines import Markov
from genomai_cli.training.recipe import read

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = {
    "kind": "transformer",
    "width": 16,
    "heads": 2,
    "layers": 1,
    "positions": 64,
    "dropout": 0.0,
}
VOCABULARY, PAD, MASK, UNKNOWN = 4, 5, 6, 4  # of the tokenizer of characters
KERNELS = ("absorbing", "uniform")
CHARACTERS, TRIPLETS = {"kind": "characters"}, {"kind": "kmers", "k": 3, "stride": 3}


def objective_and_model(kernel, config=CHARACTERS, seed=0):
    """The objective of a kernel, a fresh network and its head."""
    tokenizer = tokenizers.from_config(config)
    torch.manual_seed(seed)
    sizes = {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}
    network = build_network(NETWORK | sizes)
    objective = Diffusion(DiffusionSettings(kernel=kernel), Alphabet(tokenizer))
    head = heads.build_auxiliary({"diffusion": objective.auxiliary()}, network)["diffusion"]
    return objective, Model(network, head, lambda ids: ids)


def rows(count=16, width=30, seed=1):
    """Random DNA, one letter unknown and one sequence shorter."""
    letters = np.frombuffer(b"ACGT", np.uint8)[
        np.random.default_rng(seed).integers(0, 4, (count, width))
    ]
    letters[0, 3], letters[1, 20:] = ord("N"), 0
    return letters


def tensors(views):
    return {name: torch.from_numpy(values) for name, values in views.items()}


@pytest.mark.parametrize("kernel", KERNELS)
def test_views_noise_tokens_and_give_the_time(kernel):
    objective, _ = objective_and_model(kernel)
    views = objective.views(rows(), np.random.default_rng(3))
    again = objective.views(rows(), np.random.default_rng(3))
    assert all((views[name] == again[name]).all() for name in views)
    ids, truth = views["ids"], views["targets"]
    assert (ids[0, 3], truth[0, 3]) == (UNKNOWN, NO_TARGET)
    assert set(ids[1, 20:]) == {PAD}
    assert set(truth[1, 20:]) == {NO_TARGET}
    known = truth != NO_TARGET
    changed = (ids != truth) & known
    assert (ids[changed] == MASK).all() == (kernel == "absorbing")
    late = views["time"][:, 0] / TICKS > 0.25
    assert changed[~late].mean() < changed[late].mean()


def test_the_absorbing_loss_is_the_weighted_cross_entropy_a_letter():
    for config, size, width in ((CHARACTERS, 4, 1), (TRIPLETS, 64, 3)):
        objective, model = objective_and_model("absorbing", config)
        views = tensors(objective.views(rows(), np.random.default_rng(3)))
        ids, truth = views["ids"], views["targets"]
        mask = objective.alphabet.mask(ids)  # padding is not attended to
        logits = model.network.predict_masked(model.head, ids, None, mask)[..., :size]
        cross_entropy = -logits.log_softmax(-1).gather(2, truth.clamp(min=0)[..., None])[..., 0]
        is_scored = (truth != MASKED) & (ids != truth)
        weight = TICKS / views["time"][:, 0]
        nats = weight * (cross_entropy * is_scored).sum(1) / (width * (truth != MASKED).sum(1))
        assert float(objective.loss(model, views, SingleProcess()).detach()) == pytest.approx(
            float(nats.mean().detach()), rel=1e-5
        )


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_network_that_says_nothing_has_the_loss_of_even_letters(kernel):
    """log 4 nats a letter, whatever the letters: the mean over time of the bound, here within its error."""
    objective, model = objective_and_model(kernel)
    torch.nn.init.zeros_(model.head[-1].weight)
    torch.nn.init.zeros_(model.head[-1].bias)
    views = tensors(objective.views(np.repeat(rows(), 40, axis=0), np.random.default_rng(4)))
    assert float(objective.loss(model, views, SingleProcess()).detach()) == pytest.approx(
        math.log(4), rel=0.05
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("config", [CHARACTERS, TRIPLETS], ids=["characters", "kmers"])
def test_the_loss_falls_and_gradients_reach_everything(kernel, config):
    objective, model = objective_and_model(kernel, config)
    letters = np.repeat(np.frombuffer(b"ACG" * 10, np.uint8)[None], 16, axis=0)
    parameters = [*model.network.parameters(), *model.head.parameters()]
    optimizer, losses = torch.optim.AdamW(parameters, lr=1e-2), []
    for step in range(40):
        views = tensors(objective.views(letters, np.random.default_rng(step)))
        loss = objective.loss(model, views, SingleProcess())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in parameters)
    assert np.mean(losses[-5:]) < 0.3 * losses[0]


def test_a_sequence_without_a_known_letter_has_no_loss():
    objective, model = objective_and_model("uniform")
    views = tensors(objective.views(np.full((2, 8), ord("N"), np.uint8), np.random.default_rng(1)))
    assert float(objective.loss(model, views, SingleProcess()).detach()) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tokenizer={kind='kmers', k=3, stride=1}"], "tokens that do not overlap"),
        (["network.kind=profile", "diffusion.kernel=uniform"], "kind transformer"),
    ],
)
def test_tokens_and_networks_that_cannot_be_noised_are_refused(changes, message):
    recipe, _ = read("dna-diffusion", changes[:1])
    settings = DiffusionSettings()
    if "profile" in changes[0]:
        recipe, _ = read("mito-pretrained", ["objectives={diffusion=1.0}", changes[1]])
        settings = DiffusionSettings(kernel="uniform")
    alphabet = Alphabet(tokenizers.from_config(recipe.tokenizer))
    with pytest.raises(TrainingError, match=message):
        Diffusion.check(settings, alphabet, recipe)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="absorbing, uniform"):
        DiffusionSettings(kernel="gaussian")


# --- keep probabilities ----------------------------------------------------------------------------


def test_a_fully_masked_token_is_the_masked_one_and_an_unmasked_one_itself():
    _, model = objective_and_model("uniform")
    ids = torch.tensor([[0, 1, 2, 3]])
    masked_logits = model.network.predict_masked(model.head, torch.full_like(ids, MASK))
    for masked_share, expected_logits in (
        (1.0, masked_logits),
        (0.0, model.network.predict_masked(model.head, ids)),
    ):
        soft_mask = SoftMask(MASK, torch.full(ids.shape, masked_share))
        logits = model.network.predict_masked(model.head, ids, soft_mask=soft_mask)
        assert torch.allclose(logits, expected_logits, atol=1e-6)


def test_forbidden_tokens_are_impossible():
    objective, model = objective_and_model("absorbing")
    forbidden = torch.zeros(1, 3, VOCABULARY, dtype=torch.bool)
    forbidden[0, 1, :3] = True
    denoiser = TokenDenoiser(
        model.network,
        model.head,
        NoisedTokens.of(objective.alphabet.tokenizer),
        forbidden=forbidden,
    )
    tokens = torch.full((1, 3), MASKED)
    probabilities = denoiser(tokens, tokens == MASKED, torch.zeros(1, 3)).softmax(1)
    assert probabilities[1].tolist() == [0, 0, 0, 1]
    assert (probabilities[0] > 0).all()


def test_networks_without_a_soft_mask_take_no_substitutions():
    objective, model = objective_and_model("uniform")
    network = build_network({"kind": "profile", "sites": 3, "variants": 2, "width": 4})
    tokens = NoisedTokens.of(objective.alphabet.tokenizer)
    with pytest.raises(BundleError, match="kernel uniform"):
        TokenDenoiser(network, model.head, tokens, soft_masked=True)


def test_an_allele_in_doubt_is_expected_by_bayes_theorem():
    """By hand: frequency 0.2, kept with the probability 1/2: p(1 | 1) = 0.2 * 0.75 / (0.2 * 0.75 + 0.8 * 0.25)."""
    alleles, frequency = torch.tensor([[[1, 0]]]), torch.tensor([[[0.2, 0.2]]])
    half = expected_alleles(alleles, frequency, torch.full((1, 1, 2), 0.5))
    assert half.flatten().tolist() == pytest.approx([0.15 / 0.35, 0.05 / 0.65])
    assert torch.equal(expected_alleles(alleles, frequency, torch.ones(1, 1, 2)), alleles.float())
    assert torch.allclose(expected_alleles(alleles, frequency, torch.zeros(1, 1, 2)), frequency)


# --- the Markov model ----------------------------------------------------------------------------


def test_a_markov_model_of_order_nought_is_the_letters_frequencies():
    """By hand: three A and one C, with ten letters' worth of even ones."""
    model = Markov.of([codes_of(np.frombuffer(b"AACA", np.uint8))], order=0)
    assert np.exp(model.tables[0]) == pytest.approx([5.5 / 14, 3.5 / 14, 2.5 / 14, 2.5 / 14])


def test_a_markov_model_mixes_with_the_shorter_context():
    """By hand: after A, the letters of AC AC AG are C C G, and after C twice A."""
    codes = [codes_of(np.frombuffer(text, np.uint8)) for text in (b"ACACAG",)]
    model = Markov.of(codes, order=1)
    lower_order = np.exp(model.tables[0])
    after_a = (np.array([0, 2, 1, 0]) + 10 * lower_order) / 13
    assert np.exp(model.tables[1]).reshape(4, 4)[0] == pytest.approx(after_a)
    assert np.exp(model.tables[1]).reshape(4, 4).sum(1) == pytest.approx(np.ones(4))


def test_nats_use_as_many_letters_before_as_are_known():
    rng = np.random.default_rng(5)
    model = Markov.of([rng.integers(0, 4, 5000)], order=2)
    row = np.array([[0, 1, UNKNOWN_CODE, 2, 3, 0]])
    nats = model.nats(row)[0]
    tables = model.tables
    expected = [
        tables[0][0],
        tables[1][1],
        0,
        tables[0][2],
        tables[1][2 * 4 + 3],
        tables[2][2 * 16 + 3 * 4],
    ]
    assert nats == pytest.approx([-value for value in expected])


def test_a_repeat_is_no_surprise_to_a_long_memory():
    sequence = np.tile([0, 1, 2, 3, 3, 2], 500)
    model = Markov.of([sequence], order=4)
    assert model.nats(sequence[None, :60])[0, 10:].mean() < 0.1
