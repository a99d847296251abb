"""The network of mapped genomes: one embedding a variant, summed over the genome, then a residual MLP.

A genome enters as one base a site, in the coordinates of a reference. A variant is a base other than the most frequent
one of its site that has been seen often enough. Every variant enters as its presence less its frequency, and a site
that is unknown as nothing: half a genome is a weaker statement, not another one.

Shape suffixes: B genomes, S sites, V variants, D width, W tokens of the vocabulary.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Network

BASES = 4  # the first tokens of the vocabulary are A C G T; any later one is an unknown base
UNSEEN_LOGIT = -12.0  # of a base that has not been seen at a site
MIN_FREQUENCY = 1e-4


@dataclass(frozen=True)
class ProfileConfig:
    """Sizes of a `ProfileNetwork`."""

    sites: int
    variants: int
    width: int = 256
    layers: int = 2
    dropout: float = 0.0


class VariantTable(nn.Module):
    """Which variants there are: `site`, `letter` and `frequency` (V,) of each, and the `major` base (S,) of sites."""

    site: Tensor
    letter: Tensor
    frequency: Tensor
    major: Tensor

    def __init__(self, sites: int, variants: int) -> None:
        super().__init__()
        self.register_buffer("site", torch.zeros(variants, dtype=torch.int64))
        self.register_buffer("letter", torch.zeros(variants, dtype=torch.int64))
        self.register_buffer("frequency", torch.zeros(variants))
        self.register_buffer("major", torch.zeros(sites, dtype=torch.int64))

    def fit(self, counts_SW: Tensor, min_count: int) -> None:
        """Take the variants from counts of bases (S, 4): those seen `min_count` times."""
        self.site, self.letter = known_variants(counts_SW, min_count).nonzero(as_tuple=True)
        total_S = counts_SW.sum(1).clamp(min=1).double()
        self.frequency = (counts_SW[self.site, self.letter] / total_S[self.site]).float()
        self.major = counts_SW.argmax(1)

    def centred_presence(self, ids_BS: Tensor) -> Tensor:
        """Presence less frequency of every variant (B, V); 0 where the site is unknown."""
        base_BV = ids_BS[:, self.site]
        presence_BV = (base_BV == self.letter).to(self.frequency.dtype) - self.frequency
        return presence_BV * (base_BV < BASES)


class GenomeNetwork(Network):
    """A network that reads the bases of genomes at variable sites, whose variants its table holds."""

    reads_lineages: ClassVar[bool] = False
    table: VariantTable


class ProfileNetwork(GenomeNetwork):
    """Ids of bases (B, S) to vectors (B, D)."""

    config_class = ProfileConfig

    def __init__(self, config: ProfileConfig) -> None:
        super().__init__()
        self.config = config
        width = self.hidden_size = config.width
        self.num_layers = config.layers  # the blocks; the last of them with the norm after it
        self.max_length = config.sites
        self.table = VariantTable(config.sites, config.variants)
        self.variants = nn.Parameter(torch.empty(config.variants, width))
        self.blocks = nn.ModuleList(_block(width, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head_dropout = config.dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh embeddings of the variants; the layers draw their own."""
        nn.init.normal_(self.variants, std=0.05)

    def pooled(
        self, ids_BS: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """One vector a genome (B, D); with `layer` after so many blocks only, 0 for the sum of the variants."""
        del mask_BT  # an unknown letter is a token
        depth = self.num_layers if layer is None else layer
        x_BD = self.table.centred_presence(ids_BS) @ self.variants
        for block in self.blocks[:depth]:
            x_BD = x_BD + block(x_BD)
        if depth < self.num_layers:
            return x_BD
        pooled_BD: Tensor = self.norm(x_BD)
        return pooled_BD

    def lm_head(self, vocabulary: int) -> nn.Linear:
        """The layer that predicts masked bases: the log-odds of every variant against its site's major base."""
        del vocabulary  # only the bases that occur at a site can be predicted there
        head = nn.Linear(self.config.width, self.config.variants)
        nn.init.normal_(head.weight, std=0.02)
        with torch.no_grad():
            head.bias.copy_(torch.logit(self.table.frequency, eps=MIN_FREQUENCY))
        return head

    def predict_masked(
        self,
        head: nn.Module,
        inputs: Tensor,
        chosen_BT: Tensor | None = None,
        mask_BT: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The logits of the bases at every site (B, S, 4), or (N, 4) at the chosen ones: the major base has 0."""
        del mask_BT, more
        logits_BV: Tensor = head(self.pooled(inputs))
        logits_BSW = logits_BV.new_full((len(inputs), self.config.sites, BASES), UNSEEN_LOGIT)
        sites_S = torch.arange(self.config.sites, device=inputs.device)
        logits_BSW[:, sites_S, self.table.major] = 0
        logits_BSW[:, self.table.site, self.table.letter] = logits_BV
        return logits_BSW if chosen_BT is None else logits_BSW[chosen_BT]


def known_variants(counts_SW: Tensor, min_count: int) -> Tensor:
    """Which bases (S, 4) of which sites are variants: not the most frequent one, and seen `min_count` times."""
    known_SW = counts_SW[:, :BASES] >= min_count
    known_SW[torch.arange(len(known_SW)), counts_SW[:, :BASES].argmax(1)] = False
    return known_SW


def _block(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 2 * width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(2 * width, width),
    )
