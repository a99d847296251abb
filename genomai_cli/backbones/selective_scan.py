"""The selective scan of Mamba (Gu and Dao 2023, arXiv:2312.00752, algorithm 2): a state space whose steps depend on
the input.

    x_t = exp(delta_t A) x_{t-1} + delta_t u_t B_t        y_t = C_t x_t

A state (E, N) a direction moves along the sequence. On a GPU `mamba_ssm`'s kernel computes it where that is installed
and no state is carried, on a CPU a compiled loop (`scan_kernel`). Elsewhere what does not depend on
the state is made for a chunk of steps at once, in memory of a fixed size, and one multiplication with addition is left
for each step. The gradient walks chunks backwards, and makes their states again.

Shape suffixes: B sequences, T steps, G directions, each with an A of its own, E channels of a direction, N states of a
channel; C steps of a chunk.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomai_cli.backbones import scan_kernel

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None

NUMBERS_PER_CHUNK = 1 << 17  # of a buffer: 1 MB at most; two of them stay in a processor's cache


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
    scan = CompiledScan if scan_kernel.is_compiled(*steps, state_BGEN) else ChunkedScan
    found: tuple[Tensor, Tensor] = scan.apply(*steps, state_BGEN)  # type: ignore[no-untyped-call]
    return found


def plain_scan(steps: Steps, state_BGEN: Tensor) -> tuple[Tensor, Tensor]:
    """The same by the definition, step by step, which tests and benchmarks compare with."""
    outputs = []
    for t in range(steps.u.shape[1]):
        delta_BGE1, u_BGE1 = steps.delta[:, t, :, :, None], steps.u[:, t, :, :, None]
        input_BGEN = delta_BGE1 * u_BGE1 * steps.b[:, t, :, None, :]
        state_BGEN = torch.exp(delta_BGE1 * steps.a) * state_BGEN + input_BGEN
        outputs.append((state_BGEN * steps.c[:, t, :, None, :]).sum(-1))
    return torch.stack(outputs, dim=1), state_BGEN


class CompiledScan(torch.autograd.Function):
    """`selective_scan` by the compiled loop."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From the five tensors of `Steps` and the first state."""
        y_BTGE, state_BGEN, starts = scan_kernel.forward(*inputs)
        ctx.save_for_backward(*inputs[:5], starts)
        return y_BTGE, state_BGEN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BTGE: Tensor, dstate_BGEN: Tensor) -> tuple[Tensor, ...]:
        """The gradients of all six inputs."""
        *steps, starts = ctx.saved_tensors
        return scan_kernel.backward(tuple(steps), starts, dy_BTGE, dstate_BGEN)


