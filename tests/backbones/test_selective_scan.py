"""The selective scan: the same as step by step, in any chunks, carried on, with the same gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.backbones import scan_kernel
from genomai_cli.backbones import selective_scan as scans
from genomai_cli.backbones.selective_scan import Steps, plain_scan, selective_scan


@pytest.fixture(autouse=True)
def without_kernel(monkeypatch):
    """By chunks, as on a GPU."""
    monkeypatch.setattr(scan_kernel, "is_compiled", lambda *tensors: False)


def inputs(seed, batch=2, tokens=23, directions=3, channels=4, states=2):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    u, delta = (draw(batch, tokens, directions, channels) for _ in range(2))
    b, c = (draw(batch, tokens, directions, states) for _ in range(2))
    a = -draw(directions, channels, states).exp()
    return Steps(u, delta.exp(), a, b, c), draw(batch, directions, channels, states)


@given(st.integers(1, 2000), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_chunks_give_what_single_steps_give(numbers, tokens, seed):
    steps, state = inputs(seed, tokens=tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scans, "NUMBERS_PER_CHUNK", numbers)
        found = selective_scan(steps, state)
    for value, expected in zip(found, plain_scan(steps, state), strict=True):
        torch.testing.assert_close(value, expected)


def test_a_scan_can_be_carried_on():
    steps, state = inputs(1)
    full, last = selective_scan(steps, state)
    parts = []
    for span in (slice(0, 5), slice(5, 6), slice(6, None)):
        u, delta, b, c = (x[:, span] for x in (steps.u, steps.delta, steps.b, steps.c))
        part, state = selective_scan(Steps(u, delta, steps.a, b, c), state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), full)
    torch.testing.assert_close(state, last)


def test_without_a_state_it_begins_with_zero():
    steps, state = inputs(2)
    for found, expected in zip(selective_scan(steps), plain_scan(steps, state * 0), strict=True):
        torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_single_steps(monkeypatch):
    monkeypatch.setattr(scans, "NUMBERS_PER_CHUNK", 2 * 24 * 5)
    steps, state = inputs(3)
    leaves = [tensor.requires_grad_() for tensor in (*steps, state)]

    def gradients(scan):
        y, last = scan(Steps(*leaves[:5]), leaves[5])
        rng = torch.Generator().manual_seed(4)
        loss = sum(
            (x * torch.randn(x.shape, generator=rng, dtype=x.dtype)).sum() for x in (y, last)
        )
        return torch.autograd.grad(loss, leaves)

    for found, expected in zip(gradients(selective_scan), gradients(plain_scan), strict=True):
        torch.testing.assert_close(found, expected)
