"""The selective scan as one compiled loop for a processor.

Each direction of each sequence is walked by itself, its states in the processor's nearest cache: nothing is written
but y, and for the gradient a state at the beginning of every chunk. Directions are shared out among threads.

Shape suffixes as in `selective_scan`; M is B G, the directions of all sequences, K chunks.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli import threads
from genomai_cli.backbones.compiled import compiled

CHUNK = 32  # steps whose states are made again at once for the gradient
LOG2_E = math.log2(math.e)
MAGIC = 3 * 2.0**51 + 1023
# exp2(f) for |f| <= 1/2 is a power series, cut where its next term is lost in rounding.
SERIES = [math.log(2) ** n / math.factorial(n) for n in range(14)]
SINGLE, DOUBLE = (tuple(SERIES[terms::-1]) for terms in (6, 13))

Array = NDArray[Any]


def is_compiled(*tensors: Tensor) -> bool:
    """Whether the loop can take these tensors."""
    types = {tensor.dtype for tensor in tensors}
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    return on_cpu and types in ({torch.float32}, {torch.float64})


def forward(
    u_BTGE: Tensor,
    delta_BTGE: Tensor,
    a_GEN: Tensor,
    b_BTGN: Tensor,
    c_BTGN: Tensor,
    x_BGEN: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, T, G, E), the last state (B, G, E, N), and the states (K, M, N, E) that the chunks begin with."""
    steps = [_array(tensor) for tensor in (u_BTGE, delta_BTGE, a_GEN.mT, b_BTGN, c_BTGN)]
    x_BGNE = x_BGEN.mT.clone(memory_format=torch.contiguous_format)
    y_BTGE = torch.empty(u_BTGE.shape, dtype=u_BTGE.dtype)
    chunks = -(-u_BTGE.shape[1] // CHUNK)
    starts_KMNE = x_BGNE.new_empty(chunks, *x_BGNE.flatten(0, 1).shape)
    state_MNE = x_BGNE.flatten(0, 1).numpy()
    arguments = (*steps, state_MNE, y_BTGE.numpy(), starts_KMNE.numpy())
    threads.run_strided(torch.get_num_threads(), len(state_MNE), _scan, *arguments)
    return y_BTGE, x_BGNE.mT, starts_KMNE


def backward(
    inputs: tuple[Tensor, ...], starts_KMNE: Tensor, dy_BTGE: Tensor, dx_BGEN: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of u, delta, A, B, C and of the first state."""
    u, delta, a, b, c = inputs
    steps = [_array(tensor) for tensor in (u, delta, a.mT, b, c)]
    gradients = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in (u, delta, b, c)]
    dx_BGNE = dx_BGEN.mT.clone(memory_format=torch.contiguous_format)
    dx_MNE = dx_BGNE.flatten(0, 1).numpy()
    da_BGNE = torch.zeros_like(dx_BGNE)
    output_arrays = [tensor.numpy() for tensor in (da_BGNE.flatten(0, 1), *gradients)]
    arguments = (*steps, starts_KMNE.numpy(), _array(dy_BTGE), dx_MNE, *output_arrays)
    threads.run_strided(torch.get_num_threads(), len(dx_MNE), _scan_backward, *arguments)
    du, ddelta, db, dc = gradients
    return du, ddelta, da_BGNE.sum(0).mT, db, dc, dx_BGNE.mT


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().contiguous().numpy()
    return array


def _exp(x: float) -> float:
    """exp(x) for x <= 0: of one kind or the other by the type, when compiled."""
    return math.exp(x)


def _exp_single(x: Any) -> Any:
    """2^(i + f), i put into the exponent's bits."""
    z = np.float32(-126) if x < np.float32(-87.3) else x * np.float32(LOG2_E)
    i = np.floor(z + np.float32(0.5))
    f, power = z - i, np.float32(SINGLE[0])
    for term in SINGLE[1:]:
        power = power * f + np.float32(term)
    return power * np.int32((np.int32(i) + 127) << 23).view(np.float32)


def _exp_double(x: Any) -> Any:
    z = -1022.0 if x < -708.3 else x * LOG2_E
    i = np.floor(z + 0.5)
    f, power = z - i, DOUBLE[0]
    for term in DOUBLE[1:]:
        power = power * f + term
    return power * np.int64(np.float64(i + MAGIC).view(np.int64) << 52).view(np.float64)


@overload(_exp)
def _exp_of(x: Any) -> Any:
    return _exp_single if x is numba.float32 else _exp_double


@compiled
def _scan(
    first: int, step: int, u: Array, delta: Array, a: Array, b: Array, c: Array,
    x: Array, y: Array, starts: Array,
) -> None:  # fmt: skip
    """Every `step`-th direction of M from the first on; x (M, N, E) becomes the last state."""
    groups, channels = u.shape[2:]
    for m in range(first, len(x), step):
        i, g = divmod(m, groups)
        for t in range(u.shape[1]):
            if t % CHUNK == 0:
                starts[t // CHUNK, m] = x[m]
            d, y_t = delta[i, t, g], y[i, t, g]
            input_t = d * u[i, t, g]
            y_t[:] = 0
            for n in range(x.shape[1]):
                x_n, a_n, b_n, c_n = x[m, n], a[g, n], b[i, t, g, n], c[i, t, g, n]
                for e in range(channels):
                    x_n[e] = _exp(d[e] * a_n[e]) * x_n[e] + input_t[e] * b_n
                    y_t[e] += x_n[e] * c_n


@compiled
def _scan_backward(
    first: int, step: int, u: Array, delta: Array, a: Array, b: Array, c: Array,
    starts: Array, dy: Array, dx: Array, da: Array, du: Array, ddelta: Array, db: Array, dc: Array,
) -> None:  # fmt: skip
    """The gradients; dx (M, N, E) is that of the last state, and becomes that of the first."""
    groups, channels = u.shape[2:]
    states = a.shape[1]
    x = np.empty((CHUNK + 1, states, channels), u.dtype)  # before the chunk and after each step
    decay = np.empty((CHUNK, states, channels), u.dtype)
    d_input, d_decay = np.empty(channels, u.dtype), np.empty(channels, u.dtype)
    for m in range(first, len(dx), step):
        i, g = divmod(m, groups)
        for k in range(len(starts) - 1, -1, -1):
            begin, end = k * CHUNK, min((k + 1) * CHUNK, u.shape[1])
            x[0] = starts[k, m]
            for t in range(begin, end):
                d, input_t = delta[i, t, g], delta[i, t, g] * u[i, t, g]
                for n in range(states):
                    old, new, decay_n = x[t - begin, n], x[t - begin + 1, n], decay[t - begin, n]
                    a_n, b_n = a[g, n], b[i, t, g, n]
                    for e in range(channels):
                        decay_n[e] = _exp(d[e] * a_n[e])
                        new[e] = decay_n[e] * old[e] + input_t[e] * b_n
            for t in range(end - 1, begin - 1, -1):
                d, input_t, dy_t = delta[i, t, g], delta[i, t, g] * u[i, t, g], dy[i, t, g]
                d_input[:] = 0
                d_decay[:] = 0
                for n in range(states):
                    old, new, decay_n = x[t - begin, n], x[t - begin + 1, n], decay[t - begin, n]
                    a_n, b_n, c_n = a[g, n], b[i, t, g, n], c[i, t, g, n]
                    dx_n, da_n = dx[m, n], da[m, n]
                    db_n = dc_n = u.dtype.type(0)
                    for e in range(channels):
                        dx_t = dx_n[e] + c_n * dy_t[e]
                        dc_n += new[e] * dy_t[e]
                        db_n += dx_t * input_t[e]
                        d_input[e] += dx_t * b_n
                        dx_n[e] = decay_n[e] * dx_t
                        dlog_decay = dx_n[e] * old[e]  # the gradient of delta A
                        da_n[e] += dlog_decay * d[e]
                        d_decay[e] += dlog_decay * a_n[e]
                    db[i, t, g, n], dc[i, t, g, n] = db_n, dc_n
                du[i, t, g] = d * d_input
                ddelta[i, t, g] = u[i, t, g] * d_input + d_decay
