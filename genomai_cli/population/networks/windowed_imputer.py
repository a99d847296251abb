"""The network that predicts the masked alleles of an individual in a window of linked sites, both haplotypes at once.

It begins with the allele frequencies of the phenotype, a table, and adds two terms on the logit scale: a linear one of
the sites around, with a table for every block of sites, and that of an MLP, which reads the full window of the
haplotype and its partner, and the phenotype's embeddings, by cross-attention. Both read the alleles' surplus over their
frequencies, in standard deviations, so that a masked site adds nothing and a rare allele as much as a frequent one.

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
    LabelledHaplotypes,
    LogitFunction,
    PhenotypeAttention,
    ZeroLinear,
)
from genomai_cli.population.networks.haplotype_imputer import (
    allele_probabilities,
    evenly_spaced,
    linear_positions,
)
from genomai_cli.population.networks.kriging import KrigingReference
from genomai_cli.population.panel import Panel

EVIDENCE = (
    3  # of a site: its allele's surplus, whether it is visible, the surplus of the partner's allele
)
MIN_VARIANCE = 0.01  # added to that of an allele, by whose root its surplus is divided
NEAR_SCALE, WINDOW_SCALE = 4.0, 2.0  # of the logits of near sites, and of the MLP's input
NEAR_OFFSET, NEAR_REDUNDANCY = (
    0.5,
    0.9,
)  # near sites are redundant: the more are visible, the less each counts
HALF_SHARE = 0.02  # the share of visible sites, of both haplotypes, at which the MLP's states have half the variance


@dataclass(frozen=True)
class RegionConfig:
    """Sizes of a `RegionNetwork`. A site reads those in its own `block` and in the one at each side. With `people` it
    keeps the genotypes of so many of the individuals it was trained on, by which it imputes those of others; their
    haplotypes too if `copying`. With `standardized` a surplus is in standard deviations, near sites count less the more
    are visible, and the MLP's states are smaller the fewer are; before, it read the surplus itself, and had a norm."""

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
    """The logits (B, 2, S) of each site by those near it, linear in their evidence (B, 2, F, S); 0 at first."""

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
        individuals = len(evidence_B2FS)
        around_B2FGW = self._around(evidence_B2FS)
        around_GBW = around_B2FGW.permute(3, 0, 1, 2, 4).reshape(
            len(self.weight), 2 * individuals, -1
        )
        logits_GBN = around_GBW @ self.weight
        logits_B2S: Tensor = logits_GBN.transpose(0, 1).reshape(individuals, 2, -1)[
            ..., : self.sites
        ]
        return logits_B2S

    def weights_by_site(self) -> Tensor:
        """The weights of each site (blocks, sites of a block, F W) in a row, for `chosen_logits`."""
        return self.weight.transpose(1, 2).contiguous()

    def chosen_logits(
        self, evidence_B2FS: Tensor, chosen: tuple[Tensor, Tensor, Tensor], weights: Tensor
    ) -> Tensor:
        """The logits (N,) of alleles given by individuals, haplotypes and sites, with the weights of
        `weights_by_site`."""
        individual_N, haplotype_N, site_N = chosen
        block_N = site_N // self.block
        around_NFW = self._around(evidence_B2FS)[individual_N, haplotype_N, :, block_N]
        logits_N: Tensor = (around_NFW.flatten(1) * weights[block_N, site_N % self.block]).sum(1)
        return logits_N

    def _around(self, evidence_B2FS: Tensor) -> Tensor:
        """The evidence of every block and of the one at each side (B, 2, F, G, W), 0 beyond the sites."""
        padding = (self.block, -self.sites % self.block + self.block)
        return functional.pad(evidence_B2FS, padding).unfold(3, 3 * self.block, self.block)


