"""A softmax regression on the frequencies of all k-mers up to a length, of both strands together or of the one given.

The spectrum of Leslie et al. 2002, Pac Symp Biocomput 7:564. How many letters a sequence has does not matter, only
which share of its k-mers is which.

Shape suffixes: B sequences, L letters, W windows of k letters, A bases, K k-mers of one length, F of all lengths, O
outputs (the classes of all heads).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from genomai_cli.alphabet import BASES, UNKNOWN_CODE

KMERS = "kmers"


@dataclass(frozen=True)
class KmersConfig:
    """All k-mers up to `longest`, of both strands together or of the one given."""

    longest: int = 6
    both_strands: bool = True
    kind: str = KMERS


class Kmers(nn.Module):
    """Logits (B, O) of codes (B, L): a linear function of how often each k-mer occurs."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: KmersConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        columns = [_columns(k, config.both_strands) for k in range(1, config.longest + 1)]
        for k, column_K in enumerate(columns, start=1):
            self.register_buffer(f"columns_{k}", column_K, persistent=False)
        self.sizes = [int(column_K.max()) + 1 for column_K in columns]
        self.register_buffer("mean", torch.zeros(sum(self.sizes)))
        self.register_buffer("deviation", torch.ones(sum(self.sizes)))
        self.linear = nn.Linear(sum(self.sizes), outputs)

    def frequencies(self, codes_BL: Tensor) -> Tensor:
        """Among a sequence's k-mers of each length without an unknown letter, the share of each: (B, K)."""
        found = []
        for k, size in enumerate(self.sizes, start=1):
            counts_BK = self.mean.new_zeros(len(codes_BL), size + 1)
            if codes_BL.shape[1] >= k:
                number_BW, known_BW = _kmers(codes_BL, k)
                column_BW = self.get_buffer(f"columns_{k}")[number_BW].masked_fill(~known_BW, size)
                counts_BK.scatter_add_(
                    1, column_BW, torch.ones_like(column_BW, dtype=counts_BK.dtype)
                )
            counts_BK = counts_BK[:, :size]
            found.append(counts_BK / counts_BK.sum(1, keepdim=True).clamp(min=1))
        return torch.cat(found, dim=1)

    def features(self, codes_BL: Tensor) -> Tensor:
        """The frequencies in standard deviations from their mean over the training sequences: (B, K)."""
        return (self.frequencies(codes_BL) - self.mean) / self.deviation

    def forward(self, codes_BL: Tensor) -> Tensor:
        """See the class."""
        logits_BO: Tensor = self.linear(self.features(codes_BL))
        return logits_BO

    def letter_slopes(self, codes_BL: Tensor, weight_BO: Tensor) -> Tensor:
        """What each base at each position, all other letters as they are, adds to the logits, weighed (B, O) and
        summed: (B, L, 4). No k-mer holds a position twice: differences are exact effects of substitutions."""
        weight_BF = weight_BO @ self.linear.weight / self.deviation
        slopes_BLA = weight_BF.new_zeros(*codes_BL.shape, len(BASES))
        by_length = torch.split(weight_BF, self.sizes, dim=1)
        for k, weight_BK in enumerate(by_length[: codes_BL.shape[1]], start=1):
            number_BW, known_BW = _kmers(codes_BL, k)
            known_BW = known_BW.to(weight_BK.dtype)
            share_BW = known_BW / known_BW.sum(1, keepdim=True).clamp(min=1)
            for place in range(k):
                unit, letter_BW = len(BASES) ** (k - 1 - place), _letter(codes_BL, k, place)
                for base in range(len(BASES)):
                    other_BW = number_BW + (base - letter_BW) * unit
                    column_BW = self.get_buffer(f"columns_{k}")[other_BW]
                    added_BW = weight_BK.gather(1, column_BW) * share_BW
                    slopes_BLA[:, place : place + added_BW.shape[1], base] += added_BW
        return slopes_BLA


def _kmers(codes_BL: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The number (B, W) of the k-mer in each of the W windows, and whether all of its letters are known."""
    number_BW = torch.zeros_like(codes_BL[:, k - 1 :])
    known_BW = torch.ones_like(number_BW, dtype=torch.bool)
    for place in range(k):
        number_BW = number_BW * len(BASES) + _letter(codes_BL, k, place)
        known_BW &= codes_BL[:, place : place + number_BW.shape[1]] != UNKNOWN_CODE
    return number_BW, known_BW


def _letter(codes_BL: Tensor, k: int, place: int) -> Tensor:
    """The code of the letter at a place of each window of k letters, of an unknown one that of some base."""
    width = codes_BL.shape[1] - k + 1
    return codes_BL[:, place : place + width].clamp(max=UNKNOWN_CODE - 1)


def _columns(k: int, both_strands: bool) -> Tensor:
    """The column (4^k,) of each k-mer, the same for a k-mer and its reverse complement if both strands count."""
    numbers = np.arange(len(BASES) ** k)
    if not both_strands:
        return torch.from_numpy(numbers)
    rest, other = numbers, np.zeros_like(numbers)
    for _ in range(k):
        other = other * len(BASES) + (len(BASES) - 1 - rest % len(BASES))
        rest = rest // len(BASES)
    columns = np.unique(np.minimum(numbers, other), return_inverse=True)[1]
    return torch.from_numpy(columns.reshape(-1))
