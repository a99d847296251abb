"""The network that predicts the masked alleles of an individual in a window of linked sites, both haplotypes at once.

It begins with the allele frequencies of the phenotype, a table, and adds up two things on the logit scale: what the
sites around say, by tables of their own for every block of sites, and what an MLP makes of the whole window, its
partner's too, and of the phenotype's embeddings, by cross-attention. All of them read the alleles' surplus over their
frequencies, in standard deviations, so that a masked site says nothing and a rare allele as much as a frequent one.

Shape suffixes: B individuals, S sites, P phenotypes, D width, C channels of the MLP's input, G blocks of sites, W sites
of a block and of those at its sides, N sites of a block, or chosen alleles, F kinds of evidence of a site; 2
haplotypes, 3 genotypes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.population.networks import kriging_fit
from genomai_cli.population.networks.array_module import ArrayModule
from genomai_cli.population.networks.denoiser import (
    DenoiserConfig,
    GenotypeDenoiser,
    Logits,
    People,
    PhenotypeAttention,
    Silent,
)
from genomai_cli.population.networks.haplotype_imputer import evenly, places, restored
from genomai_cli.population.networks.kriging import KrigingReference
from genomai_cli.population.panel import Panel

EVIDENCE = (
    3  # of a site: its allele's surplus, whether it is visible, the surplus of the partner's allele
)
LEAST_VARIANCE = 0.01  # of an allele by which its surplus is divided: at most ten times as much
NEAR, FAR = 4.0, 2.0  # times what tables of near sites say, and what the MLP reads
FIRST, REPEATED = 0.5, 0.9  # near sites repeat each other: the more are visible, the less each says
ENOUGH = 0.02  # of a haplotype's sites visible in both, and the MLP says 0.7 of what it makes


@dataclass(frozen=True)
class RegionConfig:
    """Sizes of a `RegionNetwork`. A site hears of those in its own `block` and in the one at each side. With `people`
    it keeps the genotypes of so many of those it was trained on, by which it restores those of others; their
    haplotypes too if `copying`. With `standardized` a surplus is in standard deviations, near sites count
    less the more are visible, and the MLP says less the less it sees; before, it had the surplus itself, brought to
    unit size by a norm."""

    people: int = 0
    sites: int = 1
    phenotypes: int = 1
    width: int = 384
    layers: int = 2
    block: int = 64
    vectors: int = 4
    heads: int = 4
    dropout: float = 0.3
    copying: bool = False
    standardized: bool = False


class Neighbours(nn.Module):
    """What the sites near each site say (B, 2, S), linear in their evidence (B, 2, F, S); nothing at first."""

    def __init__(self, sites: int, block: int) -> None:
        super().__init__()
        self.sites, self.block = sites, block
        blocks = -(-sites // block)
        self.weight = nn.Parameter(torch.empty(blocks, EVIDENCE * 3 * block, block))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All weights 0."""
        nn.init.zeros_(self.weight)

    def forward(self, evidence_B2FS: Tensor) -> Tensor:
        people = len(evidence_B2FS)
        around_B2FGW = self._around(evidence_B2FS)
        around_GBW = around_B2FGW.permute(3, 0, 1, 2, 4).reshape(len(self.weight), 2 * people, -1)
        said_GBN = around_GBW @ self.weight
        said_B2S: Tensor = said_GBN.transpose(0, 1).reshape(people, 2, -1)[..., : self.sites]
        return said_B2S

    def by_site(self) -> Tensor:
        """The weights of each site (blocks, sites of a block, F W) in a row, for `of_chosen`."""
        return self.weight.transpose(1, 2).contiguous()

    def of_chosen(
        self, evidence_B2FS: Tensor, chosen: tuple[Tensor, Tensor, Tensor], weights: Tensor
    ) -> Tensor:
        """What is said of the alleles (N,) of these individuals, haplotypes and sites alone, with the weights of
        `by_site`."""
        individual_N, haplotype_N, site_N = chosen
        block_N = site_N // self.block
        around_NFW = self._around(evidence_B2FS)[individual_N, haplotype_N, :, block_N]
        said_N: Tensor = (around_NFW.flatten(1) * weights[block_N, site_N % self.block]).sum(1)
        return said_N

    def _around(self, evidence_B2FS: Tensor) -> Tensor:
        """The evidence of every block and of the one at each side (B, 2, F, G, W), 0 beyond the sites."""
        padding = (self.block, -self.sites % self.block + self.block)
        return functional.pad(evidence_B2FS, padding).unfold(3, 3 * self.block, self.block)


