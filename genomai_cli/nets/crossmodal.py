"""DNA and phenotypes in one space: two towers that attend to each other's embeddings, and end in unit vectors.

A token of DNA is a site with one of its three genotypes. In every layer it attends to the vocabulary of phenotypes
(labels, and anchors of numbers and places), by multi-head attention (Vaswani et al. 2017, arXiv:1706.03762). A token
depends on nothing else of the person: all of them are one table, and a person is the sum of the tokens that she has,
each less what is expected at its site, over the root of their number; a missing site adds nothing. That sum attends
to the vocabulary once more. A phenotype record is a query that attends to the tokens of its own columns, and then to
the sites of the panel. Neither tower sees an item of the other side, so that each is computed once, however many pairs
there are; cosines of their vectors are similarities, as in CLIP (Radford et al. 2021, arXiv:2103.00020).

Shape suffixes: B people, S sites, G genotypes (0, 1, 2 copies of the alternate allele), R records, K columns of
phenotypes, V words of their vocabulary, D width, H attention heads,
P groups whose allele frequencies are known, T numbers of a token, E size of the common space, X a unit vector in 3D.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.nets.attention import Attention, feed_forward
from genomai_cli.nets.heads import Heads
from genomai_cli.nets.records import Records, Vocabulary
from genomai_cli.phenotypes.columns import Columns

GENOTYPES = 3
SITE_STRENGTH, PERSON_STRENGTH = 2.0, 0.5  # of the evidence of genotypes in the first head,
SPREAD = 2.5  # so much less in each further one, which sees wider circles of relatives
FIRST_GAIN = 0.25  # of the sum of tokens, which knows nothing at first, beside what it attends to
FIRST_TEMPERATURE, LEAST_TEMPERATURE = 0.07, 0.01  # as in CLIP


@dataclass(frozen=True)
class CrossmodalConfig:
    """Sizes of a `CrossmodalNetwork`; `columns` is `Columns.to_config()` of the phenotypes that it knows, `groups` the
    category whose labels' allele frequencies it is told."""

    sites: int = 1
    columns: dict[str, Any] = field(default_factory=dict)
    groups: str = ""
    width: int = 64
    size: int = 128
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1


