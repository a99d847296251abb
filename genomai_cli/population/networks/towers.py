"""The two towers of a crossmodal network: the encoders of samples' genotypes, and of phenotype records.

In the tower of DNA, trained tokens are concatenated with evidence that is not trained: the log likelihood ratios of
genotypes in each of some groups. There sites are independent, in Hardy-Weinberg proportions: the sum over a sample's
sites is that of naive Bayes.

Shape suffixes: B samples, S sites, G genotypes, R records, K columns of phenotypes, V tokens of their vocabulary, D
width, H attention heads, P groups whose allele frequencies are known, T = D + P numbers of a token, E of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.population.phenotypes import Columns

GENOTYPES = 3  # 0, 1 and 2 copies of the alternate allele
FEED_FORWARD_FACTOR = 2  # width of the hidden layer of a block, relative to its states
MIN_FREQUENCY = 1e-3  # no frequency is nearer to 0 or 1


class GroupEvidence(nn.Module):
    """The allele frequencies (S, P) of groups, and the weight of each group's in haplotypes, `worth`."""

    frequency: Tensor
    worth: Tensor

    def __init__(self, sites: int, groups: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.full((sites, groups), 0.5))
        self.register_buffer("worth", torch.full((groups,), 1e9))

    def __len__(self) -> int:
        return self.frequency.shape[1]

    def forward(self, sites: Tensor | None = None) -> Tensor:
        """The log likelihood (S, G, P) of each genotype in a group, less the mean over groups, in nats.

        `sites` are indices, by default all.
        """
        log_SGP = _logs(self._at(sites)[:, None])
        return log_SGP - log_SGP.mean(2, keepdim=True) if len(self) else log_SGP

    def own_evidence(self, genotypes_BSG: Tensor, sites: Tensor | None, members: Tensor) -> Tensor:
        """The part of the evidence (B, P) of samples that is due to their own alleles in the group that they are
        `members` (B,) of, -1 for none: the difference to frequencies without them."""
        frequency_SP = self._at(sites)
        copies_G1 = torch.arange(GENOTYPES, device=frequency_SP.device)[:, None]
        without_SGP = (frequency_SP[:, None] * self.worth - copies_G1) / (self.worth - 2)
        difference_SGP = _logs(frequency_SP[:, None]) - _logs(
            without_SGP.clamp(MIN_FREQUENCY, 1 - MIN_FREQUENCY)
        )
        is_member_BP = members[:, None] == torch.arange(len(self), device=members.device)
        return genotypes_BSG.flatten(1) @ difference_SGP.flatten(0, 1) * is_member_BP

    def _at(self, sites: Tensor | None) -> Tensor:
        return self.frequency if sites is None else self.frequency[sites]


def _logs(frequency_SGP: Tensor) -> Tensor:
    """The log probabilities (S, G, P) of genotypes at their frequencies (S, G or 1, P), up to a constant."""
    copies_G1 = torch.arange(GENOTYPES, device=frequency_SGP.device)[:, None]
    return copies_G1 * frequency_SGP.log() + (2 - copies_G1) * (-frequency_SGP).log1p()


SITE_STRENGTH, SAMPLE_STRENGTH = 2.0, 0.5  # of the evidence of genotypes in the first head,
HEAD_DECAY = 2.5  # and its quotient in each further one, which attends to more distant relatives
INITIAL_GAIN = (
    0.25  # of the sum of tokens, relative to what it attends to, since it is random at first
)


@dataclass(frozen=True)
class CrossmodalConfig:
    """Sizes of a `CrossmodalNetwork`; `columns` is `Columns.to_config()` of its phenotypes, `groups` the category whose
    labels' allele frequencies it holds."""

    sites: int = 1
    columns: dict[str, Any] = field(default_factory=dict)
    groups: str = ""
    width: int = 64
    size: int = 128
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1


