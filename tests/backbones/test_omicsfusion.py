"""OmicsFUSION's design: causal, at the sizes of the presets, and its two heads for tokens."""

import pytest
import torch

from genomai_cli.backbones.base import max_length
from genomai_cli.backbones.omicsfusion import (
    INITIAL_LOGIT,
    INITIAL_REACH,
    KNOWN,
    VALUES,
    OmicsFusionConfig,
    OmicsFusionNetwork,
)
from genomai_cli.bundles.skeleton import without_memory
from genomai_cli.tokenizers.kmers import Kmers
from genomai_cli.training import recipe as recipes

SMALL = {"tracks": 3, "width": 16, "layers": 2, "feed_forward": 32, "positions": 64}


def small_network(**changes):
    torch.manual_seed(0)
    return OmicsFusionNetwork(OmicsFusionConfig(**SMALL, **changes)).eval()


def hidden_states(network, ids, values, known):
    return network(ids, features={VALUES: values, KNOWN: known}).detach()


def track_logits(network, ids, values, known):
    """The tracks' logits."""
    features = {VALUES: values, KNOWN: known}
    return network.track_logits(network(ids, features=features), features).detach()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randint(0, 4099, (2, 40)), torch.rand(2, 40, 3), torch.rand(2, 40, 3) < 0.7


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_comes_later_is_known_to_two_sided_networks_only(inputs, bidirectional, direct):
    network = small_network(bidirectional=bidirectional, direct=direct)
    torch.nn.init.normal_(network.track_head.weight)
    ids, values, known = inputs
    before = track_logits(network, ids, values, known)
    ids, values, known = ids.clone(), values.clone(), known.clone()
    ids[:, 30], values[:, 32], known[:, 32] = (ids[:, 30] + 1) % 4096, 1 - values[:, 32], True
    after = track_logits(network, ids, values, known)
    assert torch.allclose(before[:, :30], after[:, :30], atol=1e-5) is not bidirectional
    assert not torch.allclose(before[:, 30:], after[:, 30:], atol=1e-5)


@pytest.mark.parametrize("direct", [False, True])
def test_values_that_are_not_known_are_not_read(inputs, direct):
    network = small_network(direct=direct)
    ids, values, known = inputs
    other = torch.where(known, values, 1 - values)
    assert torch.equal(
        track_logits(network, ids, values, known), track_logits(network, ids, other, known)
    )


def test_directly_each_track_begins_as_it_was_last_seen():
    """A peak that was seen fades with the distance; one that was never seen adds nothing, nor do other tracks yet."""
    network = small_network(direct=True)
    values = torch.zeros(1, 40, 3)
    values[0, 10, 0] = 0.5
    known = torch.zeros(1, 40, 3, dtype=torch.bool)
    known[0, 8:11, :2] = True
    logits = network.direct(values, known.float()).detach()[0]
    peak = logits[10, 0]
    assert peak == -2 * INITIAL_LOGIT
    distances = torch.arange(30)
    assert torch.allclose(logits[10:, 0], peak * torch.exp(-distances / INITIAL_REACH))
    assert not logits[:10].any()
    assert not logits[:, 1:].any()


def test_padding_at_the_right_changes_nothing_directly(inputs):
    """Of two-sided networks too: what is not known there is not read from the other side."""
    _, values, known = inputs
    for bidirectional in (False, True):
        direct = small_network(direct=True, bidirectional=bidirectional).direct
        torch.nn.init.normal_(direct.weight)
        short = direct(values, known.float())
        padded = [torch.cat([part, torch.zeros(2, 9, 3)], 1) for part in (values, known.float())]
        assert torch.allclose(direct(*padded)[:, :40], short, atol=1e-5)


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_at_the_right_changes_nothing(inputs, bidirectional, layer):
    """A sequence has the same hidden states in any batch: what reads backward begins with its last token."""
    network, ids = small_network(bidirectional=bidirectional), inputs[0]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mask = torch.arange(40) < torch.tensor([[40], [23]])
    padded = torch.where(mask, ids, network.config.pad_id)
    with torch.inference_mode():
        both = network(padded, mask, layer=layer)
        alone = network(ids[1:, :23], layer=layer)
        assert torch.allclose(both[1:, :23], alone, atol=1e-5)
        assert torch.allclose(both[:1], network(ids[:1], layer=layer), atol=1e-5)


def test_two_sided_networks_are_not_causal():
    assert small_network().causal
    assert not small_network(bidirectional=True).causal


def test_without_features_no_track_is_known(inputs):
    network, (ids, values, known) = small_network(), inputs
    assert torch.equal(network(ids), hidden_states(network, ids, values, torch.zeros_like(known)))


def test_an_unknown_value_is_not_a_zero(inputs):
    network, (ids, values, known) = small_network(), inputs
    zero = hidden_states(network, ids, torch.zeros_like(values), torch.ones_like(known))
    assert not torch.allclose(network(ids), zero)


@pytest.mark.parametrize("factorised", [False, True])
def test_losses_and_likeliest_tokens_are_those_of_the_log_probabilities(factorised):
    network = small_network(factorised=factorised)
    head = network.lm_head(4099)
    hidden, targets = torch.randn(7, 16), torch.randint(0, 4096, (7,))
    logs = network.lm_logits(head, hidden)
    assert logs.shape == (7, 4096)
    assert torch.allclose(logs.exp().sum(1), torch.ones(7), atol=1e-4)
    losses = network.token_losses(head, hidden, targets)
    assert torch.allclose(losses, -logs.gather(1, targets[:, None])[:, 0], atol=1e-4)
    assert torch.equal(network.likeliest_tokens(head, hidden), logs.argmax(1))


def test_tokens_are_spelt_as_the_tokenizer_has_them():
    network, tokenizer = small_network(factorised=True), Kmers(6, 1)
    bases = torch.full((6, 4), -50.0)
    kmer = "GATTAC"
    for position, base in enumerate(kmer):
        bases[position, "ACGT".index(base)] = 50.0
    head = torch.nn.Linear(16, 24)
    torch.nn.init.zeros_(head.weight)
    head.bias.data = bases.flatten()
    found = network.likeliest_tokens(head, torch.zeros(1, 16))
    assert tokenizer.vocabulary[int(found)] == kmer


@pytest.mark.parametrize("width", [384, 512, 768])
def test_presets_have_the_shapes_of_the_design(width):
    recipe, _ = recipes.read(f"omicsfusion-{width}")
    config = OmicsFusionConfig(**{k: v for k, v in recipe.network.items() if k != "kind"})
    with without_memory():
        network = OmicsFusionNetwork(config)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes["omics.0.weight"] == (2 * width, 2 * 1009)
    assert shapes["omics.4.weight"] == (width, width)
    assert shapes["join.conv.weight"] == (width, 2 * width, 5)
    assert shapes["embed.table.weight"] == (4099, width)
    assert shapes["track_head.weight"] == (1009, width)
    assert network.lm_head(0).weight.shape == (4096, width)
    assert max_length(recipe.network) == 65536 == recipe.corpus.window


def test_the_tiny_preset_reads_the_same_tokens():
    recipe, _ = recipes.read("omicsfusion-tiny")
    assert recipe.tokenizer == {"kind": "kmers", "k": 6, "stride": 1}
    assert recipe.network["factorised"] is recipe.network["direct"] is True
