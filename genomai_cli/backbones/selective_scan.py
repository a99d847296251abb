"""The selective scan of Mamba (Gu and Dao 2023, arXiv:2312.00752, algorithm 2): a state space whose steps depend on
the input.

    x_t = exp(delta_t A) x_{t-1} + delta_t u_t B_t        y_t = C_t x_t

A state (E, N) a direction moves along the sequence. On a GPU `mamba_ssm`'s kernel computes it where that is installed
and no state is carried. Elsewhere what does not depend on the state is made for a chunk of steps at once, in memory of
a fixed size, and one multiplication with addition is left for each step; the gradient walks the chunks backwards, and
makes their states again.

Shape suffixes: B sequences, T steps, G directions, each with an A of its own, E channels of a direction, N states of a
channel; C steps of a chunk.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None

NUMBERS_PER_CHUNK = 1 << 18  # of a buffer: 1 MB, which stays in a processor's cache


class Steps(NamedTuple):
    """The inputs of a scan: u and delta > 0 (B, T, G, E), A < 0 (G, E, N), B and C (B, T, G, N)."""

    u: Tensor
    delta: Tensor
    a: Tensor
    b: Tensor
    c: Tensor


def selective_scan(steps: Steps, state_BGEN: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """y (B, T, G, E), and the state after the last step (B, G, E, N); begins with the given state, or with 0."""
    if selective_scan_fn is not None and steps.u.is_cuda and state_BGEN is None:
        return _fused_scan(steps)
    if state_BGEN is None:
        batch, _, groups, channels = steps.u.shape
        state_BGEN = steps.u.new_zeros(batch, groups, channels, steps.a.shape[-1])
    found: tuple[Tensor, Tensor] = ChunkedScan.apply(*steps, state_BGEN)  # type: ignore[no-untyped-call]
    return found


def plain_scan(steps: Steps, state_BGEN: Tensor) -> tuple[Tensor, Tensor]:
    """The same by the definition, step by step, which tests and benchmarks compare with."""
    found = []
    for t in range(steps.u.shape[1]):
        delta_BGE1, u_BGE1 = steps.delta[:, t, :, :, None], steps.u[:, t, :, :, None]
        given_BGEN = delta_BGE1 * u_BGE1 * steps.b[:, t, :, None, :]
        state_BGEN = torch.exp(delta_BGE1 * steps.a) * state_BGEN + given_BGEN
        found.append((state_BGEN * steps.c[:, t, :, None, :]).sum(-1))
    return torch.stack(found, dim=1), state_BGEN


class ChunkedScan(torch.autograd.Function):
    """`selective_scan` by chunks; of the states, those between chunks are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From the five tensors of `Steps` and the first state."""
        steps, state_BGEN = Steps(*inputs[:5]), inputs[5]
        y_BTGE, starts = torch.empty_like(steps.u), []
        decay, states = _buffers(steps, 2)
        for where, part in _chunks(steps):
            starts.append(state_BGEN)
            states_CBGEN = _states(part, state_BGEN, decay, states)[1]
            y_BTGE[:, where] = torch.einsum("cbgen,bcgn->bcge", states_CBGEN, part.c)
            state_BGEN = states_CBGEN[-1].clone()
        ctx.save_for_backward(*steps, *starts)
        return y_BTGE, state_BGEN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BTGE: Tensor, dstate_BGEN: Tensor) -> tuple[Tensor, ...]:
        """The gradients of all six inputs."""
        steps, starts = Steps(*ctx.saved_tensors[:5]), ctx.saved_tensors[5:]
        found = Steps(*(torch.zeros_like(tensor) for tensor in steps))
        buffers = _buffers(steps, 4)
        for (where, part), start_BGEN in zip(
            reversed(list(_chunks(steps))), reversed(starts), strict=True
        ):
            ends = start_BGEN, dy_BTGE[:, where], dstate_BGEN
            own, dstate_BGEN = _gradients(part, *ends, buffers)
            found.a.add_(own.a)
            for whole, of_chunk in zip(found, own, strict=True):
                if whole is not found.a:
                    whole[:, where] = of_chunk
        return *found, dstate_BGEN


def _size(steps: Steps) -> int:
    """How many steps a chunk has."""
    return max(1, NUMBERS_PER_CHUNK // max(1, steps.u.shape[0] * steps.a.numel()))


def _chunks(steps: Steps) -> Iterator[tuple[slice, Steps]]:
    """The steps in chunks whose states fit into a buffer."""
    size = _size(steps)
    for first in range(0, steps.u.shape[1], size):
        where = slice(first, first + size)
        of = (steps.u[:, where], steps.delta[:, where], steps.a)
        yield where, Steps(*of, steps.b[:, where], steps.c[:, where])


def _buffers(steps: Steps, count: int) -> list[Tensor]:
    """Memory for chunks (C, B, G, E, N), which all of them use: fresh pages would cost more than the sums."""
    shape = min(_size(steps), steps.u.shape[1]), len(steps.u), *steps.a.shape
    return [steps.u.new_empty(shape) for _ in range(count)]


def _states(
    part: Steps, start_BGEN: Tensor, decay: Tensor, states: Tensor
) -> tuple[Tensor, Tensor]:
    """The decays exp(delta A) and the states after each step, both (C, B, G, E, N), written into two buffers."""
    length = part.u.shape[1]
    delta_CBGE1 = part.delta.transpose(0, 1).unsqueeze(-1)
    decay_CBGEN = torch.mul(delta_CBGE1, part.a, out=decay[:length]).exp_()
    given_CBGE1 = delta_CBGE1 * part.u.transpose(0, 1).unsqueeze(-1)
    b_CBG1N = part.b.transpose(0, 1).unsqueeze(-2)
    states_CBGEN = torch.mul(given_CBGE1, b_CBG1N, out=states[:length])
    _accumulate(states_CBGEN.unbind(), decay_CBGEN.unbind(), start_BGEN)
    return decay_CBGEN, states_CBGEN


def _accumulate(given: Sequence[Tensor], decay: Sequence[Tensor], state: Tensor) -> None:
    """x_t = given_t + decay_t x_{t-1}, written over what was given."""
    for given_BGEN, decay_BGEN in zip(given, decay, strict=True):
        state = torch.addcmul(given_BGEN, decay_BGEN, state, out=given_BGEN)


def _gradients(
    part: Steps, start_BGEN: Tensor, dy_BCGE: Tensor, dlast_BGEN: Tensor, buffers: Sequence[Tensor]
) -> tuple[Steps, Tensor]:
    """The gradients of a chunk's inputs, and of the state that it begins with; `dlast` is that of its last state."""
    decay_CBGEN, states_CBGEN = _states(part, start_BGEN, *buffers[:2])
    length = part.u.shape[1]
    # g_t = C_t dy_t + decay_{t+1} g_{t+1} is the gradient of the state after step t.
    dy_CBGE1, c_CBG1N = dy_BCGE.transpose(0, 1).unsqueeze(-1), part.c.transpose(0, 1).unsqueeze(-2)
    g_CBGEN = torch.mul(dy_CBGE1, c_CBG1N, out=buffers[2][:length])
    g_CBGEN[-1] += dlast_BGEN
    _accumulate(g_CBGEN.unbind()[-2::-1], decay_CBGEN.unbind()[:0:-1], g_CBGEN[-1])
    log_decay_CBGEN = torch.mul(decay_CBGEN, g_CBGEN, out=buffers[3][:length])
    log_decay_CBGEN[0] *= start_BGEN
    log_decay_CBGEN[1:] *= states_CBGEN[:-1]  # the gradient of delta A
    by_given_BCGE = torch.einsum("cbgen,bcgn->bcge", g_CBGEN, part.b)
    given_BCGE = part.delta * part.u
    found = Steps(
        part.delta * by_given_BCGE,
        part.u * by_given_BCGE + torch.einsum("cbgen,gen->bcge", log_decay_CBGEN, part.a),
        torch.einsum("cbgen,bcge->gen", log_decay_CBGEN, part.delta),
        torch.einsum("cbgen,bcge->bcgn", g_CBGEN, given_BCGE),
        torch.einsum("cbgen,bcge->bcgn", states_CBGEN, dy_BCGE),
    )
    return found, decay_CBGEN[0] * g_CBGEN[0]


def _fused_scan(steps: Steps) -> tuple[Tensor, Tensor]:
    """By `mamba_ssm`'s kernel, whose layout is (B, channels, T), with the directions as its groups."""
    u, delta = (tensor.flatten(2).transpose(1, 2).contiguous() for tensor in (steps.u, steps.delta))
    b, c = (tensor.permute(0, 2, 3, 1).contiguous() for tensor in (steps.b, steps.c))
    y, state = selective_scan_fn(u, delta, steps.a.flatten(0, 1), b, c, return_last_state=True)
    y_BTGE: Tensor = y.transpose(1, 2).unflatten(2, steps.u.shape[2:])
    return y_BTGE, state.unflatten(1, steps.u.shape[2:])
