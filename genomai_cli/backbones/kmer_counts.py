"""How often each k-mer occurs in sequences, of one strand or of both together.

Shape suffixes: B sequences, L letters, W places of a k-mer, K k-mers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli.alphabet import BASES, UNKNOWN_CODE


def kmer_numbers(codes_BL: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The number (B, W) to base 4 of the k-mer at each place, and whether all its letters are known (B, W)."""
    number_BW = torch.zeros_like(codes_BL[:, k - 1 :])
    known_BW = torch.ones_like(number_BW, dtype=torch.bool)
    for place in range(k):
        number_BW = number_BW * len(BASES) + letter_of(codes_BL, k, place)
        known_BW &= codes_BL[:, place : place + number_BW.shape[1]] != UNKNOWN_CODE
    return number_BW, known_BW


def letter_of(codes_BL: Tensor, k: int, place: int) -> Tensor:
    """The code (B, W) of the letter at a place of the k-mer at each place, of an unknown one that of some base."""
    width = max(0, codes_BL.shape[1] - k + 1)
    return codes_BL[:, place : place + width].clamp(max=UNKNOWN_CODE - 1)


def reverse_complements(k: int) -> Tensor:
    """The number (4^k,) of the reverse complement of each k-mer."""
    rest, other = np.arange(len(BASES) ** k), np.zeros(len(BASES) ** k, np.int64)
    for _ in range(k):
        other = other * len(BASES) + (len(BASES) - 1 - rest % len(BASES))
        rest = rest // len(BASES)
    return torch.from_numpy(other)


class KmerCounts(nn.Module):
    """Counts (B, K) of all k-mers up to `longest` in codes (B, L), a k-mer and its reverse complement as one if both
    strands count; k-mers with an unknown letter count nowhere. It has no values of its own."""

    def __init__(self, longest: int, *, both_strands: bool) -> None:
        super().__init__()
        columns = [_columns(k, both_strands) for k in range(1, longest + 1)]
        for k, column_K in enumerate(columns, start=1):
            self.register_buffer(f"columns_{k}", column_K, persistent=False)
        self.sizes = [int(column_K.max()) + 1 for column_K in columns]

    def forward(self, codes_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """See the class."""
        found = []
        for k, size in enumerate(self.sizes, start=1):
            number_BW, known_BW = kmer_numbers(codes_BL, k)
            column_BW = self.columns(k)[number_BW].masked_fill(~known_BW, size)
            counts_BK = torch.zeros(len(codes_BL), size + 1, dtype=dtype, device=codes_BL.device)
            counts_BK.scatter_add_(1, column_BW, torch.ones_like(column_BW, dtype=dtype))
            found.append(counts_BK[:, :size])
        return torch.cat(found, dim=1)

    def columns(self, k: int) -> Tensor:
        """The column (4^k,) of each k-mer among those of its length."""
        return self.get_buffer(f"columns_{k}")

    def frequencies(self, counts_BK: Tensor) -> Tensor:
        """Among a sequence's k-mers of each length the share of each: (B, K)."""
        parts = torch.split(counts_BK, self.sizes, dim=1)
        return torch.cat([part / part.sum(1, keepdim=True).clamp(min=1) for part in parts], dim=1)


def _columns(k: int, both_strands: bool) -> Tensor:
    """The column (4^k,) of each k-mer, the same for a k-mer and its reverse complement if both strands count."""
    numbers = np.arange(len(BASES) ** k)
    if not both_strands:
        return torch.from_numpy(numbers)
    lesser = np.minimum(numbers, reverse_complements(k).numpy())
    return torch.from_numpy(np.unique(lesser, return_inverse=True)[1].reshape(-1))