class ChunkedScan(torch.autograd.Function):
    """`selective_scan` by chunks; of the states, those between chunks are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """From the five tensors of `Steps` and the first state."""
        steps, state_BGNE = Steps(*inputs[:5]), inputs[5].mT.contiguous()
        y_BTGE, starts = torch.empty_like(steps.u), []
        decay, states = _buffers(steps, 2)
        for span, chunk in _chunks(steps):
            starts.append(state_BGNE)
            states_CBGNE = _states(chunk, state_BGNE, decay, states)[1]
            state_BGNE = states_CBGNE[-1].clone()
            y_CBG1E = chunk.c.transpose(0, 1).unsqueeze(-2) @ states_CBGNE
            y_BTGE[:, span] = y_CBG1E.squeeze(-2).transpose(0, 1)
        ctx.save_for_backward(*steps, *starts)
        return y_BTGE, state_BGNE.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BTGE: Tensor, dstate_BGEN: Tensor) -> tuple[Tensor, ...]:
        """The gradients of all six inputs."""
        steps, starts = Steps(*ctx.saved_tensors[:5]), ctx.saved_tensors[5:]
        gradients = Steps(*(torch.zeros_like(tensor) for tensor in steps))
        buffers, dstate_BGNE = _buffers(steps, 4), dstate_BGEN.mT
        for (span, chunk), start_BGNE in zip(
            reversed(list(_chunks(steps))), reversed(starts), strict=True
        ):
            chunk_ends = start_BGNE, dy_BTGE[:, span], dstate_BGNE
            chunk_gradients, dstate_BGNE = _gradients(chunk, *chunk_ends, buffers)
            gradients.a.add_(chunk_gradients.a)
            for total, chunk_part in zip(gradients, chunk_gradients, strict=True):
                if total is not gradients.a:
                    total[:, span] = chunk_part.transpose(0, 1)
        return *gradients, dstate_BGNE.mT


def _size(steps: Steps) -> int:
    """How many steps a chunk has."""
    return max(1, NUMBERS_PER_CHUNK // max(1, steps.u.shape[0] * steps.a.numel()))


def _chunks(steps: Steps) -> Iterator[tuple[slice, Steps]]:
    """The steps in chunks whose states fit into a buffer."""
    size = _size(steps)
    for first in range(0, steps.u.shape[1], size):
        span = slice(first, first + size)
        shared = (steps.u[:, span], steps.delta[:, span], steps.a)
        yield span, Steps(*shared, steps.b[:, span], steps.c[:, span])


def _buffers(steps: Steps, count: int) -> list[Tensor]:
    """Memory for chunks (C, B, G, N, E), which all of them use: fresh pages would cost more than the sums.

    Channels come last, since there are more of them than states: the processor takes many numbers at once.
    """
    shape = min(_size(steps), steps.u.shape[1]), len(steps.u), *steps.a.mT.shape
    return [steps.u.new_empty(shape) for _ in range(count)]


def _states(
    chunk: Steps, start_BGNE: Tensor, decay: Tensor, states: Tensor
) -> tuple[Tensor, Tensor]:
    """The decays exp(delta A) and the states after each step, both (C, B, G, N, E), written into two buffers."""
    length = chunk.u.shape[1]
    delta_CBG1E = chunk.delta.transpose(0, 1).unsqueeze(-2)
    decay_CBGNE = torch.mul(delta_CBG1E, chunk.a.mT.contiguous(), out=decay[:length]).exp_()
    input_CBG1E = delta_CBG1E * chunk.u.transpose(0, 1).unsqueeze(-2)
    b_CBGN1 = chunk.b.transpose(0, 1).unsqueeze(-1)
    states_CBGNE = torch.mul(input_CBG1E, b_CBGN1, out=states[:length])
    _accumulate(states_CBGNE.unbind(), decay_CBGNE.unbind(), start_BGNE)
    return decay_CBGNE, states_CBGNE


def _accumulate(inputs: Sequence[Tensor], decay: Sequence[Tensor], state: Tensor) -> None:
    """x_t = given_t + decay_t x_{t-1}, written over the inputs."""
    for input_BGNE, decay_BGNE in zip(inputs, decay, strict=True):
        state = torch.addcmul(input_BGNE, decay_BGNE, state, out=input_BGNE)


def _gradients(
    chunk: Steps, start_BGNE: Tensor, dy_BCGE: Tensor, dlast_BGNE: Tensor, buffers: Sequence[Tensor]
) -> tuple[Steps, Tensor]:
    """The gradients of a chunk's inputs, the chunk first, and of the state that it begins with; `dlast` is that of its
    last state."""
    decay_CBGNE, states_CBGNE = _states(chunk, start_BGNE, *buffers[:2])
    length = chunk.u.shape[1]
    u, delta, b, c, dy = (
        tensor.transpose(0, 1) for tensor in (chunk.u, chunk.delta, chunk.b, chunk.c, dy_BCGE)
    )
    # g_t = C_t dy_t + decay_{t+1} g_{t+1} is the gradient of the state after step t.
    g_CBGNE = torch.mul(dy.unsqueeze(-2), c.unsqueeze(-1), out=buffers[2][:length])
    g_CBGNE[-1] += dlast_BGNE
    _accumulate(g_CBGNE.unbind()[-2::-1], decay_CBGNE.unbind()[:0:-1], g_CBGNE[-1])
    log_decay_CBGNE = torch.mul(decay_CBGNE, g_CBGNE, out=buffers[3][:length])
    log_decay_CBGNE[0] *= start_BGNE
    log_decay_CBGNE[1:] *= states_CBGNE[:-1]  # the gradient of delta A
    dfirst_BGNE = decay_CBGNE[0] * g_CBGNE[0]
    d_input = (b.unsqueeze(-2) @ g_CBGNE).squeeze(-2)
    db = (g_CBGNE @ (delta * u).unsqueeze(-1)).squeeze(-1)
    dc = (states_CBGNE @ dy.unsqueeze(-1)).squeeze(-1)
    d_decay = torch.mul(log_decay_CBGNE, chunk.a.mT, out=buffers[2][:length]).sum(-2)
    da_GNE = log_decay_CBGNE.mul_(delta.unsqueeze(-2)).sum((0, 1))
    gradients = Steps(delta * d_input, u * d_input + d_decay, da_GNE.mT, db, dc)
    return gradients, dfirst_BGNE


def _fused_scan(steps: Steps) -> tuple[Tensor, Tensor]:
    """By `mamba_ssm`'s kernel, whose layout is (B, channels, T), with the directions as its groups."""
    u, delta = (tensor.flatten(2).transpose(1, 2).contiguous() for tensor in (steps.u, steps.delta))
    b, c = (tensor.permute(0, 2, 3, 1).contiguous() for tensor in (steps.b, steps.c))
    y, state = selective_scan_fn(u, delta, steps.a.flatten(0, 1), b, c, return_last_state=True)
    y_BTGE: Tensor = y.transpose(1, 2).unflatten(2, steps.u.shape[2:])
    return y_BTGE, state.unflatten(1, steps.u.shape[2:])
