"""The likelihood of a barcode in each population: a generative classifier with admixture built in.

A population p has an allele frequency at every site s, on the logit scale theta_ps. Its members differ in ancestry
along a few axes V shared by all populations (the leading principal components): a member with coordinates
u ~ N(0, Lambda_p) has the frequencies sigmoid(theta_p + V u). The likelihood of a barcode integrates u out by
Laplace's approximation around its mode (MacKay 2003, chapter 27), found by Newton's method. With Lambda = 0 this is
allele-frequency naive Bayes; the axes add what naive Bayes misses, that the sites of an admixed individual all lean
the same way. Sites that are missing drop out.

Beside the log odds it gives how unlike every population a barcode is (`novelty`; older bundles have a surprise
instead), and by how much a mixture of groups explains it better than a single one. Calls that were chosen by genotype
are scored given that choice (`selected_calls`), and the networks, which cannot condition on it, do not vote on them.

Shape suffixes: B samples, P populations, S sites, J axes, G groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from genomai_cli.backbones.classifier import (
    DOUBT,
    EVEN,
    GROUPS,
    KNOWN,
    LIKELIHOOD,
    OUTSIDE,
    VOTES,
)
from genomai_cli.population.networks.genotype_likelihoods import (
    Populations,
    equivalent_counts,
    log_likelihood,
)
from genomai_cli.population.networks.genotype_mlp import allele_counts, naive_bayes
from genomai_cli.population.networks.laplace import (
    MAX_STEP,
    axis_products,
    candidates,
    curvature,
    laplace_correction,
    mode,
    symmetric_matrices,
)
from genomai_cli.population.networks.mixture_gain import mixture_gain, mixture_gain_of
from genomai_cli.population.networks.novelty import Novelty, evenness, known_information
from genomai_cli.population.networks.selected_calls import (
    UNCERTAIN,
    WEIGHT,
    is_selected,
    log_likelihood_given_called,
)

# Names of scores, in addition to those of heads.
SURPRISE, MIXTURE, NOVELTY, INFORMATION = "surprise", "mixture", "novelty", "information"
SELECTED = "selected"
NUMBERS_PER_BLOCK = (
    1 << 19
)  # pairs of a sample and a population x sites: a block should fit into a processor's cache
FEW_SITES = 0.5  # share of sites below which a sample is a block of its own
FULL_PANEL = 0.8  # share of sites above which tables are those of all sites


class ScoredCalls(NamedTuple):
    """Copies (B, S), the counts of alternate alleles and all alleles, both (B, S), whether the calls were chosen by
    genotype (B,), and the log odds (B, P) if they were not."""

    copies: Tensor
    counts: tuple[Tensor, Tensor]
    selected: Tensor
    log_odds: Tensor


class PopulationLikelihood(nn.Module):
    """Allele counts (B, S) to log posterior odds (B, P), up to a constant a sample.

    `nesting` gives for each head the class that each population belongs to; the classes of the coarsest head are the
    groups of which a sample may be a mixture. With `novelty_axes` it has a `Novelty`, with `information` the
    information of each site about the populations.
    """

    name: ClassVar[str] = "likelihood"
    needs_float64: ClassVar[bool] = True

    theta: Tensor
    axes: Tensor
    spread: Tensor
    log_prior: Tensor
    information: Tensor

    def __init__(
        self,
        populations: int,
        sites: int,
        axes: int,
        nesting: Mapping[str, Sequence[int]] | None = None,
        novelty_axes: int = 0,
        *,
        information: bool = False,
    ) -> None:
        super().__init__()
        nested = (nesting or {"population": range(populations)}).values()
        self.groups = list(min(nested, key=lambda groups: len(set(groups))))
        self._cached_tables: tuple[Any, Tables] | None = None
        self.register_buffer("theta", torch.zeros(populations, sites))
        self.register_buffer("axes", torch.zeros(sites, axes))
        self.register_buffer("spread", torch.eye(axes).repeat(populations, 1, 1))
        self.register_buffer("log_prior", torch.zeros(populations))
        self.novelty = Novelty(populations, sites, novelty_axes) if novelty_axes else None
        self.has_information = information
        if information:
            self.register_buffer("information", torch.ones(sites))

    def scores(self, inputs: Tensor) -> dict[str, Tensor]:
        """From allele copies (B, S), -1 where missing, or likelihoods of genotypes (B, S, 3): the log odds (B, P), the
        known share of the information (B,), whether networks may vote and whether the calls were chosen by genotype
        (B,), the gain of a mixture of groups (B,), and the surprise at the sample (B,); or instead of that the log odds
        of groups (B, G) with their weight, the probability of an outsider, the margin of novelty, and how well the
        groups can be distinguished, relative to what is sufficient (B,)."""
        if inputs.dim() == 3:
            return self._scores_of_likelihoods(inputs.to(self.theta))
        calls = self._score_calls(inputs)
        counts, selected_B, log_BP = calls.counts, calls.selected, calls.log_odds
        frequency_PS = torch.sigmoid(self.theta)
        scores = self._fusion_scores(calls) | {
            VOTES: (~selected_B).to(log_BP.dtype),
            SELECTED: selected_B.to(log_BP.dtype),
            MIXTURE: mixture_gain(*counts, self._group_frequencies(frequency_PS)),
        }
        if self.novelty is None:
            outsider = {OUTSIDE: UNCERTAIN * scores[SELECTED]}
            return scores | outsider | {SURPRISE: self.surprise(*counts, log_BP.argmax(1))}
        novelty = self.novelty(*counts, frequency_PS)
        by_group = naive_bayes(*counts, self._group_frequencies(frequency_PS))
        return scores | {
            GROUPS: self.group_log_odds(naive_bayes(*counts, frequency_PS), by_group),
            DOUBT: self.novelty.naive_bayes_weight(counts[1]).masked_fill(selected_B, 0),
            OUTSIDE: novelty.outsider_probability.masked_fill(selected_B, UNCERTAIN),
            NOVELTY: novelty.margin,
            INFORMATION: self.novelty.sufficiency(counts[1], self._group_frequencies(frequency_PS)),
        }

    def _scores_of_likelihoods(self, likelihood_BS3: Tensor) -> dict[str, Tensor]:
        """The scores of genotypes that are not certain, and were not chosen by what they are."""
        populations = Populations(self.theta, self.axes, self.spread)
        log_BP = torch.stack([populations.log_integrals(row) for row in likelihood_BS3])
        log_BP = log_BP + self.log_prior
        frequency_PS = torch.sigmoid(self.theta)
        frequency_GS = self._group_frequencies(frequency_PS)
        by_population_BP = log_likelihood(likelihood_BS3, frequency_PS)
        counts = equivalent_counts(likelihood_BS3, frequency_PS[by_population_BP.argmax(1)])
        # The weights are by the information of genotypes of two alleles: a share of one counts for that share.
        known_BS = counts[1] / 2
        gain_B = torch.stack([mixture_gain_of(row, frequency_GS) for row in likelihood_BS3])
        scores = {LIKELIHOOD: log_BP, MIXTURE: gain_B, VOTES: torch.ones_like(gain_B)}
        scores[SELECTED] = torch.zeros_like(gain_B)
        if self.has_information:
            scores |= self._information_scores(known_BS)
        if self.novelty is None:
            surprise_B = self.surprise(*counts, log_BP.argmax(1))
            return scores | {OUTSIDE: torch.zeros_like(gain_B), SURPRISE: surprise_B}
        novelty = self.novelty(*counts, frequency_PS, by_population_BP)
        by_group_BG = log_likelihood(likelihood_BS3, frequency_GS)
        return scores | {
            GROUPS: self.group_log_odds(by_population_BP, by_group_BG),
            DOUBT: self.novelty.naive_bayes_weight(known_BS),
            OUTSIDE: novelty.outsider_probability,
            NOVELTY: novelty.margin,
            INFORMATION: self.novelty.sufficiency(counts[1], frequency_GS),
        }

    def _information_scores(self, known_BS: Tensor) -> dict[str, Tensor]:
        """The share of the information about the populations that the known sites have, and how even they are (B,)."""
        known_B = known_information(known_BS, self.information)
        share_B = known_B / self.information.sum().clamp(min=1e-9)
        return {KNOWN: share_B, EVEN: evenness(known_BS)}

    def mean_frequency(self) -> Tensor:
        """The alternate alleles' mean frequencies (S,) over the populations."""
        return torch.sigmoid(self.theta).mean(0)

    def group_log_odds(self, by_population: Tensor, by_group: Tensor) -> Tensor:
        """The log odds (B, G) of the groups without axes: the mean of two posteriors by naive Bayes, that of the
        populations (B, P), summed up by group, and that of the groups (B, G) at their populations' mean frequencies."""
        group_P = torch.tensor(self.groups, device=self.theta.device)
        members = [group_P == group for group in range(max(self.groups) + 1)]
        by_population = (by_population + self.log_prior).log_softmax(1)
        prior_G = torch.stack([self.log_prior[member_P].logsumexp(0) for member_P in members])
        sums_BG = torch.stack(
            [by_population[:, member_P].logsumexp(1) for member_P in members], dim=1
        )
        return torch.logaddexp(sums_BG, (by_group + prior_G).log_softmax(1))

    def fused(self, copies_BS: Tensor) -> dict[str, Tensor]:
        """The scores that a fusion reads."""
        return self._fusion_scores(self._score_calls(copies_BS))

    def _score_calls(self, copies_BS: Tensor) -> ScoredCalls:
        # The likelihood may lie on another device than the networks.
        copies_BS = copies_BS.to(self.theta.device)
        counts = allele_counts(copies_BS, self.theta.dtype)
        selected_B, log_BP = is_selected(copies_BS, self.theta), self(*counts)
        return ScoredCalls(copies_BS, counts, selected_B, log_BP)

    def _fusion_scores(self, calls: ScoredCalls) -> dict[str, Tensor]:
        """The log odds, the share of the information about the populations that is known (B,), and how evenly (B,)."""
        scores = {LIKELIHOOD: self._given_selection(calls)}
        if self.has_information:
            scores |= self._information_scores(calls.counts[1])
        return scores

    def _given_selection(self, calls: ScoredCalls) -> Tensor:
        """The log odds (B, P), those of calls that were chosen by genotype given that choice, at the populations' own
        frequencies."""
        selected_B = calls.selected
        if not selected_B.any():
            return calls.log_odds
        selected_BP = log_likelihood_given_called(
            calls.copies[selected_B], torch.sigmoid(self.theta)
        )
        log_BP = calls.log_odds.clone()
        log_BP[selected_B] = WEIGHT * selected_BP + self.log_prior
        return log_BP

    def _group_frequencies(self, frequency_PS: Tensor) -> Tensor:
        """Allele frequencies (G, S) of the groups: the means over their populations."""
        group_P = torch.tensor(self.groups, device=self.theta.device)
        groups = range(max(self.groups) + 1)
        return torch.stack([frequency_PS[group_P == group].mean(0) for group in groups])

    def forward(self, alternate_BS: Tensor, total_BS: Tensor) -> Tensor:
        """Log likelihood plus log prior of every population (B, P).

        The integral is Laplace's for the populations that come near the best; for the others it is that of the
        quadratic at u = 0, whose slope and curvature are products of matrices.
        """
        known_S = (total_BS > 0).any(0)
        tables = self._tables_at(known_S)
        if tables.sites is not None:
            alternate_BS, total_BS = alternate_BS[:, tables.sites], total_BS[:, tables.sites]
        naive_BP = alternate_BS @ tables.theta.T - total_BS @ tables.softplus
        quadratic_BP, u_BPJ = self._quadratic(alternate_BS, total_BS, naive_BP, tables)
        chosen_BP = candidates(naive_BP, quadratic_BP)
        laplace = [
            self._laplace(block, tables)
            for block in _blocks(alternate_BS, total_BS, u_BPJ, chosen_BP, tables)
        ]
        laplace_BP = quadratic_BP.new_full(quadratic_BP.shape, torch.inf)
        laplace_BP[chosen_BP] = torch.cat(laplace) if laplace else laplace_BP[chosen_BP]
        min_B1 = laplace_BP.amin(1, keepdim=True)
        odds_BP: Tensor = torch.where(chosen_BP, laplace_BP, torch.minimum(quadratic_BP, min_B1))
        return odds_BP + self.log_prior

    def _tables_at(self, known_S: Tensor) -> "Tables":
        """The tables at the known sites, at all sites where most are known; the last tables are cached."""
        sites = None if known_S.double().mean() > FULL_PANEL else known_S.nonzero().squeeze(1)
        versions = [t._version for t in (self.theta, self.axes, self.spread)]
        key = (
            None if sites is None else sites.tolist(),
            self.theta.dtype,
            self.theta.device,
            versions,
        )
        if self._cached_tables is None or self._cached_tables[0] != key:
            self._cached_tables = (key, Tables.of(self, sites))
        return self._cached_tables[1]

    def _quadratic(
        self, alternate_BS: Tensor, total_BS: Tensor, naive_BP: Tensor, tables: "Tables"
    ) -> tuple[Tensor, Tensor]:
        """The log likelihood (B, P) by the quadratic at u = 0, and its mode (B, P, J)."""
        axes = self.axes.shape[1]
        expected_BPJ = (total_BS @ tables.slope).reshape(len(total_BS), -1, axes)
        slope_BPJ = (alternate_BS @ tables.axes).unsqueeze(1) - expected_BPJ
        curvature_BPK = (total_BS @ tables.curvature).reshape(len(total_BS), len(self.theta), -1)
        curvature_BPJJ = symmetric_matrices(curvature_BPK, axes)
        correction_BP = laplace_correction(curvature_BPJJ, tables.spread)
        u_BPJ = torch.linalg.solve(curvature_BPJJ + tables.precision, slope_BPJ.unsqueeze(-1))
        u_BPJ = u_BPJ.squeeze(-1)
        return naive_BP + 0.5 * (slope_BPJ * u_BPJ).sum(2) + correction_BP, u_BPJ

    def _laplace(self, block: "Block", tables: "Tables") -> Tensor:
        """The log likelihood (N,) of samples in one population each, by Laplace's approximation."""
        theta_N1S, precision_NJJ = block.theta.unsqueeze(1), tables.precision[block.population]
        start_N1J = block.u.clamp(-MAX_STEP, MAX_STEP).unsqueeze(1)
        counts = block.alternate, block.total
        u_N1J = mode(*counts, theta_N1S, block.axes, precision_NJJ.unsqueeze(1), start_N1J)
        u_NJ = u_N1J.squeeze(1)
        logit_NS = block.theta + u_NJ @ block.axes.T
        # log f = logit - softplus(logit) and log(1 - f) = -softplus(logit).
        fit_N = (block.alternate * logit_NS - block.total * softplus(logit_NS)).sum(1)
        prior_N = -0.5 * torch.einsum("nj,njk,nk->n", u_NJ, precision_NJJ, u_NJ)
        curvature_NJJ = curvature(block.total, torch.sigmoid(logit_NS).unsqueeze(1), block.axes)
        return (
            fit_N
            + prior_N
            + laplace_correction(curvature_NJJ.squeeze(1), tables.spread[block.population])
        )

    def surprise(self, alternate_BS: Tensor, total_BS: Tensor, best_B: Tensor) -> Tensor:
        """How much less likely a barcode is than members of its best population, as a z-score (B,).

        The log-likelihood of the alleles, against its mean and standard deviation under the model.
        """
        theta_B1S = self.theta[best_B].unsqueeze(1)
        precision_B1JJ = torch.linalg.inv(self.spread[best_B]).unsqueeze(1)
        u_BJ = mode(alternate_BS, total_BS, theta_B1S, self.axes, precision_B1JJ).squeeze(1)
        logit_BS = theta_B1S.squeeze(1) + u_BJ @ self.axes.T
        f_BS = torch.sigmoid(logit_BS)
        surplus_BS = (alternate_BS - total_BS * f_BS) * logit_BS
        deviation_B = (total_BS * f_BS * (1 - f_BS) * logit_BS.square()).sum(1).sqrt()
        return -surplus_BS.sum(1) / deviation_B.clamp(min=1e-9)


