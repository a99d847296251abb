"""How unlike the sequences that a model was trained on a sequence is: by its letters in context, composition, length.

Four measures of a sequence, each the same for its reverse complement:

- surprise: the mean negative log-probability of a letter after the five before it, of both strands, in nats, under a
  Markov chain of the training sequences;
- distance: of the frequencies of k-mers up to 3 (square roots) from their mean, by their covariance (Mahalanobis 1936);
- shortness and length: the logarithm of the number of known letters.

Each has two bounds: hardly any training sequence lies beyond the first, none beyond the second
(`training.novelty_fit` sets them). The margin says where a sequence is: above 0 beyond a first bound, above 1 beyond a
second.

Shape suffixes: B sequences, L letters, W windows of k letters, F frequencies, M measures.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from genomai_cli.alphabet import BASES, UNKNOWN_CODE
from genomai_cli.backbones.kmer_counts import KmerCounts, kmer_indices
from genomai_cli.backbones.sequence_ensemble import codes_of_ids

CONTEXT, COMPOSITION = 6, 3  # letters of the k-mers: of the chain, and at most of the frequencies
MEASURES = ("surprise", "distance", "shortness", "length")
NOVELTY = ".novelty"  # the score; no head has such a name


class SequenceNovelty(nn.Module):
    """Ids of single letters (B, L) to the margin (B,); evidence of no class, for `Classifier`."""

    name: ClassVar[str] = "novelty"  # begins the names of its tensors in a bundle
    needs_float64: ClassVar[bool] = False
    surprises: Tensor
    centre: Tensor
    whitening: Tensor
    bounds: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.counts = KmerCounts(COMPOSITION, both_strands=True)
        width = sum(self.counts.sizes)
        self.register_buffer("surprises", torch.zeros(len(BASES) ** CONTEXT))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("whitening", torch.zeros(width, width))
        self.register_buffer("bounds", torch.zeros(len(MEASURES), 2))

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """The margin, by name."""
        flagged_M, withheld_M = self.bounds.T
        measures_BM = self.measures(codes_of_ids(inputs)[0])
        return {NOVELTY: ((measures_BM - flagged_M) / (withheld_M - flagged_M)).amax(1)}

    def fused(self, inputs: Tensor) -> dict[str, Tensor]:
        """It says nothing of classes."""
        del inputs
        return {}

    def measures(self, codes_BL: Tensor) -> Tensor:
        """All measures (B, M); without a known 6-mer there is no surprise, -inf."""
        length_B = (codes_BL != UNKNOWN_CODE).sum(1).clamp(min=1).to(self.bounds.dtype)
        distance_B = (self.composition(codes_BL) - self.centre) @ self.whitening.T
        measures = [
            self._surprise(codes_BL),
            distance_B.square().mean(1),
            -length_B.log(),
            length_B.log(),
        ]
        return torch.stack(measures, dim=1)

    def composition(self, codes_BL: Tensor) -> Tensor:
        """The square roots (B, F) of the frequencies of k-mers."""
        counts_BF = self.counts(codes_BL, self.centre.dtype)
        return self.counts.frequencies(counts_BF).sqrt()

    def _surprise(self, codes_BL: Tensor) -> Tensor:
        index_BW, known_BW = kmer_indices(codes_BL, CONTEXT)
        sum_B = (self.surprises[index_BW] * known_BW).sum(1)
        count_B = known_BW.sum(1)
        return torch.where(count_B > 0, sum_B / count_B.clamp(min=1), -torch.inf)