class DnaTower(nn.Module):
    """Tokens of sites and genotypes, their layers, and the sum over a sample."""

    frequency: Tensor

    def __init__(self, config: CrossmodalConfig, columns: Columns) -> None:
        super().__init__()
        width, heads, self.vocabulary_size = config.width, config.heads, sum(columns.sizes)
        self.groups = (0, 0)  # where their tokens begin and end
        if config.groups:
            self.groups = columns.bounds[columns.names.index(config.groups)]
        self.evidence = GroupEvidence(config.sites, self.groups[1] - self.groups[0])
        self.register_buffer("frequency", torch.full((config.sites,), 0.5))
        self.site = nn.Parameter(torch.empty(config.sites, width))
        self.allele = nn.Parameter(torch.empty(config.sites, width))
        self.heterozygote = nn.Parameter(torch.empty(config.sites, width))
        site_strengths, sample_strengths = (
            [first * HEAD_DECAY**-head for head in range(heads)] if self.has_groups else None
            for first in (SITE_STRENGTH, SAMPLE_STRENGTH)
        )
        self.blocks = nn.ModuleList(
            Attention(width, heads, site_strengths) for _ in range(config.layers)
        )
        self.gain = nn.Parameter(torch.empty(width))
        self.dropout = nn.Dropout(config.dropout)
        self.person = Block(width, heads, sample_strengths)
        self.out = nn.Linear(width, config.size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sites differ, but the embeddings of genotypes are 0 before training: few steps would leave much of random
        values, which attributions would show. The layers draw their own values."""
        nn.init.normal_(self.site, std=self.site.shape[1] ** -0.5)
        nn.init.zeros_(self.allele)
        nn.init.zeros_(self.heterozygote)
        nn.init.constant_(self.gain, INITIAL_GAIN)

    def forward(
        self,
        genotypes_BSG: Tensor,
        embeddings_VD: Tensor,
        sites: Tensor | None = None,
        members: Tensor | None = None,
    ) -> Tensor:
        """The vectors (B, E) of samples before normalization; `sites` and `members` are those of `sample_vectors`."""
        tokens_SGT, _ = self.tokens(embeddings_VD, sites)
        summed_BT = self.token_sums(genotypes_BSG, tokens_SGT)
        if members is not None and self.has_groups:
            own_BP = self.evidence.own_evidence(genotypes_BSG, sites, members)
            summed_BT = summed_BT - functional.pad(own_BP, (self.site.shape[1], 0))
        return self.vectors(summed_BT, embeddings_VD)[0]

    def token_sums(self, genotypes_BSG: Tensor, tokens_SGT: Tensor) -> Tensor:
        """The weighted sums (B, T) of samples' tokens."""
        return (
            genotypes_BSG.flatten(1) @ tokens_SGT.flatten(0, 1) * self.token_weights(genotypes_BSG)
        )

    def token_weights(self, genotypes_BSG: Tensor) -> Tensor:
        """The weights (B, T) of a token's features: one over the root of the number of known sites for those that are
        trained, so that the sum does not depend on that; 1 for evidence."""
        root_B1 = genotypes_BSG.sum((1, 2))[:, None].clamp(min=1).rsqrt()
        evidence_BP = torch.ones_like(root_B1).expand(-1, len(self.evidence))
        return torch.cat([root_B1.expand(-1, self.site.shape[1]), evidence_BP], dim=1)

    def vectors(self, summed_BT: Tensor, embeddings_VD: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors (B, E), before normalization, of samples with these sums, and their attention (B, H, V)."""
        width = self.site.shape[1]
        query_BD = self.dropout(self.gain * summed_BT[:, :width])
        bias_BV = self._vocabulary_bias(summed_BT[:, width:]) if self.has_groups else None
        sample_BD, weights = self.person(query_BD, embeddings_VD, bias=bias_BV)
        return self.out(sample_BD), weights.transpose(0, 1)

    def sites(self, sites: Tensor | None = None) -> Tensor:
        """The embeddings of the panel's sites (S, D), to which records attend: of the site and its alternate allele."""
        return self._at(self.site + self.allele, sites)

    def tokens(
        self, embeddings_VD: Tensor, sites: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The tokens (S, G, T), each less what is expected at its site, and their attention (H, S, G, V) by layer.

        The T features of a token are the D that are trained and its evidence for the groups.
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
        bias = self._vocabulary_bias(evidence_SGP.flatten(0, 1)) if self.has_groups else None
        attention = []
        for layer in self.blocks:
            attended, weights = layer(tokens_SGD.flatten(0, 1), embeddings_VD, bias=bias)
            tokens_SGD = tokens_SGD + attended.view_as(tokens_SGD)
            attention.append(weights.unflatten(1, (-1, GENOTYPES)))
        expected_S1D = (genotype_frequencies(frequency_S)[..., None] * tokens_SGD).sum(
            1, keepdim=True
        )
        return torch.cat([tokens_SGD - expected_S1D, evidence_SGP], dim=2), attention

    @property
    def has_groups(self) -> bool:
        """Whether there are groups whose frequencies are known."""
        return len(self.evidence) > 0

    def _vocabulary_bias(self, evidence_NP: Tensor) -> Tensor:
        """Evidence for groups as a bias on the vocabulary's tokens (N, V), 0 for those that are no groups."""
        begin, end = self.groups
        return functional.pad(evidence_NP, (begin, self.vocabulary_size - end))

    @staticmethod
    def _at(table: Tensor, sites: Tensor | None) -> Tensor:
        return table if sites is None else table[sites]


class PhenotypeTower(nn.Module):
    """A query that attends to the columns of a record, and to the sites of the panel, layer by layer."""

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
        """The vectors (R, E) before normalization, and the attention to sites (R, H, S) by layer."""
        summed_RD = (tokens_RKD * known_RK[..., None]).sum(1)
        state_RD = self.query + summed_RD
        attention = []
        for columns, sites in zip(self.columns, self.sites, strict=True):
            state_R1D, _ = columns(state_RD[:, None], tokens_RKD, known_RK)
            state_RD, weights_HRS = sites(state_R1D[:, 0], sites_SD)
            attention.append(weights_HRS.transpose(0, 1))
        return self.out(state_RD), attention


def genotype_frequencies(frequency_S: Tensor) -> Tensor:
    """The frequencies of genotypes (S, G) in Hardy-Weinberg proportions."""
    other_S = 1 - frequency_S
    return torch.stack([other_S**2, 2 * frequency_S * other_S, frequency_S**2], dim=1)


class Attention(nn.Module):
    """Scaled dot-product attention with `heads` heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).

    With `strengths`, one a head, it takes a bias on the logits; a strength is the factor of the bias at first, and is
    trained.
    """

    def __init__(self, width: int, heads: int, strengths: Sequence[float] | None = None) -> None:
        super().__init__()
        if width % heads:
            raise TypeError(f"a width of {width} cannot be shared by {heads} heads")
        self.heads = heads
        self.query_norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.strengths = strengths
        if strengths is not None:
            self.log_strength = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first strengths; the layers draw their own values."""
        if self.strengths is not None:
            with torch.no_grad():
                self.log_strength.copy_(torch.tensor(self.strengths).log())

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        known: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The values (..., Q, D) that queries (..., Q, D) attend to in the memory (..., M, D), and the weights
        (..., H, Q, M).

        `known` (..., M) is False at padded positions; where all are, the attended values are 0. `bias` (..., Q, M) is
        added to the logits, times the heads' strengths.
        """
        query, normed_memory = self.query_norm(queries), self.memory_norm(memory)
        query_HQC = self._split(self.query(query))
        key_HMC, value_HMC = (
            self._split(self.key(normed_memory)),
            self._split(self.value(normed_memory)),
        )
        logits_HQM = query_HQC @ key_HMC.transpose(-1, -2) * query_HQC.shape[-1] ** -0.5
        if bias is not None:
            logits_HQM = logits_HQM + self.log_strength.exp()[:, None, None] * bias[..., None, :, :]
        if known is not None:
            masked = ~known[..., None, None, :]
            logits_HQM = logits_HQM.masked_fill(masked, torch.finfo(logits_HQM.dtype).min)
        weights_HQM = logits_HQM.softmax(-1)
        if known is not None:
            weights_HQM = weights_HQM.masked_fill(masked, 0)
        attended = (weights_HQM @ value_HMC).transpose(-2, -3).flatten(-2)
        output: Tensor = self.out(attended)
        return output, weights_HQM

    def _split(self, states: Tensor) -> Tensor:
        """(..., Q, D) to (..., H, Q, C)."""
        return states.reshape(*states.shape[:-1], self.heads, -1).transpose(-2, -3)


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
        """The next states (..., Q, D), and the attention to the memory (..., M, D) by head: see `Attention`."""
        attended, weights = self.attention(states, memory, known, bias)
        states = states + attended
        return states + self.feed(self.forward_norm(states)), weights


def feed_forward(width: int) -> nn.Module:
    """The two layers that follow attention, position by position."""
    return nn.Sequential(
        nn.Linear(width, FEED_FORWARD_FACTOR * width),
        nn.GELU(),
        nn.Linear(FEED_FORWARD_FACTOR * width, width),
    )
