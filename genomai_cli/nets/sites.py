"""The barcode network: one embedding a site and letter, summed over the sites, then a small MLP.

A site and its letter enter as two numbers, the alternate alleles beyond those expected and whether the
site is heterozygous; a site that is missing adds nothing. The sum is divided by the square root of the
number of known sites, so that its size does not tell how many there were.

Shape suffixes: B samples, S sites, D width, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genomai_cli.nets.heads import Heads, SiteHead

EXPECTED_HETEROZYGOSITY = 0.35


@dataclass(frozen=True)
class SitesConfig:
    """Sizes of a `SitesNetwork`."""

    sites: int
    width: int = 256
    dropout: float = 0.3


class SitesNetwork(nn.Module):
    """Copies of the alternate allele (B, S), -1 where missing, to logits (B, C) of every head."""

    frequency: Tensor
    layers = 1  # the MLP above the sum over the sites

    def __init__(self, config: SitesConfig, classes: dict[str, int]) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("frequency", torch.full((config.sites,), 0.5))
        self.alleles = nn.Linear(config.sites, width)
        self.heterozygote = nn.Linear(config.sites, width, bias=False)
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.GELU(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(classes, lambda count: nn.Linear(width, count))

    def pooled(self, copies_BS: Tensor, layer: int | None = None) -> Tensor:
        """One vector a sample (B, D); with `layer` 0 the sum over the sites, before the MLP."""
        known_BS = (copies_BS >= 0).to(self.frequency.dtype)
        scale_B1 = known_BS.sum(1, keepdim=True).clamp(min=1).rsqrt()
        surplus_BS = (copies_BS - 2 * self.frequency) * known_BS * scale_B1
        heterozygous_BS = (copies_BS == 1).to(known_BS.dtype)
        mixed_BS = (heterozygous_BS - EXPECTED_HETEROZYGOSITY) * known_BS * scale_B1
        sum_BD: Tensor = self.alleles(surplus_BS) + self.heterozygote(mixed_BS)
        if layer == 0:
            return sum_BD
        pooled_BD: Tensor = self.body(sum_BD)
        return pooled_BD

    def forward(self, copies_BS: Tensor) -> dict[str, Tensor]:
        """The logits of every head."""
        logits: dict[str, Tensor] = self.heads(self.dropout(self.pooled(copies_BS)))
        return logits

    def word_head(self, vocabulary: int) -> nn.Module:
        """A fresh head that guesses the words of hidden sites; see `nets/companions.py`."""
        return SiteHead(self.config.width, self.config.sites, vocabulary)

    def guess(self, head: nn.Module, copies_BS: Tensor, chosen_BS: Tensor | None = None) -> Tensor:
        """The head's logits (B, S, V) of every site, or (N, V) of the chosen ones."""
        logits_BSV: Tensor = head(self.pooled(copies_BS))
        return logits_BSV if chosen_BS is None else logits_BSV[chosen_BS]
