"""How often each k-mer occurs, as a vector, without anything learnt: by which DNA is embedded where no model is named.

The vector holds, for each length of k-mers, the square roots of their frequencies, both strands together: the dot
product of two vectors is the mean over lengths of the Bhattacharyya coefficient (1943, Bull Calcutta Math Soc 35:99),
and their distance Hellinger's. Without the roots, the commonest k-mers alone would say who is whose neighbour.

Shape suffixes: B sequences, L letters, F features, K lengths.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Network
from genomai_cli.backbones.kmer_counts import KmerCounts
from genomai_cli.backbones.sequence_ensemble import codes_of_ids


@dataclass(frozen=True)
class KmerFrequenciesConfig:
    """K-mers of 1 to `longest` letters, of both strands together or of the one given; `window` letters at once."""

    vocabulary: int = 0
    pad_id: int = 0
    longest: int = 6
    both_strands: bool = True
    window: int = 65_536


class KmerFrequencies(Network):
    """Ids of single letters (B, L) to vectors (B, F) of length 1: square roots of k-mer frequencies, by the length of
    k-mers and in alphabetical order, each length with a weight."""

    config_class = KmerFrequenciesConfig
    num_layers = 1

    def __init__(self, config: KmerFrequenciesConfig) -> None:
        super().__init__()
        self.config = config
        self.max_length = config.window
        self.counts = KmerCounts(config.longest, both_strands=config.both_strands)
        self.hidden_size = sum(self.counts.sizes)
        self.weight = nn.Parameter(torch.empty(config.longest))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All lengths count the same, and the vector of a sequence that has k-mers of all has length 1."""
        nn.init.constant_(self.weight, self.config.longest**-0.5)

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """See the class; the same at every layer."""
        del layer
        codes_BL, _ = codes_of_ids(inputs, mask_BT)
        counts_BF = self.counts(codes_BL, self.weight.dtype)
        sizes_K = torch.tensor(self.counts.sizes, device=inputs.device)
        weight_F = self.weight.repeat_interleave(sizes_K)
        return self.counts.frequencies(counts_BF).sqrt() * weight_F
