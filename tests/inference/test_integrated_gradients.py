"""Integrated gradients: completeness, and what follows from the paper's axioms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomai_cli.inference.integrated_gradients import mean_gradients, path_points

SIZE = 7


def network(seed):
    """A smooth function with interactions and a layer norm, as the towers have them."""
    rng = torch.Generator().manual_seed(seed)
    first = torch.randn(SIZE, 5, generator=rng, dtype=torch.float64)
    second = torch.randn(5, generator=rng, dtype=torch.float64)

    def function(inputs_BX):
        normalized_BX = torch.nn.functional.layer_norm(inputs_BX, (SIZE,))
        return torch.nn.functional.gelu((inputs_BX + normalized_BX) @ first).tanh() @ second

    return function


def inputs(seed, count=3):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, SIZE, generator=rng, dtype=torch.float64)


def attributions_of(function, inputs_BX):
    """What each number adds to the value that the function has where all numbers are 0."""
    return inputs_BX * mean_gradients(function, inputs_BX, torch.zeros_like(inputs_BX))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_attributions_add_up_to_the_difference_from_the_baseline(seed):
    function, inputs_BX = network(seed), inputs(seed)
    attributions = attributions_of(function, inputs_BX)
    difference = function(inputs_BX) - function(torch.zeros_like(inputs_BX))
    torch.testing.assert_close(attributions.sum(1), difference, atol=1e-4, rtol=0)


def test_a_linear_function_is_divided_exactly():
    weight, inputs_BX = torch.arange(1.0, SIZE + 1, dtype=torch.float64), inputs(2)
    attributions = attributions_of(lambda x: x @ weight, inputs_BX)
    torch.testing.assert_close(attributions, weight * inputs_BX)


def test_a_number_that_does_not_matter_adds_nothing():
    attributions = attributions_of(lambda x: torch.tanh(x[:, 1:].sum(1)), inputs(3))
    assert (attributions[:, 0] == 0).all()
    assert (attributions[:, 1:] != 0).all()


def test_numbers_that_do_the_same_add_the_same():
    inputs_BX = inputs(4)
    inputs_BX[:, 1] = inputs_BX[:, 0]
    attributions = attributions_of(lambda x: torch.exp(x[:, 0] + x[:, 1]) * x[:, 2], inputs_BX)
    torch.testing.assert_close(attributions[:, 0], attributions[:, 1])


def test_at_the_baseline_the_mean_gradient_is_the_gradient():
    inputs_BX = inputs(5).requires_grad_()
    (expected,) = torch.autograd.grad(network(5)(inputs_BX).sum(), inputs_BX)
    gradients = mean_gradients(network(5), inputs_BX.detach(), inputs_BX.detach())
    torch.testing.assert_close(gradients, expected)


def test_a_part_of_a_sum_adds_its_product_with_the_mean_gradients():
    function, parts_PBX = network(6), torch.stack([inputs(seed) for seed in range(4)])
    sum_BX = parts_PBX.sum(0)
    gradients_BX = mean_gradients(function, sum_BX, torch.zeros_like(sum_BX))
    of_parts = (parts_PBX * gradients_BX).sum((0, 2))
    torch.testing.assert_close(of_parts, attributions_of(function, sum_BX).sum(1))


@pytest.mark.parametrize("others", [1, 5])
def test_an_input_is_explained_alike_among_others(others):
    inputs_BX = inputs(7, count=6)
    alone, in_batch = (attributions_of(network(7), inputs_BX[:n]) for n in (1, others + 1))
    torch.testing.assert_close(alone[0], in_batch[0])


def test_gradients_do_not_stay_enabled():
    inputs_BX = inputs(8)
    with torch.no_grad():
        attributions = attributions_of(network(8), inputs_BX)
        assert not torch.is_grad_enabled()
    assert not attributions.requires_grad
    assert not inputs_BX.requires_grad


def test_the_weights_of_the_path_sum_to_1():
    points, weights = zip(*path_points(), strict=True)
    assert sum(weights) == pytest.approx(1)
    assert sum(p * w for p, w in zip(points, weights, strict=True)) == pytest.approx(0.5)
    assert min(points) > 0
    assert max(points) < 1
