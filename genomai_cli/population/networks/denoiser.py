"""The network that predicts the masked alleles of an individual, both haplotypes at once, given a phenotype.

It begins with what is known without it, the allele frequencies of the phenotype (a table that is not trained by
gradient, since held-out individuals are less surprising so), and adds up three things on the logit scale: the linkage
of near sites, as pairs with a weight each; that of sites further along the chromosome, which weakens with distance (a
low-rank table); and, for ancestry within the phenotype, an MLP over a summary of both haplotypes, which also looks at
the phenotype's embeddings by cross-attention, and is told what a phenotype record says of the person, if the network
has columns of records. All of them read the alleles' surplus over their frequencies, so that a
masked site says nothing and an individual without a visible site gets little else than the frequencies.

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
from genomai_cli.population.networks.phenotype_embedding import Records, Vocabulary
from genomai_cli.population.panel import Panel, coordinates, linked_pairs
from genomai_cli.population.phenotypes import Columns

SCALES = (
    5e6,
    3e7,
)  # base pairs over which linkage falls to 1/e: tracts of old and of young admixture
STEEP = 20.0  # the weights of pairs have to become large: sites in full linkage have a log odds ratio of 8 and more
SUMMARY = 6.0  # times the root of the number of sites, brings the summary of all sites to unit size
RAREST = 1e-3


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
    """The sites (C,) of a chromosome, and from and to each what far ones say (C, C), what near ones say times their
    weights (3, C, C), and these weights (C, C)."""

    sites: Tensor
    far: Tensor
    near: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class Visible:
    """Of alleles (B, 2, S), 0 where they are hidden: the surplus over the frequency, 1, and the allele itself."""

    surplus: Tensor
    known: Tensor
    allele: Tensor

    def at(self, sites: Tensor) -> Tensor:
        """All three of some sites (B, 2, 3 C)."""
        return torch.cat([part[..., sites] for part in (self.surplus, self.known, self.allele)], 2)

    def of_partner(self, weights_3S: Tensor) -> Tensor:
        """What the alleles of the other haplotype say with these weights (B, 2, S)."""
        parts = (self.surplus, self.known, self.allele)
        said: Tensor = sum(part * w for part, w in zip(parts, weights_3S, strict=True))
        return said.flip(1)


class Linkage(nn.Module):
    """How much the visible alleles of a haplotype speak for the alternate one at its other sites, on the logit scale.

    Sites of a chromosome add up. Near ones (`pairs`) repeat each other: of those the mean counts, each weighted by how
    much it has to say of this site, with a weight of 1 for saying nothing. So the closest kin decides where it is
    visible, and the others where it is hidden. Of near sites the allele itself counts too, beside its surplus over its
    frequency: where linkage is full, it settles the other one however rare both are in the phenotype.
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
        self.source = nn.Parameter(torch.empty(len(SCALES), sites, rank))
        self.target = nn.Parameter(torch.empty(len(SCALES), sites, rank))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No linkage at first."""
        nn.init.zeros_(self.near)
        nn.init.zeros_(self.near_weight)
        nn.init.normal_(self.source, std=0.1 * self.source.shape[2] ** -0.5)
        nn.init.zeros_(self.target)

    def learn(self, contig: Tensor, position: Tensor, pairs: Tensor, near: Effects) -> None:
        """Take over where the sites are, which are near each other (`panel.linked_pairs`), and what these say."""
        self.pairs.copy_(pairs)
        self.contig.copy_(contig)
        self.position.copy_(position)
        with torch.no_grad():
            self.near_weight.copy_(torch.logit(near.share) / STEEP)
            self.near.copy_(near.weights / near.share / STEEP)  # alone it says all of it

    def forward(self, visible: Visible, blocks: list[Block]) -> Tensor:
        """What the visible alleles say (B, 2, S) about all sites; `blocks` are those of this module."""
        said_B2S = torch.zeros_like(visible.surplus)
        for sites, far_CC, near_3CC, weight_CC in blocks:
            far = visible.surplus[..., sites] @ far_CC
            near = visible.at(sites) @ near_3CC.flatten(0, 1)
            weight = visible.known[..., sites] @ weight_CC
            said_B2S = said_B2S.index_copy(2, sites, far + near / (1 + weight))
        return said_B2S

    def blocks(self) -> list[Block]:
        """Of every chromosome with several sites, since the sites of two say nothing of each other."""
        numbers = torch.unique(self.contig).tolist()
        chromosomes = [(self.contig == number).nonzero()[:, 0] for number in numbers]
        return [
            Block(sites, self._far(sites), *self._near(sites))
            for sites in chromosomes
            if len(sites) > 1
        ]

    def _far(self, sites_C: Tensor) -> Tensor:
        """What the surplus of each site counts for each other one of a chromosome (C, C)."""
        position_C = self.position[sites_C]
        apart_CC = (position_C[:, None] - position_C).abs()
        scales_K = torch.tensor(SCALES, dtype=apart_CC.dtype, device=apart_CC.device)
        decay_KCC = torch.exp(-apart_CC / scales_K[:, None, None])
        of_pairs_KCC = self.source[:, sites_C] @ self.target[:, sites_C].transpose(1, 2)
        far_CC = (decay_KCC * of_pairs_KCC).sum(0)
        return far_CC - torch.diag(far_CC.diagonal())

    def _near(self, sites_C: Tensor) -> tuple[Tensor, Tensor]:
        """What near sites of a chromosome say of each other times their weights (3, C, C), and the weights (C, C)."""
        size = len(sites_C)
        inside_E = (self.contig[self.pairs[0]] == self.contig[sites_C[0]]).nonzero()[:, 0]
        first, second = (torch.searchsorted(sites_C, of[inside_E]) for of in self.pairs)
        weight_E = torch.exp(STEEP * self.near_weight[inside_E])
        weight_CC = self.near.new_zeros(size, size)
        weight_CC[first, second] = weight_E
        near_3CC = self.near.new_zeros(3, size, size)
        near_3CC[:, first, second] = STEEP * self.near[:, inside_E] * weight_E
        return near_3CC, weight_CC


class PhenotypeAttention(nn.Module):
    """Cross-attention from a summary (B, 2, C) to the vectors of the phenotypes, each of which counts by its weight."""

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
        """What the haplotypes find (B, 2, D)."""
        people, vectors = len(summary_B2C), self.embeddings.shape[1]
        read_P = (weights_BP > 0).any(dim=0)  # people are sampled a few phenotypes at a time
        keys, values = (
            part.reshape(1, -1, self.heads, part.shape[2] // self.heads).transpose(1, 2)
            for part in self.key_value(self.embeddings[read_P]).chunk(2, dim=2)
        )
        query = self.query(summary_B2C).reshape(people, 2, self.heads, -1).transpose(1, 2)
        weights_BX = weights_BP[:, read_P].repeat_interleave(vectors, dim=1)
        bias_B11X = weights_BX.clamp(min=1e-30).log()[:, None, None]
        scores_BH2X = query @ keys.transpose(2, 3) * query.shape[3] ** -0.5 + bias_B11X
        found_BH2V = scores_BH2X.softmax(dim=3) @ values
        found_B2D: Tensor = found_BH2V.transpose(1, 2).reshape(people, 2, -1)
        return found_B2D


class Silent(nn.Linear):
    """A linear layer that says nothing at first."""

    def reset_parameters(self) -> None:
        """All weights 0."""
        nn.init.zeros_(self.weight)


class Described(nn.Module):
    """What records say (B, D): the sum over the columns that are known of each, nothing of one without any. By `sites`
    it moves how frequent alleles are, as a phenotype has frequencies of its own."""

    def __init__(self, columns: Columns, width: int, sites: int) -> None:
        super().__init__()
        self.columns = columns
        self.vocabulary = Vocabulary(columns, width)
        self.sites = Silent(width, sites, bias=False)

    def forward(self, records: Records) -> Tensor:
        """See the class."""
        tokens_BKD, known_BK = self.vocabulary(records)
        said_BD: Tensor = (tokens_BKD * known_BK[..., None]).sum(1)
        return said_BD


Logits = Callable[..., Tensor]
"""From alleles (B, 2, S), 0, 1 or -1 where hidden, weights (B, P) of phenotypes, and which alleles (B, 2, S) are asked
for, logits (N,) of allele 1 of those, row by row; one of a network that supports a soft mask takes
`keep_probability_B2S` as well, and of one that reads records `records` (B)."""


@dataclass(frozen=True, eq=False)
class People:
    """Alleles (N, 2, S), -1 where unknown, and the numbers (N,) of the finest phenotypes that are known, else 0."""

    alleles: Tensor
    phenotype: Tensor


class GenotypeDenoiser(Network):
    """A network that predicts the hidden alleles of people, its output the logits (B, 2, S) of all; it knows the
    frequencies (P, S) of allele 1."""

    has_vectors = False
    reads_records = False

    frequency: Tensor
    rarest = RAREST  # no frequency that it reads is nearer to 0 or 1

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

    def initialize(self, panel: Panel, people: Callable[[], People]) -> None:
        """Give the network the sites and the people to train on."""
        raise NotImplementedError

    def frequencies(self, weights_BP: Tensor) -> Tensor:
        """The frequency (B, S) of allele 1 among people of these phenotypes."""
        return (weights_BP @ self.frequency).clamp(self.rarest, 1 - self.rarest)

    def of_chosen(
        self, alleles_B2S: Tensor, weights_BP: Tensor, chosen_B2S: Tensor, **more: Any
    ) -> Tensor:
        """`Logits`."""
        logits_N: Tensor = self(alleles_B2S, weights_BP, **more)[chosen_B2S]
        return logits_N

    def prepared(self) -> Logits:
        """`of_chosen` of the network as it is now, for many calls: what does not depend on the people may be computed
        beforehand."""
        return self.of_chosen


class DenoiserNetwork(GenotypeDenoiser):
    """Alleles (B, 2, S), 0, 1 or -1 where hidden, and weights (B, P) of phenotypes, to logits (B, 2, S) of allele 1."""

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
        self.described = None if columns is None else Described(columns, width, sites)
        self.body = nn.Sequential(
            nn.Linear(3 * width + 2, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.sites = Silent(width, sites, bias=False)
        self.reset_parameters()

    def initialize(self, panel: Panel, people: Callable[[], People]) -> None:
        """Where the sites lie, what near ones say of each other, and both haplotypes at a site."""
        contig_S, position_S = coordinates(panel)
        pairs = torch.from_numpy(linked_pairs(panel))
        known = people()
        data = (known.alleles, known.phenotype, self.frequency)
        near = linkage_fit.of_pairs(*data, pairs)
        self.linkage.learn(torch.from_numpy(contig_S), torch.from_numpy(position_S), pairs, near)
        with torch.no_grad():
            self.partner.copy_(linkage_fit.of_partners(*data).weights / STEEP)

    @property
    def columns(self) -> Columns:
        """See `GenotypeDenoiser`."""
        return Columns() if self.described is None else self.described.columns

    def reset_parameters(self) -> None:
        """Haplotypes say nothing of each other site by site at first; the layers draw their own values."""
        nn.init.zeros_(self.partner)

    def prepared(self) -> Logits:
        """The network with its linkage tables computed."""
        return partial(self.of_chosen, blocks=self.linkage.blocks())

    def forward(
        self,
        alleles_B2S: Tensor,
        weights_BP: Tensor,
        blocks: list[Block] | None = None,
        keep_probability_B2S: Tensor | None = None,
        records: Records | None = None,
    ) -> Tensor:
        """The logits of allele 1; `blocks` are those of `linkage`, if they have been computed already; `records` (B)
        are what is known of the people.

        `keep_probability` is that a visible allele is what it was, not drawn at random: with less than 1 an allele
        counts as its expectation, given what is seen and how frequent it is.
        """
        frequency_B1S = self.frequencies(weights_BP).unsqueeze(1)
        known_B2S = (alleles_B2S >= 0).to(frequency_B1S.dtype)
        seen_B2S = alleles_B2S
        if keep_probability_B2S is not None:
            seen_B2S = expected(alleles_B2S, frequency_B1S, keep_probability_B2S)
        surplus_B2S = (seen_B2S - frequency_B1S) * known_B2S
        allele_B2S = seen_B2S * known_B2S
        if keep_probability_B2S is not None:
            known_B2S = known_B2S * keep_probability_B2S
        visible = Visible(surplus_B2S, known_B2S, allele_B2S)
        blocks = self.linkage.blocks() if blocks is None else blocks
        linked_B2S = self.linkage(visible, blocks) + visible.of_partner(STEEP * self.partner)
        frequent_B1S, told_B1D = torch.logit(frequency_B1S), None
        if self.described is not None and records is not None:
            told_B1D = self.described(records)[:, None]
            frequent_B1S = frequent_B1S + self.described.sites(told_B1D)
        ancestry_B2S = self.sites(self._ancestry(surplus_B2S, known_B2S, weights_BP, told_B1D))
        logits_B2S: Tensor = frequent_B1S + linked_B2S + ancestry_B2S
        return logits_B2S

    def _ancestry(
        self,
        surplus_B2S: Tensor,
        known_B2S: Tensor,
        weights_BP: Tensor,
        told_B1D: Tensor | None,
    ) -> Tensor:
        """What each haplotype, its partner, the phenotype and the record say about where the haplotype comes from
        (B, 2, D)."""
        own_B2D = self.summary(surplus_B2S) * (SUMMARY * self.config.sites**-0.5)
        both_B2C = torch.cat([own_B2D, own_B2D.flip(1)], dim=2)
        share_B21 = known_B2S.mean(dim=2, keepdim=True)
        shares_B22 = torch.cat([share_B21, share_B21.flip(1)], dim=2)
        found_B2D = self.attention(both_B2C, weights_BP)
        if told_B1D is not None:
            found_B2D = found_B2D + told_B1D
        ancestry_B2D: Tensor = self.body(torch.cat([both_B2C, found_B2D, shares_B22], dim=2))
        return ancestry_B2D


def expected(alleles_B2S: Tensor, frequency_B1S: Tensor, keep_probability_B2S: Tensor) -> Tensor:
    """The expectation of alleles of which each was kept with its keep probability, else drawn from 0 and 1."""
    agrees_B2S, differs_B2S = 1 + keep_probability_B2S, 1 - keep_probability_B2S
    one_B2S = frequency_B1S * torch.where(alleles_B2S == 1, agrees_B2S, differs_B2S)
    zero_B2S = (1 - frequency_B1S) * torch.where(alleles_B2S == 1, differs_B2S, agrees_B2S)
    return one_B2S / (one_B2S + zero_B2S)
