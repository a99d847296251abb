"""Causal convolutions of channels, each with a filter of its own: short ones directly, long ones by FFT.

Both compute in float32 at least, whatever the network's own type (FFTs have no 16-bit one), and give the type they got.

Shape suffixes: B sequences, D channels, T tokens, K taps, J tokens before the first.
"""

import torch
from torch import Tensor
from torch.nn import functional

FACTORS = (1, 3, 5)  # times a power of two: lengths for which FFTs are fast
MAX_SHIFTED_TAPS = 8  # up to which sums of shifted inputs are faster
MAX_SPECTRUM_VALUES = 1 << 24  # of a spectrum that are held at once: 128 MB


def convolve(u_BDT: Tensor, filter_DK: Tensor, max_values: int = MAX_SPECTRUM_VALUES) -> Tensor:
    """y_t = sum_j filter_j u_(t-j), (B, D, T), by FFT; `max_values` bound the memory, by blocks of channels.

    Taps beyond T are not used. FFTs are long enough that an end never meets a beginning.
    """
    batch, channels, tokens = u_BDT.shape
    dtype = torch.promote_types(u_BDT.dtype, torch.float32)
    filter_DK = filter_DK[:, :tokens].to(dtype)
    size = fast_length(tokens + filter_DK.shape[1] - 1)
    step = max(1, max_values // (batch * size))
    outputs = [
        torch.fft.irfft(
            torch.fft.rfft(u_BDT[:, start : start + step].to(dtype), n=size)
            * torch.fft.rfft(filter_DK[start : start + step], n=size),
            n=size,
        )[..., :tokens].to(u_BDT.dtype)
        for start in range(0, channels, step)
    ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def correlate(u_BDT: Tensor, taps_DK: Tensor, past_BDJ: Tensor | None = None) -> Tensor:
    """y_t = sum_j taps_j u_(t-K+1+j), (B, D, T): the last tap meets the token itself, as `torch.nn.Conv1d` has it.

    `past_BDJ` are the J tokens before the first; those that are missing are zero.
    """
    dtype = torch.promote_types(u_BDT.dtype, torch.float32)
    channels, taps = taps_DK.shape
    extended_BDT = u_BDT if past_BDJ is None else torch.cat([past_BDJ.to(u_BDT), u_BDT], dim=2)
    padded_BDT = functional.pad(extended_BDT.to(dtype), (taps - 1, 0))
    padded_BDT = padded_BDT[..., -(u_BDT.shape[2] + taps - 1) :]
    taps_DK = taps_DK.to(dtype)
    if taps > MAX_SHIFTED_TAPS:
        with torch.autocast(u_BDT.device.type, enabled=False):
            y_BDT = functional.conv1d(padded_BDT, taps_DK.unsqueeze(1), groups=channels)
        return y_BDT.to(u_BDT.dtype)
    y_BDT = padded_BDT[..., taps - 1 :] * taps_DK[:, -1:]
    for tap in range(taps - 1):  # on a CPU three times as fast as `conv1d` with groups
        shifted_BDT = padded_BDT[..., tap : tap + u_BDT.shape[2]]
        y_BDT = torch.addcmul(y_BDT, shifted_BDT, taps_DK[:, tap : tap + 1])
    return y_BDT.to(u_BDT.dtype)


def last_tokens(u_BDT: Tensor, tokens: int, past_BDJ: Tensor | None = None) -> Tensor:
    """The last `tokens` (B, D, <= tokens) of the past and u, a copy: what `correlate` needs as its past."""
    extended_BDT = u_BDT if past_BDJ is None else torch.cat([past_BDJ.to(u_BDT), u_BDT], dim=2)
    return extended_BDT[..., max(0, extended_BDT.shape[2] - tokens) :].clone()


def fast_length(min_length: int) -> int:
    """The shortest length from `min_length` on for which an FFT is fast."""
    return min(factor << max(0, (-(-min_length // factor) - 1).bit_length()) for factor in FACTORS)