class CrossmodalNetwork(nn.Module):
    """Allele copies (B, S), -1 where missing, and phenotype records to unit vectors (B, E) and (R, E)."""

    def __init__(self, config: CrossmodalConfig, classes: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.config = config
        self.columns = Columns.from_config(config.columns)
        self.layers = config.layers
        self.vocabulary = Vocabulary(self.columns, config.width)
        self.dna = DnaTower(config, self.columns)
        self.phenotypes = PhenotypeTower(config)
        self.log_scale = nn.Parameter(torch.empty(()))
        self.heads = Heads(classes or {}, lambda count: nn.Linear(config.size, count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """CLIP's first temperature; the layers draw their own values."""
        nn.init.constant_(self.log_scale, -math.log(FIRST_TEMPERATURE))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by: one over the temperature."""
        return self.log_scale.clamp(max=-math.log(LEAST_TEMPERATURE)).exp()

    @property
    def frequency(self) -> Tensor:
        """How frequent the alternate alleles (S,) are, for what is expected at a site."""
        return self.dna.frequency

    def people(self, copies_BS: Tensor, sites: Tensor | None = None) -> Tensor:
        """The unit vectors (B, E) of people, of whom all sites are told, or those with the numbers `sites`."""
        return self.people_of(genotypes_of(copies_BS).to(self.log_scale.dtype), sites)

    def people_of(self, genotypes_BSG: Tensor, sites: Tensor | None = None) -> Tensor:
        """The same of weights of genotypes, differentiable: (1, 0, 0) is surely 0 copies, (0, 0, 0) nothing known."""
        found_BE = self.dna(genotypes_BSG, self.vocabulary.embeddings, sites)
        return functional.normalize(found_BE, dim=1)

    def records(self, records: Records, sites: Tensor | None = None) -> Tensor:
        """The unit vectors (R, E) of phenotype records that look at all sites, or at those with the numbers `sites`."""
        tokens_RKD, known_RK = self.vocabulary(records)
        found_RE, _ = self.phenotypes(tokens_RKD, known_RK, self.dna.sites(sites))
        return functional.normalize(found_RE, dim=1)

    def site_attention(self) -> list[Tensor]:
        """How the tokens of DNA attend to the vocabulary: (S, G, H, V) for each layer."""
        _, attention = self.dna.tokens(self.vocabulary.embeddings)
        return [weights.permute(1, 2, 0, 3) for weights in attention]

    def people_attention(self, copies_BS: Tensor) -> Tensor:
        """How people as a whole attend to the vocabulary, after the layers of their tokens: (B, H, V)."""
        genotypes_BSG = genotypes_of(copies_BS).to(self.log_scale.dtype)
        return self.dna.attention(genotypes_BSG, self.vocabulary.embeddings)

    def record_attention(self, records: Records) -> list[Tensor]:
        """How phenotype records attend to the sites: (R, H, S) for each layer."""
        tokens_RKD, known_RK = self.vocabulary(records)
        found: tuple[Tensor, list[Tensor]] = self.phenotypes(tokens_RKD, known_RK, self.dna.sites())
        return found[1]

    def pooled(self, inputs: Tensor, layer: int | None = None) -> Tensor:
        """The vectors of people, for `embed` and heads: by default the unit vectors (B, E)."""
        del layer  # between the tokens and the common space there is nothing of the width that embeddings have
        return self.people(inputs)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """The logits of the heads, if there are any."""
        return self.heads(self.pooled(inputs))  # type: ignore[no-any-return]


class DnaTower(nn.Module):
    """Tokens of sites and genotypes, their layers, and the sum over a person."""

    frequency: Tensor
    group_frequency: Tensor

    def __init__(self, config: CrossmodalConfig, columns: Columns) -> None:
        super().__init__()
        width, heads, self.words = config.width, config.heads, sum(columns.sizes)
        self.groups = (
            columns.bounds[columns.names.index(config.groups)] if config.groups else (0, 0)
        )
        groups = self.groups[1] - self.groups[0]
        self.register_buffer("frequency", torch.full((config.sites,), 0.5))
        self.register_buffer("group_frequency", torch.full((config.sites, groups), 0.5))
        self.site = nn.Parameter(torch.empty(config.sites, width))
        self.allele = nn.Parameter(torch.empty(config.sites, width))
        self.heterozygote = nn.Parameter(torch.empty(config.sites, width))
        of_sites, of_people = (
            [first * SPREAD**-head for head in range(heads)] if groups else None
            for first in (SITE_STRENGTH, PERSON_STRENGTH)
        )
        self.blocks = nn.ModuleList(Attention(width, heads, of_sites) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.gain = nn.Parameter(torch.empty(width))
        self.dropout = nn.Dropout(config.dropout)
        self.person = Block(width, heads, of_people)
        self.out = nn.Linear(width, config.size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small tokens; the layers draw their own values."""
        for parameter in (self.site, self.allele, self.heterozygote):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        nn.init.constant_(self.gain, FIRST_GAIN)

    def forward(
        self, genotypes_BSG: Tensor, embeddings_VD: Tensor, sites: Tensor | None = None
    ) -> Tensor:
        """What is to become the vectors (B, E) of people of whom some sites are told, by default all."""
        tokens_SGT, _ = self.tokens(embeddings_VD, sites)
        found_BE, _ = self.vectors(self.summed(genotypes_BSG, tokens_SGT), embeddings_VD)
        return found_BE

    def attention(self, genotypes_BSG: Tensor, embeddings_VD: Tensor) -> Tensor:
        """How people as a whole attend to the vocabulary: (B, H, V)."""
        tokens_SGT, _ = self.tokens(embeddings_VD)
        return self.vectors(self.summed(genotypes_BSG, tokens_SGT), embeddings_VD)[1]

    def summed(self, genotypes_BSG: Tensor, tokens_SGT: Tensor) -> Tensor:
        """The sums (B, T) of the tokens that people have, in the shares that they count with."""
        return genotypes_BSG.flatten(1) @ tokens_SGT.flatten(0, 1) * self.shares(genotypes_BSG)

    def shares(self, genotypes_BSG: Tensor) -> Tensor:
        """How much the numbers of a token count (B, T): what is learnt, over the root of the number of known sites, so
        that it does not tell that; evidence as it is."""
        root_B1 = genotypes_BSG.sum((1, 2))[:, None].clamp(min=1).rsqrt()
        begin, end = self.groups
        evidence_BP = torch.ones_like(root_B1).expand(-1, end - begin)
        return torch.cat([root_B1.expand(-1, self.site.shape[1]), evidence_BP], dim=1)

    def vectors(self, summed_BT: Tensor, embeddings_VD: Tensor) -> tuple[Tensor, Tensor]:
        """What is to become the vectors (B, E) of people with these sums, and their attention (B, H, V)."""
        width = self.site.shape[1]
        seen_BD = self.dropout(self.gain * self.norm(summed_BT[:, :width]))
        told_BV = self._of_words(summed_BT[:, width:]) if self.told else None
        person_BD, weights = self.person(seen_BD, embeddings_VD, bias=told_BV)
        return self.out(person_BD), weights.transpose(0, 1)

    def sites(self, sites: Tensor | None = None) -> Tensor:
        """The panel's sites (S, D), as records see them: what they are, and what their alternate alleles are."""
        return self._at(self.site + self.allele, sites)

    def evidence(self, sites: Tensor | None = None) -> Tensor:
        """How much more likely the genotypes (S, G, P) are in a group than in the others on average, in nats."""
        frequency_SP = self._at(self.group_frequency, sites)
        logs_SP, others_SP = frequency_SP.log(), (-frequency_SP).log1p()
        found_SGP = torch.stack([2 * others_SP, logs_SP + others_SP, 2 * logs_SP], dim=1)
        return found_SGP - found_SGP.mean(2, keepdim=True) if self.told else found_SGP

    def tokens(
        self, embeddings_VD: Tensor, sites: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The tokens (S, G, T), each less what is expected at its site, and their attention (H, S, G, V) by layer.

        The T numbers of a token are the D that are learnt and its evidence for the groups.
        """
        copies_G = torch.arange(GENOTYPES, device=self.site.device, dtype=self.site.dtype)
        frequency_S = self._at(self.frequency, sites)
        surplus_SG1 = (copies_G - 2 * frequency_S[:, None])[..., None]
        mixed_G1 = (copies_G == 1).to(self.site.dtype)[:, None]
        tokens_SGD = (
            self._at(self.site, sites)[:, None]
            + surplus_SG1 * self._at(self.allele, sites)[:, None]
        )
        tokens_SGD = tokens_SGD + mixed_G1 * self._at(self.heterozygote, sites)[:, None]
        evidence_SGP = self.evidence(sites)
        told = self._of_words(evidence_SGP.flatten(0, 1)) if self.told else None
        attention = []
        for layer in self.blocks:
            found, weights = layer(tokens_SGD.flatten(0, 1), embeddings_VD, bias=told)
            tokens_SGD = tokens_SGD + found.view_as(tokens_SGD)
            attention.append(weights.unflatten(1, (-1, GENOTYPES)))
        expected_S1D = (chances(frequency_S)[..., None] * tokens_SGD).sum(1, keepdim=True)
        return torch.cat([tokens_SGD - expected_S1D, evidence_SGP], dim=2), attention

    @property
    def told(self) -> bool:
        """Whether there are groups whose frequencies are known."""
        return self.group_frequency.shape[1] > 0

    def _of_words(self, evidence_NP: Tensor) -> Tensor:
        """Evidence for groups as evidence for words (N, V), 0 for those that are no groups."""
        begin, end = self.groups
        return functional.pad(evidence_NP, (begin, self.words - end))

    @staticmethod
    def _at(table: Tensor, sites: Tensor | None) -> Tensor:
        return table if sites is None else table[sites]


class PhenotypeTower(nn.Module):
    """A query that looks at the columns of a record, and at the sites of the panel, layer by layer."""

    def __init__(self, config: CrossmodalConfig) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(config.width))
        self.columns = nn.ModuleList(
            Block(config.width, config.heads) for _ in range(config.layers)
        )
        self.sites = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.out = nn.Linear(config.width, config.size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A small query; the layers draw their own values."""
        nn.init.normal_(self.query, std=self.query.shape[0] ** -0.5)

    def forward(
        self, tokens_RKD: Tensor, known_RK: Tensor, sites_SD: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """What is to become the vectors (R, E), and the attention to sites (R, H, S) by layer."""
        summed_RD = (tokens_RKD * known_RK[..., None]).sum(1)
        state_RD = self.query + summed_RD
        attention = []
        for columns, sites in zip(self.columns, self.sites, strict=True):
            state_R1D, _ = columns(state_RD[:, None], tokens_RKD, known_RK)
            state_RD, weights_HRS = sites(state_R1D[:, 0], sites_SD)
            attention.append(weights_HRS.transpose(0, 1))
        return self.out(state_RD), attention


class Block(nn.Module):
    """A layer of a transformer that attends to the other side: pre-norm, residual."""

    def __init__(self, width: int, heads: int, strengths: Sequence[float] | None = None) -> None:
        super().__init__()
        self.attention = Attention(width, heads, strengths)
        self.forward_norm = nn.LayerNorm(width)
        self.feed = feed_forward(width)

    def forward(
        self,
        states: Tensor,
        memory: Tensor,
        known: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The next states (..., Q, D), and how they attend to the memory (..., M, D), by head: see `Attention`."""
        found, weights = self.attention(states, memory, known, bias)
        states = states + found
        return states + self.feed(self.forward_norm(states)), weights


def chances(frequency_S: Tensor) -> Tensor:
    """How frequent the genotypes (S, G) are, in Hardy-Weinberg proportions."""
    other_S = 1 - frequency_S
    return torch.stack([other_S**2, 2 * frequency_S * other_S, frequency_S**2], dim=1)


def genotypes_of(copies_BS: Tensor) -> Tensor:
    """Copies 0, 1 and 2 as weights (B, S, G) of the genotypes: all 0 for a site that is missing."""
    return torch.stack([copies_BS == copies for copies in range(GENOTYPES)], dim=2)


def genotypes_of_dosages(dosage_BS: Tensor, known_BS: Tensor) -> Tensor:
    """Dosages from 0 to 2 as weights (B, S, G) of the genotypes next to them, through which gradients flow."""
    one_BS = 1 - (dosage_BS - 1).abs()
    weights_BSG = torch.stack([(1 - dosage_BS).relu(), one_BS, (dosage_BS - 1).relu()], dim=2)
    return weights_BSG * known_BS[..., None]
