"""Causal convolutions: the sums that they stand for, whatever the block, the type and what came before."""

import pytest
import torch

from genomai_cli.backbones.convolutions import convolve, correlate, fast_length, last_tokens


def random_tensor(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference_convolution(u, taps, before=None):
    """The convolution as its definition has it."""
    history = u.new_zeros(*u.shape[:2], taps.shape[1]) if before is None else before
    padded = torch.cat([history, u], 2)
    start = history.shape[2]
    columns = []
    for t in range(start, padded.shape[2]):
        terms_count = min(taps.shape[1], t + 1)
        terms = [taps[:, j] * padded[..., t - j] for j in range(terms_count)]
        columns.append(sum(terms))
    return torch.stack(columns, 2)


@pytest.mark.parametrize("values", [1, 200, 1 << 24])
@pytest.mark.parametrize("taps", [1, 5, 40])
def test_long_filters_convolve_in_blocks_of_any_size(values, taps):
    u, filters = random_tensor(2, 6, 23), random_tensor(6, taps, seed=2)
    torch.testing.assert_close(convolve(u, filters, values), reference_convolution(u, filters))


@pytest.mark.parametrize("before", [None, 1, 3, 9])
def test_short_filters_go_on_where_a_sequence_was_cut(before):
    u, taps = random_tensor(2, 3, 7), random_tensor(3, 4, seed=2)
    history = None if before is None else random_tensor(2, 3, before, seed=3)
    torch.testing.assert_close(
        correlate(u, taps, history), reference_convolution(u, taps.flip(1), history)
    )


def test_what_a_filter_needs_of_the_past():
    u = random_tensor(1, 2, 5)
    assert torch.equal(last_tokens(u[..., 3:], 3, u[..., :3]), u[..., 2:])
    assert torch.equal(last_tokens(u[..., 3:], 9, u[..., :3]), u)
    assert last_tokens(u, 0).shape == (1, 2, 0)


def test_16_bit_types_are_computed_in_float32():
    u, taps = random_tensor(1, 2, 30).bfloat16(), random_tensor(2, 30, seed=2).bfloat16()
    exact = reference_convolution(u.float(), taps.float())
    for found in (convolve(u, taps), correlate(u, taps.flip(1))):
        torch.testing.assert_close(found, exact.bfloat16())


def test_ffts_are_long_enough_and_of_small_factors():
    for min_length in range(1, 3000):
        size = fast_length(min_length)
        assert min_length <= size <= max(2, 1.34 * min_length)
        odd = size // (size & -size)
        assert odd in (1, 3, 5)
