"""A softmax regression on the frequencies of all k-mers up to a length, of both strands together or of the one given.

The spectrum of Leslie et al. 2002, Pac Symp Biocomput 7:564. How many letters a sequence has does not matter, only
which share of its k-mers is which.

Shape suffixes: B sequences, L letters, W windows of k letters, A bases, K k-mers of one length, F of all lengths, O
outputs (the classes of all heads).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.alphabet import BASES
from genomai_cli.backbones.kmer_counts import KmerCounts, base_at, kmer_indices

KMERS = "kmers"


@dataclass(frozen=True)
class KmersConfig:
    """All k-mers up to `longest`, of both strands together or of the one given."""

    longest: int = 6
    both_strands: bool = True
    kind: str = KMERS


class KmerRegression(nn.Module):
    """Logits (B, O) of codes (B, L): a linear function of how often each k-mer occurs."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: KmersConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.counts = KmerCounts(config.longest, both_strands=config.both_strands)
        features = sum(self.counts.sizes)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.linear = nn.Linear(features, outputs)

    def frequencies(self, counts_BF: Tensor) -> Tensor:
        """Among a sequence's k-mers of each length without an unknown letter, the share of each: (B, F)."""
        return self.counts.frequencies(counts_BF.to(self.mean.dtype))

    def logits(self, counts_BF: Tensor) -> Tensor:
        """The logits (B, O) by the counts: linear in the frequencies, in standard deviations from their mean over the
        training sequences."""
        logits_BO: Tensor = self.linear((self.frequencies(counts_BF) - self.mean) / self.deviation)
        return logits_BO

    def forward(self, codes_BL: Tensor) -> Tensor:
        """See the class."""
        return self.logits(self.counts(codes_BL, self.mean.dtype))

    def base_gradients(self, codes_BL: Tensor, weight_BO: Tensor) -> Tensor:
        """What each base at each position, all other letters as they are, adds to the logits, weighed (B, O) and
        summed: (B, L, 4). No k-mer holds a position twice: differences are exact effects of substitutions."""
        weight_BF = weight_BO @ self.linear.weight / self.deviation
        gradients_BLA = weight_BF.new_zeros(*codes_BL.shape, len(BASES))
        by_length = torch.split(weight_BF, self.counts.sizes, dim=1)
        for k, weight_BK in enumerate(by_length[: codes_BL.shape[1]], start=1):
            index_BW, known_BW = kmer_indices(codes_BL, k)
            known_BW = known_BW.to(weight_BK.dtype)
            share_BW = known_BW / known_BW.sum(1, keepdim=True).clamp(min=1)
            for offset in range(k):
                place_value, base_BW = len(BASES) ** (k - 1 - offset), base_at(codes_BL, k, offset)
                for base in range(len(BASES)):
                    substituted_BW = index_BW + (base - base_BW) * place_value
                    column_BW = self.counts.columns(k)[substituted_BW]
                    added_BW = weight_BK.gather(1, column_BW) * share_BW
                    gradients_BLA[:, offset : offset + added_BW.shape[1], base] += added_BW
        return gradients_BLA
