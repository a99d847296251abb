"""Dilated convolutions over both sides: how far they see, padding, and labels."""

import pytest
import torch

from genomai_cli.backbones.dilated_convolutions import (
    DilatedConvolutionsConfig,
    DilatedConvolutionsNetwork,
)
from genomai_cli.backbones.transformer import SoftMask

SMALL = {"width": 8, "layers": 4, "taps": 3, "farthest": 4, "positions": 64}
REACH = 1 + 2 + 4 + 1  # of blocks with three taps


def small(**changes):
    torch.manual_seed(0)
    return DilatedConvolutionsNetwork(DilatedConvolutionsConfig(**SMALL | changes)).double().eval()


def ids(length=40, seed=1):
    return torch.randint(0, 4, (2, length), generator=torch.Generator().manual_seed(seed))


def test_a_token_is_seen_as_far_as_the_dilations_add_up_to_on_both_sides():
    network, original = small(), ids()
    after = original.clone()
    after[:, 20] = (after[:, 20] + 1) % 4
    changed = (network(original) - network(after)).abs().amax(dim=(0, 2)) > 1e-12
    assert changed.nonzero()[:, 0].tolist() == list(range(20 - REACH, 21 + REACH))


def test_padding_changes_nothing():
    network, real = small(conditions=3), ids()
    padded = torch.cat([real, torch.full((2, 9), 20)], dim=1)
    label = torch.tensor([1, 2])
    found = network(padded, padded != 20, condition=label)[:, :40]
    assert torch.allclose(found, network(real, condition=label))


def test_labels_say_nothing_until_they_have_learnt():
    network, tokens, label = small(conditions=3), ids(), torch.tensor([1, 2])
    assert torch.equal(network(tokens, condition=label), network(tokens))
    network(tokens, condition=label)[0].square().sum().backward()
    told = [block.label.weight.grad.abs().sum(1) > 0 for block in network.blocks]
    assert all(of.tolist() == [False, True, False] for of in told)


def test_a_token_that_is_fully_masked_is_the_mask_itself():
    network, tokens = small(), ids()
    hidden = tokens.clone()
    hidden[:, 5] = 21
    share = (hidden == 21).double()
    assert torch.allclose(network(tokens, soft_mask=SoftMask(21, share)), network(hidden))


def test_layers_are_those_on_the_way():
    network, tokens = small(), ids()
    assert torch.equal(
        network.norm(network(tokens, layer=0)),
        network.norm(network.words(tokens) + network.positions.weight[:40]),
    )
    assert torch.equal(network(tokens, layer=4), network(tokens))
    assert not torch.equal(network(tokens, layer=3), network(tokens))


@pytest.mark.parametrize("sizes", [{"taps": 4}, {"farthest": 3}, {"farthest": 0}, {"width": 0}])
def test_sizes_that_have_no_middle_or_no_end_are_refused(sizes):
    with pytest.raises(ValueError, match=r"taps|farthest|width"):
        DilatedConvolutionsConfig(**SMALL | sizes)