class Layer(nn.Sequential):
    """A residual branch of the MLP (..., D)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )


class RegionNetwork(GenotypeDenoiser):
    """Alleles (B, 2, S), 0, 1 or -1 where masked, and weights (B, P) of phenotypes, to logits (B, 2, S) of allele 1.

    The network alone generates; genotypes are imputed by the reference individuals of its `library`, if it has one.
    """

    min_frequency = 5e-4  # most sites of a window are rare

    config_class = RegionConfig

    def __init__(self, config: RegionConfig) -> None:
        super().__init__(config.phenotypes, config.sites)
        self.config = config
        width, sites = config.width, config.sites
        self.neighbours = Neighbours(sites, config.block)
        self.own = nn.Linear(sites, width, bias=False)
        self.partner = nn.Linear(sites, width, bias=False)
        attention_config = DenoiserConfig(
            phenotypes=config.phenotypes, width=width, vectors=config.vectors, heads=config.heads
        )
        self.norm = None if config.standardized else nn.LayerNorm(width)
        self.attention = PhenotypeAttention(attention_config, width + 2)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(width, config.dropout) for _ in range(config.layers))
        self.last = None if config.standardized else nn.LayerNorm(width)
        self.sites = ZeroLinear(width, sites, bias=False)
        individuals = config.people
        shapes = (
            KrigingReference.shapes(individuals, sites, config.copying) if individuals else None
        )
        self.library = None if shapes is None else ArrayModule(shapes)

    @cached_property
    def reference(self) -> KrigingReference | None:
        """The kriging of the library's arrays, with their values at the first access."""
        return None if self.library is None else KrigingReference.of(self.library.arrays())

    @classmethod
    def sizes_of(cls, config: Mapping[str, Any], panel: Panel, individuals: int) -> dict[str, int]:
        """The number of reference individuals: at most all."""
        del panel
        return {"people": min(cls.config_class(**_sizes(config)).people, individuals)}

    def initialize(self, panel: Panel, haplotypes: Callable[[], LabelledHaplotypes]) -> None:
        """Fill the library with evenly spaced individuals, and calibrate."""
        if self.library is not None:
            arrays = self.library.arrays()
            alleles = haplotypes().alleles.numpy()
            reference_alleles = alleles[evenly_spaced(len(alleles), len(arrays["copies"]))]
            kriging_fit.fill(
                KrigingReference.of(arrays), reference_alleles, linear_positions(panel)
            )
            self.library.load(arrays)

    def allele_probabilities(self, alleles_B2S: Tensor, phased_BS: Tensor) -> Tensor:
        """The probability (B, 2, S) of allele 1 on each haplotype, given the alleles 0 and 1 among alleles (B, 2, S);
        see `haplotype_imputer.allele_probabilities`."""
        if self.reference is not None:
            queries = alleles_B2S.cpu().numpy(), phased_BS.cpu().numpy()
            probability_B2S = allele_probabilities(
                self.reference, *queries, predict_unordered=self._array_probabilities
            )
            return torch.from_numpy(probability_B2S).to(self.frequency)
        unordered_BS = ~phased_BS & (alleles_B2S[:, 0] != alleles_B2S[:, 1])
        return self._network_probabilities(alleles_B2S, unordered_BS)

    def _array_probabilities(self, *arrays: NDArray[Any]) -> NDArray[Any]:
        """`_network_probabilities` of arrays."""
        tensors = (torch.from_numpy(x).to(self.frequency.device) for x in arrays)
        probability_B2S: NDArray[Any] = self._network_probabilities(*tensors).cpu().numpy()
        return probability_B2S

    def _network_probabilities(self, alleles_B2S: Tensor, unordered_BS: Tensor) -> Tensor:
        """The network's probabilities (B, 2, S) of allele 1 without a phenotype; alleles whose order is not known
        (`unordered_BS`) are not read."""
        null_BP = torch.zeros(len(alleles_B2S), len(self.frequency)).to(self.frequency)
        null_BP[:, 0] = 1
        ordered_B2S = alleles_B2S.masked_fill(unordered_BS[:, None], -1)
        probability_B2S: Tensor = self(ordered_B2S, null_BP).sigmoid()
        return probability_B2S

    def forward(self, alleles_B2S: Tensor, weights_BP: Tensor) -> Tensor:
        """The logits of allele 1."""
        frequency_BS, evidence_B2FS = self._evidence(alleles_B2S, weights_BP)
        window_B2S = self.sites(self._window_states(evidence_B2FS, weights_BP))
        near_B2S = self._near_weight(evidence_B2FS) * self.neighbours(evidence_B2FS)
        logits_B2S: Tensor = torch.logit(frequency_BS)[:, None] + near_B2S + window_B2S
        return logits_B2S

    def prepared_logits(self) -> LogitFunction:
        """Computes the logits of the chosen alleles only."""
        return partial(self._chosen_logits, weights=self.neighbours.weights_by_site())

    def _chosen_logits(
        self, alleles_B2S: Tensor, weights_BP: Tensor, chosen_B2S: Tensor, *, weights: Tensor
    ) -> Tensor:
        """See `LogitFunction`; `weights` are those of near sites."""
        frequency_BS, evidence_B2FS = self._evidence(alleles_B2S, weights_BP)
        window_B2D = self._window_states(evidence_B2FS, weights_BP)
        individual_N, haplotype_N, site_N = chosen_B2S.nonzero(as_tuple=True)
        indices = individual_N, haplotype_N, site_N
        near_weight_N = self._near_weight(evidence_B2FS)[individual_N, haplotype_N, 0]
        near_N = near_weight_N * self.neighbours.chosen_logits(evidence_B2FS, indices, weights)
        window_N = (window_B2D[individual_N, haplotype_N] * self.sites.weight[site_N]).sum(1)
        logits_N: Tensor = torch.logit(frequency_BS[individual_N, site_N]) + near_N + window_N
        return logits_N

    def _near_weight(self, evidence_B2FS: Tensor) -> Tensor:
        """The weight (B, 2, 1) of near sites' logits, by the share of the haplotype that is visible."""
        share_B21 = evidence_B2FS[:, :, 1].mean(dim=2, keepdim=True)
        if not self.config.standardized:
            return torch.ones_like(share_B21)
        return NEAR_SCALE / (NEAR_OFFSET + NEAR_REDUNDANCY * share_B21)

    def _evidence(self, alleles_B2S: Tensor, weights_BP: Tensor) -> tuple[Tensor, Tensor]:
        """The frequencies (B, S) of allele 1, and the evidence (B, 2, F, S) of every site."""
        frequency_BS = self.frequencies(weights_BP)
        known_B2S = (alleles_B2S >= 0).to(frequency_BS.dtype)
        surplus_B2S = (alleles_B2S - frequency_BS[:, None]) * known_B2S
        if self.config.standardized:
            frequency_S = self.frequency[0].clamp(self.min_frequency, 1 - self.min_frequency)
            surplus_B2S = surplus_B2S * (frequency_S * (1 - frequency_S) + MIN_VARIANCE).rsqrt()
        return frequency_BS, torch.stack([surplus_B2S, known_B2S, surplus_B2S.flip(1)], dim=2)

    def _window_states(self, evidence_B2FS: Tensor, weights_BP: Tensor) -> Tensor:
        """The MLP's states (B, 2, D), from the full window, that of the partner and the phenotype."""
        surplus_B2S, known_B2S, partner_surplus_B2S = evidence_B2FS.unbind(2)
        count_B21 = known_B2S.sum(dim=2, keepdim=True)
        known_B21 = count_B21 + count_B21.flip(1)
        input_B2D = self.own(surplus_B2S) + self.partner(partner_surplus_B2S)
        if self.norm is None:
            input_B2D = WINDOW_SCALE * input_B2D
        else:
            input_B2D = input_B2D * (self.config.sites / known_B21.clamp(min=1)).sqrt() * 6
            input_B2D = self.norm(input_B2D)
        shares_B22 = torch.cat([count_B21, count_B21.flip(1)], dim=2) / self.config.sites
        attended_B2D = self.attention(torch.cat([input_B2D, shares_B22], dim=2), weights_BP)
        x_B2D = self.dropout(input_B2D + attended_B2D)
        for layer in self.layers:
            x_B2D = x_B2D + layer(x_B2D)
        if self.last is not None:
            last_B2D: Tensor = self.last(x_B2D)
            return last_B2D
        share_B21 = shares_B22.sum(dim=2, keepdim=True)
        scaled_B2D: Tensor = x_B2D * (share_B21 / (share_B21 + HALF_SHARE)).sqrt()
        return scaled_B2D


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "kind"}
