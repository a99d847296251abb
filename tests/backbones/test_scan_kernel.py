"""The compiled loop of the selective scan: the same as step by step, with the same gradients."""

import math

import numpy as np
import pytest
import torch

from genomai_cli.backbones import scan_kernel, selective_scan
from genomai_cli.backbones.selective_scan import CompiledScan, Steps, plain_scan

SIZES = [(1, 1, 1, 2, 1), (2, 70, 3, 4, 2), (1, scan_kernel.CHUNK, 2, 5, 3)]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def inputs(sizes, kind=torch.float64, seed=0):
    batch, tokens, directions, channels, states = sizes
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(kind)

    u, delta = (draw(batch, tokens, directions, channels) for _ in range(2))
    b, c = (draw(batch, tokens, directions, states) for _ in range(2))
    a = -draw(directions, channels, states).exp()
    return Steps(u, delta.exp(), a, b, c), draw(batch, directions, channels, states)


@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_loop_gives_what_single_steps_give(sizes, kind):
    steps, state = inputs(sizes, kind)
    y, last, starts = scan_kernel.forward(*steps, state)
    for value, expected in zip((y, last), plain_scan(steps, state), strict=True):
        torch.testing.assert_close(value, expected, rtol=TOLERANCE[kind], atol=TOLERANCE[kind])
    torch.testing.assert_close(starts[0].mT.reshape(state.shape), state)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES)
def test_its_gradients_are_those_of_single_steps(sizes, kind, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    steps, state = inputs(sizes, kind)
    leaves = [tensor.requires_grad_() for tensor in (*steps, state)]

    def gradients(scan):
        y, last = scan(*leaves)
        weights = torch.linspace(-1, 1, y.numel(), dtype=kind).view(y.shape)
        return torch.autograd.grad((y * weights).sum() + last.square().sum(), leaves)

    expected = gradients(lambda *tensors: plain_scan(Steps(*tensors[:5]), tensors[5]))
    for value, plain in zip(gradients(CompiledScan.apply), expected, strict=True):
        torch.testing.assert_close(
            value, plain, rtol=TOLERANCE[kind], atol=TOLERANCE[kind] * plain.abs().max().item()
        )


@pytest.mark.parametrize(
    ("exponential", "kind", "tolerance"),
    [(scan_kernel._exp_single, np.float32, 3e-7), (scan_kernel._exp_double, np.float64, 1e-15)],
)
def test_its_exponential_is_exact_and_ends_at_zero(exponential, kind, tolerance):
    for x in np.concatenate([-np.logspace(-6, 1.8, 200), [0.0, -87.0]]).astype(kind):
        assert exponential(x) == pytest.approx(math.exp(x), rel=tolerance * max(1.0, abs(float(x))))
    assert 0 <= exponential(kind(-1e4)) < 1e-37
    with np.errstate(invalid="ignore"):
        assert np.isnan(exponential(kind(np.nan)))


def test_unknown_numbers_stay_unknown():
    steps, state = inputs(SIZES[1])
    steps.u[0, 3, 1, 2] = math.nan
    y, _, _ = scan_kernel.forward(*steps, state)
    assert torch.equal(y.isnan(), plain_scan(steps, state)[0].isnan())


def test_the_scan_takes_the_loop_for_what_it_is_compiled_for_and_chunks_elsewhere(monkeypatch):
    steps, state = inputs(SIZES[1])
    called = []
    for name in ("CompiledScan", "ChunkedScan"):
        scan = getattr(selective_scan, name)
        monkeypatch.setattr(
            selective_scan, name, type(name, (), {"apply": _recording(called, name, scan)})
        )
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        converted = Steps(*(tensor.to(kind) for tensor in steps))
        selective_scan.selective_scan(converted, state.to(kind))
    assert called == ["CompiledScan", "CompiledScan", "ChunkedScan"]


def _recording(called, name, scan):
    def apply(*tensors):
        called.append(name)
        return scan.apply(*tensors)

    return staticmethod(apply)
