"""The network that predicts the masked alleles of an individual, both haplotypes at once, given a phenotype.

It begins with the allele frequencies of the phenotype (a table that is not trained by gradient, since that gives a
lower loss of held-out individuals), and adds three terms on the logit scale: the linkage of near sites, as pairs with a
weight each; that of sites further along the chromosome, which weakens with distance (a low-rank table); and, for
ancestry within the phenotype, an MLP over a summary of both haplotypes, which also attends to the phenotype's
embeddings, and reads an encoding of the individual's phenotype record, if the network has columns of records. All terms
read the alleles' surplus over their frequencies, so that a masked site adds nothing and an individual without a visible
site gets little else than the frequencies.

Shape suffixes: B individuals, S sites, P phenotypes, M vectors of a phenotype, H attention heads, D width, E pairs of
sites, R rank, K scales of distance; 2 haplotypes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genomai_cli.backbones.base import Network
from genomai_cli.population.networks import linkage_fit
from genomai_cli.population.networks.linkage_fit import Effects
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords, Vocabulary
from genomai_cli.population.panel import Panel, coordinates, linked_pairs
from genomai_cli.population.phenotypes import Columns

DECAY_LENGTHS = (
    5e6,
    3e7,
)  # base pairs over which linkage falls to 1/e: tracts of old and of young admixture
PAIR_SCALE = 20.0  # of the weights of pairs, which have to become large: full linkage is a log odds ratio of 8 and more
SUMMARY_SCALE = (
    6.0  # over the root of the number of sites, brings the summary of all sites to unit size
)
MIN_FREQUENCY = 1e-3


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of a `DenoiserNetwork`; `pairs` is the number of ordered pairs of linked sites, `columns` are those of the
    phenotype records that it reads."""

    sites: int = 1
    phenotypes: int = 1
    pairs: int = 0
    width: int = 192
    vectors: int = 4
    heads: int = 4
    rank: int = 8
    dropout: float = 0.2
    columns: dict[str, Any] = field(default_factory=dict)


class Block(NamedTuple):
    """The sites (C,) of a chromosome, and for ordered pairs of them the coefficients of far linkage (C, C), those of
    near linkage times their weights (3, C, C), and these weights (C, C)."""

    sites: Tensor
    far: Tensor
    near: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class VisibleAlleles:
    """Features of alleles (B, 2, S), 0 where masked: the surplus over the frequency, 1, and the allele itself."""

    surplus: Tensor
    known: Tensor
    allele: Tensor

    def at(self, sites: Tensor) -> Tensor:
        """All three at these sites (B, 2, 3 C)."""
        return torch.cat([part[..., sites] for part in (self.surplus, self.known, self.allele)], 2)

    def partner_logits(self, weights_3S: Tensor) -> Tensor:
        """The logits (B, 2, S) of the alleles of the other haplotype with these weights."""
        parts = (self.surplus, self.known, self.allele)
        logits: Tensor = sum(part * w for part, w in zip(parts, weights_3S, strict=True))
        return logits.flip(1)


