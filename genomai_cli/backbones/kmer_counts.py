"""How often each k-mer occurs in sequences, of one strand or of both together.

Shape suffixes: B sequences, L letters, W windows of k letters, K k-mers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli.alphabet import BASES, UNKNOWN_CODE


def kmer_indices(codes_BL: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The index (B, W) to base 4 of the k-mer in each window, and whether all its letters are known (B, W)."""
    index_BW = torch.zeros_like(codes_BL[:, k - 1 :])
    known_BW = torch.ones_like(index_BW, dtype=torch.bool)
    for offset in range(k):
        index_BW = index_BW * len(BASES) + base_at(codes_BL, k, offset)
        known_BW &= codes_BL[:, offset : offset + index_BW.shape[1]] != UNKNOWN_CODE
    return index_BW, known_BW


def base_at(codes_BL: Tensor, k: int, offset: int) -> Tensor:
    """The code (B, W) of the letter at an offset in each window; an unknown letter gets the code of some base."""
    width = max(0, codes_BL.shape[1] - k + 1)
    return codes_BL[:, offset : offset + width].clamp(max=UNKNOWN_CODE - 1)


def reverse_complements(k: int) -> Tensor:
    """The index (4^k,) of the reverse complement of each k-mer."""
    remaining, complements = np.arange(len(BASES) ** k), np.zeros(len(BASES) ** k, np.int64)
    for _ in range(k):
        complements = complements * len(BASES) + (len(BASES) - 1 - remaining % len(BASES))
        remaining = remaining // len(BASES)
    return torch.from_numpy(complements)


class KmerCounts(nn.Module):
    """Counts (B, K) of all k-mers up to `longest` in codes (B, L), a k-mer and its reverse complement as one if both
    strands count; k-mers with an unknown letter count nowhere. It has no values of its own."""

    def __init__(self, max_k: int, *, both_strands: bool) -> None:
        super().__init__()
        columns = [_columns(k, both_strands) for k in range(1, max_k + 1)]
        for k, column_K in enumerate(columns, start=1):
            self.register_buffer(f"columns_{k}", column_K, persistent=False)
        self.sizes = [int(column_K.max()) + 1 for column_K in columns]

    def forward(self, codes_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """See the class."""
        counts = []
        for k, size in enumerate(self.sizes, start=1):
            index_BW, known_BW = kmer_indices(codes_BL, k)
            column_BW = self.columns(k)[index_BW].masked_fill(~known_BW, size)
            counts_BK = torch.zeros(len(codes_BL), size + 1, dtype=dtype, device=codes_BL.device)
            counts_BK.scatter_add_(1, column_BW, torch.ones_like(column_BW, dtype=dtype))
            counts.append(counts_BK[:, :size])
        return torch.cat(counts, dim=1)

    def columns(self, k: int) -> Tensor:
        """The column (4^k,) of each k-mer among those of its length."""
        return self.get_buffer(f"columns_{k}")

    def frequencies(self, counts_BK: Tensor) -> Tensor:
        """Among a sequence's k-mers of each length the share of each: (B, K)."""
        parts = torch.split(counts_BK, self.sizes, dim=1)
        return torch.cat([part / part.sum(1, keepdim=True).clamp(min=1) for part in parts], dim=1)


def _columns(k: int, both_strands: bool) -> Tensor:
    """The column (4^k,) of each k-mer, the same for a k-mer and its reverse complement if both strands count."""
    indices = np.arange(len(BASES) ** k)
    if not both_strands:
        return torch.from_numpy(indices)
    canonical = np.minimum(indices, reverse_complements(k).numpy())
    return torch.from_numpy(np.unique(canonical, return_inverse=True)[1].reshape(-1))