class Layer(nn.Sequential):
    """What one layer of the MLP adds (..., D)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )


class RegionNetwork(GenotypeDenoiser):
    """Alleles (B, 2, S), 0, 1 or -1 where hidden, and weights (B, P) of phenotypes, to logits (B, 2, S) of allele 1.

    What is generated comes of the network alone; what is restored, of its `library` if it has one.
    """

    rarest = 5e-4  # most sites of a window are rare

    config_class = RegionConfig

    def __init__(self, config: RegionConfig) -> None:
        super().__init__(config.phenotypes, config.sites)
        self.config = config
        width, sites = config.width, config.sites
        self.neighbours = Neighbours(sites, config.block)
        self.own = nn.Linear(sites, width, bias=False)
        self.partner = nn.Linear(sites, width, bias=False)
        whole = DenoiserConfig(
            phenotypes=config.phenotypes, width=width, vectors=config.vectors, heads=config.heads
        )
        self.norm = None if config.standardized else nn.LayerNorm(width)
        self.attention = PhenotypeAttention(whole, width + 2)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(width, config.dropout) for _ in range(config.layers))
        self.last = None if config.standardized else nn.LayerNorm(width)
        self.sites = Silent(width, sites, bias=False)
        people = config.people
        held = KrigingReference.shapes(people, sites, config.copying) if people else None
        self.library = None if held is None else ArrayModule(held)

    @cached_property
    def reference(self) -> KrigingReference | None:
        """What the library knows, on the values that are there when it is asked for first."""
        return None if self.library is None else KrigingReference.of(self.library.arrays())

    @classmethod
    def sizes_of(cls, config: Mapping[str, Any], panel: Panel, individuals: int) -> dict[str, int]:
        """How many individuals' genotypes are kept: at most all."""
        del panel
        return {"people": min(cls.config_class(**_sizes(config)).people, individuals)}

    def initialize(self, panel: Panel, people: Callable[[], People]) -> None:
        """The genotypes that are kept, evenly chosen, and their calibration."""
        if self.library is not None:
            arrays = self.library.arrays()
            alleles = people().alleles.numpy()
            kept = alleles[evenly(len(alleles), len(arrays["copies"]))]
            kriging_fit.fill(KrigingReference.of(arrays), kept, places(panel))
            self.library.take(arrays)

    def allele_probabilities(self, alleles_B2S: Tensor, phased_BS: Tensor) -> Tensor:
        """The probability (B, 2, S) of allele 1 on each haplotype, given the alleles 0 and 1 among alleles (B, 2, S);
        see `restored`."""
        if self.reference is not None:
            given = alleles_B2S.cpu().numpy(), phased_BS.cpu().numpy()
            told_B2S = restored(self.reference, *given, alone=self._told_alone)
            return torch.from_numpy(told_B2S).to(self.frequency)
        known_BS = (alleles_B2S >= 0).all(dim=1)
        unordered_BS = known_BS & ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        return self._alone(alleles_B2S, unordered_BS)

    def _told_alone(self, *given: NDArray[Any]) -> NDArray[Any]:
        """`_alone` of arrays."""
        tensors = (torch.from_numpy(x).to(self.frequency.device) for x in given)
        told_B2S: NDArray[Any] = self._alone(*tensors).cpu().numpy()
        return told_B2S

    def _alone(self, alleles_B2S: Tensor, unordered_BS: Tensor) -> Tensor:
        """What the network says of anybody's haplotypes (B, 2, S)."""
        anybody_BP = torch.zeros(len(alleles_B2S), len(self.frequency)).to(self.frequency)
        anybody_BP[:, 0] = 1
        shown_B2S = alleles_B2S.masked_fill(unordered_BS[:, None], -1)
        alone_B2S: Tensor = self(shown_B2S, anybody_BP).sigmoid()
        return alone_B2S

    def forward(self, alleles_B2S: Tensor, weights_BP: Tensor) -> Tensor:
        """The logits of allele 1."""
        frequency_BS, evidence_B2FS = self._seen(alleles_B2S, weights_BP)
        window_B2S = self.sites(self._window(evidence_B2FS, weights_BP))
        near_B2S = self._trust(evidence_B2FS) * self.neighbours(evidence_B2FS)
        logits_B2S: Tensor = torch.logit(frequency_BS)[:, None] + near_B2S + window_B2S
        return logits_B2S

    def prepared(self) -> Logits:
        """For the few alleles that a step of sampling asks for: none of the others is computed."""
        return partial(self._of_few, weights=self.neighbours.by_site())

    def _of_few(
        self, alleles_B2S: Tensor, weights_BP: Tensor, chosen_B2S: Tensor, *, weights: Tensor
    ) -> Tensor:
        """`Logits`, with the `weights` of near sites."""
        frequency_BS, evidence_B2FS = self._seen(alleles_B2S, weights_BP)
        window_B2D = self._window(evidence_B2FS, weights_BP)
        individual_N, haplotype_N, site_N = chosen_B2S.nonzero(as_tuple=True)
        chosen = individual_N, haplotype_N, site_N
        trust_N = self._trust(evidence_B2FS)[individual_N, haplotype_N, 0]
        near_N = trust_N * self.neighbours.of_chosen(evidence_B2FS, chosen, weights)
        window_N = (window_B2D[individual_N, haplotype_N] * self.sites.weight[site_N]).sum(1)
        logits_N: Tensor = torch.logit(frequency_BS[individual_N, site_N]) + near_N + window_N
        return logits_N

    def _trust(self, evidence_B2FS: Tensor) -> Tensor:
        """What tables of near sites count (B, 2, 1), by the share of the haplotype that is visible."""
        share_B21 = evidence_B2FS[:, :, 1].mean(dim=2, keepdim=True)
        if not self.config.standardized:
            return torch.ones_like(share_B21)
        return NEAR / (FIRST + REPEATED * share_B21)

    def _seen(self, alleles_B2S: Tensor, weights_BP: Tensor) -> tuple[Tensor, Tensor]:
        """The frequencies (B, S) of allele 1, and what is visible of every site (B, 2, F, S)."""
        frequency_BS = self.frequencies(weights_BP)
        known_B2S = (alleles_B2S >= 0).to(frequency_BS.dtype)
        surplus_B2S = (alleles_B2S - frequency_BS[:, None]) * known_B2S
        if self.config.standardized:
            usual_S = self.frequency[0].clamp(self.rarest, 1 - self.rarest)
            surplus_B2S = surplus_B2S * (usual_S * (1 - usual_S) + LEAST_VARIANCE).rsqrt()
        return frequency_BS, torch.stack([surplus_B2S, known_B2S, surplus_B2S.flip(1)], dim=2)

    def _window(self, evidence_B2FS: Tensor, weights_BP: Tensor) -> Tensor:
        """What the whole window, that of the partner and the phenotype say (B, 2, D)."""
        surplus_B2S, known_B2S, of_partner_B2S = evidence_B2FS.unbind(2)
        count_B21 = known_B2S.sum(dim=2, keepdim=True)
        seen_B21 = count_B21 + count_B21.flip(1)
        read_B2D = self.own(surplus_B2S) + self.partner(of_partner_B2S)
        if self.norm is None:
            read_B2D = FAR * read_B2D
        else:
            read_B2D = read_B2D * (self.config.sites / seen_B21.clamp(min=1)).sqrt() * 6
            read_B2D = self.norm(read_B2D)
        shares_B22 = torch.cat([count_B21, count_B21.flip(1)], dim=2) / self.config.sites
        found_B2D = self.attention(torch.cat([read_B2D, shares_B22], dim=2), weights_BP)
        x_B2D = self.dropout(read_B2D + found_B2D)
        for layer in self.layers:
            x_B2D = x_B2D + layer(x_B2D)
        if self.last is not None:
            last_B2D: Tensor = self.last(x_B2D)
            return last_B2D
        share_B21 = shares_B22.sum(dim=2, keepdim=True)
        said_B2D: Tensor = x_B2D * (share_B21 / (share_B21 + ENOUGH)).sqrt()
        return said_B2D


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "kind"}