class Linkage(nn.Module):
    """The logits of allele 1 at the sites of a haplotype from its visible alleles at other sites.

    Sites of a chromosome add up. Near ones (`pairs`) are redundant: their weighted mean is added, the weights being how
    much each predicts this site, with a weight of 1 for 0. So the site in closest linkage decides where it is visible,
    and the others where it is masked. Of near sites the allele itself is read too, beside its surplus over its
    frequency: in full linkage it determines the other one however rare both are in the phenotype.
    """

    pairs: Tensor
    contig: Tensor
    position: Tensor

    def __init__(self, sites: int, pairs: int, rank: int) -> None:
        super().__init__()
        self.register_buffer("pairs", torch.zeros(2, pairs, dtype=torch.int64))
        self.register_buffer("contig", torch.arange(sites))
        self.register_buffer("position", torch.zeros(sites))
        self.near = nn.Parameter(torch.empty(3, pairs))
        self.near_weight = nn.Parameter(torch.empty(pairs))
        self.source = nn.Parameter(torch.empty(len(DECAY_LENGTHS), sites, rank))
        self.target = nn.Parameter(torch.empty(len(DECAY_LENGTHS), sites, rank))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No linkage at first."""
        nn.init.zeros_(self.near)
        nn.init.zeros_(self.near_weight)
        nn.init.normal_(self.source, std=0.1 * self.source.shape[2] ** -0.5)
        nn.init.zeros_(self.target)

    def set_pairs(self, contig: Tensor, position: Tensor, pairs: Tensor, effects: Effects) -> None:
        """Set the sites' positions, the pairs of near ones (`panel.linked_pairs`), and the effects of these."""
        self.pairs.copy_(pairs)
        self.contig.copy_(contig)
        self.position.copy_(position)
        with torch.no_grad():
            self.near_weight.copy_(torch.logit(effects.share) / PAIR_SCALE)
            self.near.copy_(
                effects.weights / effects.share / PAIR_SCALE
            )  # so that one visible site has its full effect

    def forward(self, visible: VisibleAlleles, blocks: list[Block]) -> Tensor:
        """The logits (B, 2, S) of all sites; `blocks` are those of this module."""
        logits_B2S = torch.zeros_like(visible.surplus)
        for sites, far_CC, near_3CC, weight_CC in blocks:
            far = visible.surplus[..., sites] @ far_CC
            near = visible.at(sites) @ near_3CC.flatten(0, 1)
            weight = visible.known[..., sites] @ weight_CC
            logits_B2S = logits_B2S.index_copy(2, sites, far + near / (1 + weight))
        return logits_B2S

    def blocks(self) -> list[Block]:
        """A block for every chromosome with several sites; chromosomes are not linked."""
        numbers = torch.unique(self.contig).tolist()
        chromosomes = [(self.contig == number).nonzero()[:, 0] for number in numbers]
        return [
            Block(sites, self._far(sites), *self._near(sites))
            for sites in chromosomes
            if len(sites) > 1
        ]

    def _far(self, sites_C: Tensor) -> Tensor:
        """The coefficients (C, C) of each site's surplus for each other site of a chromosome."""
        position_C = self.position[sites_C]
        distance_CC = (position_C[:, None] - position_C).abs()
        lengths_K = torch.tensor(DECAY_LENGTHS, dtype=distance_CC.dtype, device=distance_CC.device)
        decay_KCC = torch.exp(-distance_CC / lengths_K[:, None, None])
        products_KCC = self.source[:, sites_C] @ self.target[:, sites_C].transpose(1, 2)
        far_CC = (decay_KCC * products_KCC).sum(0)
        return far_CC - torch.diag(far_CC.diagonal())

    def _near(self, sites_C: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients of near sites of a chromosome times their weights (3, C, C), and the weights (C, C)."""
        size = len(sites_C)
        inside_E = (self.contig[self.pairs[0]] == self.contig[sites_C[0]]).nonzero()[:, 0]
        first, second = (torch.searchsorted(sites_C, sites_E[inside_E]) for sites_E in self.pairs)
        weight_E = torch.exp(PAIR_SCALE * self.near_weight[inside_E])
        weight_CC = self.near.new_zeros(size, size)
        weight_CC[first, second] = weight_E
        near_3CC = self.near.new_zeros(3, size, size)
        near_3CC[:, first, second] = PAIR_SCALE * self.near[:, inside_E] * weight_E
        return near_3CC, weight_CC


class PhenotypeAttention(nn.Module):
    """Cross-attention from a summary (B, 2, C) to the vectors of the phenotypes, weighted by those of an individual."""

    def __init__(self, config: DenoiserConfig, channels: int) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.embeddings = nn.Parameter(torch.empty(config.phenotypes, config.vectors, width))
        self.query = nn.Linear(channels, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh embeddings."""
        nn.init.normal_(self.embeddings, std=0.5)

    def forward(self, summary_B2C: Tensor, weights_BP: Tensor) -> Tensor:
        """The attended values of the haplotypes (B, 2, D)."""
        individuals, vectors = len(summary_B2C), self.embeddings.shape[1]
        used_P = (weights_BP > 0).any(dim=0)  # a batch has few phenotypes
        keys, values = (
            part.reshape(1, -1, self.heads, part.shape[2] // self.heads).transpose(1, 2)
            for part in self.key_value(self.embeddings[used_P]).chunk(2, dim=2)
        )
        query = self.query(summary_B2C).reshape(individuals, 2, self.heads, -1).transpose(1, 2)
        weights_BX = weights_BP[:, used_P].repeat_interleave(vectors, dim=1)
        bias_B11X = weights_BX.clamp(min=1e-30).log()[:, None, None]
        scores_BH2X = query @ keys.transpose(2, 3) * query.shape[3] ** -0.5 + bias_B11X
        attended_BH2V = scores_BH2X.softmax(dim=3) @ values
        attended_B2D: Tensor = attended_BH2V.transpose(1, 2).reshape(individuals, 2, -1)
        return attended_B2D


class ZeroLinear(nn.Linear):
    """A linear layer whose output is 0 at first."""

    def reset_parameters(self) -> None:
        """All weights 0."""
        nn.init.zeros_(self.weight)


class RecordEncoder(nn.Module):
    """Phenotype records to vectors (B, D): the sum of the tokens of known columns, 0 without any. The layer `sites`
    turns them into offsets of the allele frequencies' logits."""

    def __init__(self, columns: Columns, width: int, sites: int) -> None:
        super().__init__()
        self.columns = columns
        self.vocabulary = Vocabulary(columns, width)
        self.sites = ZeroLinear(width, sites, bias=False)

    def forward(self, records: PhenotypeRecords) -> Tensor:
        """See the class."""
        tokens_BKD, known_BK = self.vocabulary(records)
        encoded_BD: Tensor = (tokens_BKD * known_BK[..., None]).sum(1)
        return encoded_BD


LogitFunction = Callable[..., Tensor]
"""From alleles (B, 2, S), 0, 1 or -1 where masked, weights (B, P) of phenotypes, and a mask of chosen alleles (B, 2, S)
to the logits (N,) of allele 1 at the chosen ones, row by row; with `keep_probability_B2S` if the network supports a
soft mask, and with `records` (B) if it reads those."""


@dataclass(frozen=True, eq=False)
class LabelledHaplotypes:
    """Alleles (N, 2, S), -1 where unknown, and the numbers (N,) of the individuals' finest phenotypes, 0 if unknown."""

    alleles: Tensor
    phenotype: Tensor


class GenotypeDenoiser(Network):
    """A network that predicts masked alleles of individuals: its output is the logits (B, 2, S) of all sites. The
    buffer `frequency` holds those of allele 1 by phenotype (P, S)."""

    has_vectors = False
    reads_records = False

    frequency: Tensor
    min_frequency = MIN_FREQUENCY  # frequencies are clamped to this distance from 0 and 1

    def __init__(self, phenotypes: int, sites: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.full((phenotypes, sites), 0.5))

    @property
    def columns(self) -> Columns:
        """The columns of the phenotype records that it reads."""
        return Columns()

    @classmethod
    def sizes_of(cls, config: Mapping[str, Any], panel: Panel, individuals: int) -> dict[str, int]:
        """The sizes that follow from the sites, and from how many individuals there are to train on."""
        del config, individuals
        return {"pairs": linked_pairs(panel).shape[1]}

    def initialize(self, panel: Panel, haplotypes: Callable[[], LabelledHaplotypes]) -> None:
        """Initialize the network from the sites and the haplotypes to train on."""
        raise NotImplementedError

    def frequencies(self, weights_BP: Tensor) -> Tensor:
        """The frequency (B, S) of allele 1 among individuals of these phenotypes."""
        return (weights_BP @ self.frequency).clamp(self.min_frequency, 1 - self.min_frequency)

    def chosen_logits(
        self, alleles_B2S: Tensor, weights_BP: Tensor, chosen_B2S: Tensor, **options: Any
    ) -> Tensor:
        """The logits (N,) of the chosen alleles; see `LogitFunction`."""
        logits_N: Tensor = self(alleles_B2S, weights_BP, **options)[chosen_B2S]
        return logits_N

    def prepared_logits(self) -> LogitFunction:
        """`chosen_logits` for many calls with the present parameters: terms that do not depend on the individuals may
        be computed beforehand."""
        return self.chosen_logits


class DenoiserNetwork(GenotypeDenoiser):
    """Alleles (B, 2, S), 0, 1 or -1 where masked, and weights (B, P) of phenotypes, to logits (B, 2, S) of allele 1."""

    config_class = DenoiserConfig
    supports_soft_mask = True
    reads_records = True

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config.phenotypes, config.sites)
        self.config = config
        width, sites = config.width, config.sites
        self.linkage = Linkage(sites, config.pairs, config.rank)
        self.partner = nn.Parameter(torch.empty(3, sites))
        self.summary = nn.Linear(sites, width, bias=False)
        self.attention = PhenotypeAttention(config, 2 * width)
        columns = Columns.from_config(config.columns) if config.columns else None
        self.described = None if columns is None else RecordEncoder(columns, width, sites)
        self.body = nn.Sequential(
            nn.Linear(3 * width + 2, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.sites = ZeroLinear(width, sites, bias=False)
        self.reset_parameters()

    def initialize(self, panel: Panel, haplotypes: Callable[[], LabelledHaplotypes]) -> None:
        """Set the sites' positions, and the effects of near sites on each other and of both haplotypes at a site."""
        contig_S, position_S = coordinates(panel)
        pairs = torch.from_numpy(linked_pairs(panel))
        training = haplotypes()
        training_data = (training.alleles, training.phenotype, self.frequency)
        effects = linkage_fit.pair_effects(*training_data, pairs)
        self.linkage.set_pairs(
            torch.from_numpy(contig_S), torch.from_numpy(position_S), pairs, effects
        )
        with torch.no_grad():
            self.partner.copy_(linkage_fit.partner_effects(*training_data).weights / PAIR_SCALE)

    @property
    def columns(self) -> Columns:
        """See `GenotypeDenoiser`."""
        return Columns() if self.described is None else self.described.columns

    def reset_parameters(self) -> None:
        """The two haplotypes are independent site by site at first; the layers draw their own values."""
        nn.init.zeros_(self.partner)

    def prepared_logits(self) -> LogitFunction:
        """The network with its linkage tables computed."""
        return partial(self.chosen_logits, blocks=self.linkage.blocks())

    def forward(
        self,
        alleles_B2S: Tensor,
        weights_BP: Tensor,
        blocks: list[Block] | None = None,
        keep_probability_B2S: Tensor | None = None,
        records: PhenotypeRecords | None = None,
    ) -> Tensor:
        """The logits of allele 1; `blocks` are those of `linkage`, if they have been computed already; `records` (B)
        are the individuals' phenotype records.

        `keep_probability` is the probability that a visible allele is the original one, not a random one: below 1 an
        allele is replaced by its expectation, given the visible allele and its frequency.
        """
        frequency_B1S = self.frequencies(weights_BP).unsqueeze(1)
        known_B2S = (alleles_B2S >= 0).to(frequency_B1S.dtype)
        visible_B2S = alleles_B2S
        if keep_probability_B2S is not None:
            visible_B2S = expected_alleles(alleles_B2S, frequency_B1S, keep_probability_B2S)
        surplus_B2S = (visible_B2S - frequency_B1S) * known_B2S
        allele_B2S = visible_B2S * known_B2S
        if keep_probability_B2S is not None:
            known_B2S = known_B2S * keep_probability_B2S
        visible = VisibleAlleles(surplus_B2S, known_B2S, allele_B2S)
        blocks = self.linkage.blocks() if blocks is None else blocks
        linked_B2S = self.linkage(visible, blocks) + visible.partner_logits(
            PAIR_SCALE * self.partner
        )
        offset_B1S, record_B1D = torch.logit(frequency_B1S), None
        if self.described is not None and records is not None:
            record_B1D = self.described(records)[:, None]
            offset_B1S = offset_B1S + self.described.sites(record_B1D)
        ancestry_B2S = self.sites(
            self._ancestry_states(surplus_B2S, known_B2S, weights_BP, record_B1D)
        )
        logits_B2S: Tensor = offset_B1S + linked_B2S + ancestry_B2S
        return logits_B2S

    def _ancestry_states(
        self,
        surplus_B2S: Tensor,
        known_B2S: Tensor,
        weights_BP: Tensor,
        record_B1D: Tensor | None,
    ) -> Tensor:
        """The states (B, 2, D) of each haplotype's ancestry, from itself, its partner, the phenotype and the record."""
        own_B2D = self.summary(surplus_B2S) * (SUMMARY_SCALE * self.config.sites**-0.5)
        summary_B2C = torch.cat([own_B2D, own_B2D.flip(1)], dim=2)
        share_B21 = known_B2S.mean(dim=2, keepdim=True)
        shares_B22 = torch.cat([share_B21, share_B21.flip(1)], dim=2)
        attended_B2D = self.attention(summary_B2C, weights_BP)
        if record_B1D is not None:
            attended_B2D = attended_B2D + record_B1D
        ancestry_B2D: Tensor = self.body(torch.cat([summary_B2C, attended_B2D, shares_B22], dim=2))
        return ancestry_B2D


def expected_alleles(
    alleles_B2S: Tensor, frequency_B1S: Tensor, keep_probability_B2S: Tensor
) -> Tensor:
    """The expectation of alleles each of which is the original with its keep probability, else drawn from 0 and 1."""
    agrees_B2S, differs_B2S = 1 + keep_probability_B2S, 1 - keep_probability_B2S
    one_B2S = frequency_B1S * torch.where(alleles_B2S == 1, agrees_B2S, differs_B2S)
    zero_B2S = (1 - frequency_B1S) * torch.where(alleles_B2S == 1, differs_B2S, agrees_B2S)
    return one_B2S / (one_B2S + zero_B2S)
