"""Causal convolutions of channels, each with a filter of its own: short ones directly, long ones by FFT.

Both compute in float32 at least, whatever the network's own type (FFTs have no 16-bit one), and give the type they got.

Shape suffixes: B sequences, D channels, T tokens, K taps, J tokens before the first.
"""

import torch
from torch import Tensor
from torch.nn import functional

FACTORS = (1, 3, 5)  # times a power of two: lengths for which FFTs are fast
FEW = 8  # taps
VALUES = 1 << 24  # of a spectrum that are held at once: 128 MB


def convolve(u_BDT: Tensor, filter_DK: Tensor, values: int = VALUES) -> Tensor:
    """y_t = sum_j filter_j u_(t-j), (B, D, T), by FFT; `values` bound the memory, by blocks of channels.

    Taps beyond T are not used. FFTs are long enough that an end never meets a beginning.
    """
    batch, channels, tokens = u_BDT.shape
    exact = torch.promote_types(u_BDT.dtype, torch.float32)
    filter_DK = filter_DK[:, :tokens].to(exact)
    size = fast_length(tokens + filter_DK.shape[1] - 1)
    step = max(1, values // (batch * size))
    found = [
        torch.fft.irfft(
            torch.fft.rfft(u_BDT[:, at : at + step].to(exact), n=size)
            * torch.fft.rfft(filter_DK[at : at + step], n=size),
            n=size,
        )[..., :tokens].to(u_BDT.dtype)
        for at in range(0, channels, step)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def correlate(u_BDT: Tensor, taps_DK: Tensor, before_BDJ: Tensor | None = None) -> Tensor:
    """y_t = sum_j taps_j u_(t-K+1+j), (B, D, T): the last tap meets the token itself, as `torch.nn.Conv1d` has it.

    `before` are the J tokens before the first; those that lack are zero.
    """
    exact = torch.promote_types(u_BDT.dtype, torch.float32)
    channels, taps = taps_DK.shape
    known_BDT = u_BDT if before_BDJ is None else torch.cat([before_BDJ.to(u_BDT), u_BDT], dim=2)
    padded_BDT = functional.pad(known_BDT.to(exact), (taps - 1, 0))
    padded_BDT = padded_BDT[..., -(u_BDT.shape[2] + taps - 1) :]
    taps_DK = taps_DK.to(exact)
    if taps > FEW:
        with torch.autocast(u_BDT.device.type, enabled=False):
            y_BDT = functional.conv1d(padded_BDT, taps_DK.unsqueeze(1), groups=channels)
        return y_BDT.to(u_BDT.dtype)
    y_BDT = padded_BDT[..., taps - 1 :] * taps_DK[:, -1:]
    for tap in range(taps - 1):  # on a CPU three times as fast as `conv1d` with groups
        shifted_BDT = padded_BDT[..., tap : tap + u_BDT.shape[2]]
        y_BDT = torch.addcmul(y_BDT, shifted_BDT, taps_DK[:, tap : tap + 1])
    return y_BDT.to(u_BDT.dtype)


def last(u_BDT: Tensor, tokens: int, before_BDJ: Tensor | None = None) -> Tensor:
    """The last so many tokens (B, D, <= tokens) of `before` and u, a copy: what `correlate` needs of the past."""
    known_BDT = u_BDT if before_BDJ is None else torch.cat([before_BDJ.to(u_BDT), u_BDT], dim=2)
    return known_BDT[..., max(0, known_BDT.shape[2] - tokens) :].clone()


def fast_length(least: int) -> int:
    """The shortest length of at least so many for which an FFT is fast."""
    return min(factor << max(0, (-(-least // factor) - 1).bit_length()) for factor in FACTORS)
