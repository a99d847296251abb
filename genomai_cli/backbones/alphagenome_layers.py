"""What the parts of AlphaGenome share: its sizes, norms, GELU, rotary positions, layers with weights for each organism.

Shape suffixes: B sequences, L positions at any resolution, C channels, O outputs, H heads, K channels of a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

HALVINGS = 7  # from bases to tokens
TOKEN_BASES = 1 << HALVINGS
BIN_TOKENS = 16
LENGTH_MULTIPLE = TOKEN_BASES * BIN_TOKENS  # of bases in an input
EPS = 1e-5
RELEASED_TRACKS = {
    "atac": 256,
    "dnase": 384,
    "procap": 128,
    "cage": 640,
    "rna_seq": 768,
    "chip_tf": 1664,
    "chip_histone": 1152,
    "contact_maps": 28,
    "splice_sites": 5,
    "splice_site_usage": 734,
    "splice_junctions": 367,
}


@dataclass(frozen=True)
class AlphaGenomeConfig:
    """Sizes; the defaults are those of the released model.

    `width` are the channels of a base, and `growth` more come with each halving; `tracks` are the outputs of each head,
    padding included; for junctions the tissues, of two tracks each, of which each organism may have fewer (`tissues`).
    """

    width: int = 768
    growth: int = 128
    blocks: int = 9
    heads: int = 8
    key_size: int = 128
    value_size: int = 192
    pair_width: int = 128
    pair_heads: int = 32
    pair_key_size: int = 128
    distances: int = 32
    max_tokens: int = 8192
    organisms: int = 2
    junction_width: int = 768
    splice_sites: int = 512
    splice_threshold: float = 0.1
    tracks: Mapping[str, int] = field(default_factory=lambda: dict(RELEASED_TRACKS))
    tissues: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tracks) - set(RELEASED_TRACKS)):
            raise ValueError(f"no head makes tracks of {unknown[0]}")
        if not self.distances <= self.max_tokens // BIN_TOKENS:
            raise ValueError("more distances than bins")

    @property
    def channels(self) -> list[int]:
        """Those at each resolution, from bases to tokens' halves."""
        return [self.width + self.growth * halving for halving in range(HALVINGS)]

    @property
    def trunk_width(self) -> int:
        """Channels of a token."""
        return self.channels[-1]


def gelu(x: Tensor) -> Tensor:
    """The trunk's approximation, x sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


class RmsBatchNorm(nn.Module):
    """x over the root of its channels' mean square, which is a running mean of those of training batches; not centred.

    In training the batch's own is used, and no gradient goes through it.
    """

    def __init__(self, channels: int, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = (
            channels_last  # whether channels are the last dimension, or the second of three
        )
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_var: Tensor
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        square_C: Tensor = self.running_var
        if self.training and len(x):  # none at all have no mean
            reduced_dims = [
                n for n in range(x.dim()) if n != (x.dim() - 1 if self.channels_last else 1)
            ]
            square_C = x.detach().square().mean(reduced_dims)
            self.running_var.lerp_(square_C.to(self.running_var), 0.1)
        factor_C = self.weight * torch.rsqrt(square_C + EPS)
        if self.channels_last:
            return torch.addcmul(self.bias, x, factor_C)
        return torch.addcmul(self.bias.unsqueeze(1), x, factor_C.unsqueeze(1))


class RmsNorm(nn.Module):
    """x over its root mean square, times a scale, plus an offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape (..., C)."""
        found: Tensor = (
            x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.weight + self.bias
        )
        return found


def rotary(x_BLHK: Tensor, positions_BL: Tensor, max_position: int) -> Tensor:
    """Rotary embedding of neighbouring channels, with frequencies slow enough for
    positions up to `max_position` (Su et al. 2021, arXiv:2104.09864, with frequencies of AlphaGenome's own)."""
    count = x_BLHK.shape[-1] // 2
    dtype = torch.promote_types(x_BLHK.dtype, torch.float32)
    spacing_K = geometric(max_position - count + 1, count, count - 1)
    inverse_K = (1.0 / (torch.arange(count) + spacing_K)).to(x_BLHK.device, dtype)
    angles_BL1K = (positions_BL.to(dtype).unsqueeze(-1) * inverse_K).unsqueeze(2)
    cosine, sine = angles_BL1K.cos(), angles_BL1K.sin()
    even, odd = x_BLHK[..., ::2], x_BLHK[..., 1::2]
    pairs = (even * cosine - odd * sine, odd * cosine + even * sine)
    return torch.stack(pairs, dim=-1).flatten(-2).to(x_BLHK.dtype)


def geometric(end: float, count: int, end_index: int) -> Tensor:
    """`count` numbers of a geometric series from 1, in which that of `end_index` would be `end`."""
    powers = torch.arange(count, dtype=torch.float64) / max(end_index, 1)
    return torch.tensor(end, dtype=torch.float64) ** powers


class OrganismLinear(nn.Module):
    """A linear layer of channels with weights for each organism, which begin `gain` times as large as keeps the
    variance."""

    def __init__(self, organisms: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.empty(organisms, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(organisms, outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.gain * self.weight.shape[2] ** -0.5)

    def forward(self, x_BCL: Tensor, organism_B: Tensor) -> Tensor:
        """(B, L, outputs)."""
        bias_BO1 = self.bias[organism_B].unsqueeze(2)
        return torch.baddbmm(bias_BO1, self.weight[organism_B], x_BCL).transpose(1, 2)
