"""The barcode network: one embedding a site and letter, summed over the sites, then a small MLP.

A site and its letter enter as two numbers, the alternate alleles beyond those expected and whether the
site is heterozygous; a site that is missing adds nothing. The sum is divided by the square root of the
number of known sites, so that its scale does not depend on it.

Also allele counts of barcodes: all alleles of a site, and the alternate ones among them.

Shape suffixes: B samples, S sites, D width, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Network
from genomai_cli.backbones.heads import SiteHead
from genomai_cli.population.call_patterns import HAPLOID_CALLS

EXPECTED_HETEROZYGOSITY = 0.35


@dataclass(frozen=True)
class SitesConfig:
    """Sizes of a `SitesNetwork`."""

    sites: int
    width: int = 256
    dropout: float = 0.3


class SitesNetwork(Network):
    """Copies of the alternate allele (B, S), -1 where missing, to vectors (B, D)."""

    config_class = SitesConfig
    reads_allele_counts = True
    num_layers = 1  # the MLP above the sum over the sites
    frequency: Tensor

    def __init__(self, config: SitesConfig) -> None:
        super().__init__()
        self.config = config
        width = self.hidden_size = config.width
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
        self.head_dropout = config.dropout

    def pooled(
        self, copies_BS: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """One vector a sample (B, D); with `layer` 0 the sum over the sites, before the MLP."""
        del mask_BT  # what is missing has -1 copies
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

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head that predicts the tokens of masked sites; see `backbones/heads.py`."""
        return SiteHead(self.config.width, self.config.sites, vocabulary)

    def predict_masked(
        self,
        head: nn.Module,
        inputs: Tensor,
        chosen_BT: Tensor | None = None,
        mask_BT: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The head's logits (B, S, V) of every site, or (N, V) of the chosen ones."""
        del mask_BT, more
        logits_BSV: Tensor = head(self.pooled(inputs))
        return logits_BSV if chosen_BT is None else logits_BSV[chosen_BT]


class GenotypeLookup(nn.Module):
    """A barcode's ids (B, S) to allele counts, by a table of the panel.

    The table (S, tokens) holds the copies of the alternate allele, 0, 1 or 2, of a token at a site, and
    -1 for a token without a genotype there (missing, masked, a third allele).
    """

    name = "genotypes"
    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table.to(torch.int8))

    def forward(self, ids_BS: Tensor) -> Tensor:
        """Copies of the alternate allele (B, S) as int64: 0, 1, 2, or -1 where nothing is known."""
        sites_S = torch.arange(self.table.shape[0], device=ids_BS.device)
        return self.table[sites_S, ids_BS].long()


def is_haploid(copies_BS: Tensor) -> Tensor:
    """Whether each barcode (B,) is a single haplotype: many calls, no heterozygote."""
    calls_B = (copies_BS >= 0).sum(1)
    return ((copies_BS == 1).sum(1) == 0) & (calls_B >= HAPLOID_CALLS)


def naive_bayes(alternate_BS: Tensor, total_BS: Tensor, frequency_CS: Tensor) -> Tensor:
    """The log likelihood (B, C) of alleles that are independent at the frequencies of each class."""
    reference_BS = total_BS - alternate_BS
    return alternate_BS @ frequency_CS.log().T + reference_BS @ torch.log1p(-frequency_CS).T


def allele_counts(copies_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Alternate alleles and all alleles seen at each site, both (B, S).

    A haplotype has one allele a site, a genotype two, a missing site none.
    """
    ploidy_B1 = torch.where(is_haploid(copies_BS), 1, 2).unsqueeze(1)
    total_BS = (copies_BS >= 0) * ploidy_B1
    alternate_BS = copies_BS.clamp(min=0) * ploidy_B1 // 2
    return alternate_BS.to(dtype), total_BS.to(dtype)
