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


def small_network(**changes):
    torch.manual_seed(0)
    return DilatedConvolutionsNetwork(DilatedConvolutionsConfig(**SMALL | changes)).double().eval()


def random_ids(length=40, seed=1):
    return torch.randint(0, 4, (2, length), generator=torch.Generator().manual_seed(seed))


def test_a_token_is_seen_as_far_as_the_dilations_add_up_to_on_both_sides():
    network, original = small_network(), random_ids()
    after = original.clone()
    after[:, 20] = (after[:, 20] + 1) % 4
    changed = (network(original) - network(after)).abs().amax(dim=(0, 2)) > 1e-12
    assert changed.nonzero()[:, 0].tolist() == list(range(20 - REACH, 21 + REACH))


def test_padding_changes_nothing():
    network, unpadded = small_network(conditions=3), random_ids()
    padded = torch.cat([unpadded, torch.full((2, 9), 20)], dim=1)
    label = torch.tensor([1, 2])
    found = network(padded, padded != 20, condition=label)[:, :40]
    assert torch.allclose(found, network(unpadded, condition=label))


def test_labels_change_nothing_until_they_are_trained():
    network, tokens, label = small_network(conditions=3), random_ids(), torch.tensor([1, 2])
    assert torch.equal(network(tokens, condition=label), network(tokens))
    network(tokens, condition=label)[0].square().sum().backward()
    has_gradient = [block.label.weight.grad.abs().sum(1) > 0 for block in network.blocks]
    assert all(rows.tolist() == [False, True, False] for rows in has_gradient)


def test_a_token_that_is_fully_masked_is_the_mask_itself():
    network, tokens = small_network(), random_ids()
    masked = tokens.clone()
    masked[:, 5] = 21
    mask_weight = (masked == 21).double()
    assert torch.allclose(network(tokens, soft_mask=SoftMask(21, mask_weight)), network(masked))


def test_layers_are_those_on_the_way():
    network, tokens = small_network(), random_ids()
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