class Block(NamedTuple):
    """Pairs of a sample and a population: alleles, all and logit frequencies (N, S), populations (N,), first u (N, J);
    and the axes (S, J)."""

    alternate: Tensor
    total: Tensor
    theta: Tensor
    population: Tensor
    u: Tensor
    axes: Tensor


def _blocks(
    alternate_BS: Tensor,
    total_BS: Tensor,
    u_BPJ: Tensor,
    chosen_BP: Tensor,
    tables: "Tables",
) -> Iterator[Block]:
    """The chosen pairs in their order: a sample with few sites by itself at these, others together at all sites of the
    tables."""
    known_BS = total_BS > 0
    is_sparse_B = (known_BS.double().mean(1) < FEW_SITES).tolist()
    start = 0
    while start < len(is_sparse_B):
        end = start + 1
        if not is_sparse_B[start]:
            while end < len(is_sparse_B) and not is_sparse_B[end]:
                end += 1
        sites: Tensor | slice = (
            known_BS[start].nonzero()[:, 0] if is_sparse_B[start] else slice(None)
        )
        columns = alternate_BS[start:end, sites], total_BS[start:end, sites]
        theta_PS, axes_SJ = tables.theta[:, sites], tables.axes[sites]
        b_N, p_N = chosen_BP[start:end].nonzero(as_tuple=True)
        rows = max(1, NUMBERS_PER_BLOCK // max(1, theta_PS.shape[1]))
        for at in range(0, len(b_N), rows):
            b, p = b_N[at : at + rows], p_N[at : at + rows]
            counts = columns[0][b], columns[1][b]
            yield Block(*counts, theta_PS[p], p, u_BPJ[start + b, p], axes_SJ)
        start = end


@dataclass(frozen=True)
class Tables:
    """Functions of the likelihood's parameters, at the sites with these indices; None for all."""

    sites: Tensor | None
    theta: Tensor  # (P, S)
    softplus: Tensor  # (S, P)
    axes: Tensor  # (S, J)
    slope: Tensor  # (S, P J)
    curvature: Tensor  # (S, P pairs of axes)
    spread: Tensor  # (P, J, J)
    precision: Tensor  # (P, J, J)

    @classmethod
    def of(cls, likelihood: PopulationLikelihood, sites: Tensor | None) -> "Tables":
        """The tables of a likelihood."""
        columns: Tensor | slice = slice(None) if sites is None else sites
        theta_PS, axes_SJ = likelihood.theta[:, columns], likelihood.axes[columns]
        f_SP1 = torch.sigmoid(theta_PS).T.unsqueeze(2)
        return cls(
            sites,
            theta_PS,
            softplus(theta_PS).T.contiguous(),
            axes_SJ,
            (f_SP1 * axes_SJ.unsqueeze(1)).flatten(1),
            (f_SP1 * (1 - f_SP1) * axis_products(axes_SJ).unsqueeze(1)).flatten(1),
            likelihood.spread,
            torch.linalg.inv(likelihood.spread),
        )
