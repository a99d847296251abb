"""How likely a barcode is in each population: a generative classifier with admixture built in.

A population p has an allele frequency at every site s, on the logit scale theta_ps. Its members differ in ancestry
along a few axes V shared by all populations (the leading principal components): a member with coordinates
u ~ N(0, Lambda_p) has the frequencies sigmoid(theta_p + V u). The likelihood of a barcode integrates u out by
Laplace's approximation around its mode (MacKay 2003, chapter 27), found by Newton's method. With Lambda = 0 this is
allele-frequency naive Bayes; the axes add what naive Bayes misses, that the sites of an admixed individual all lean
the same way. Sites that are missing drop out.

Beside the log odds it gives how unlike every population a barcode is (`novelty`; older bundles have a surprise
instead), and by how much a mixture of groups explains it better than a single one. Calls that were chosen by genotype
are judged given that choice (`selected_calls`), and the networks, which know no such condition, have no vote on them.

Shape suffixes: B samples, P populations, S sites, J axes, G groups.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from genomai_cli.backbones.classifier import DOUBT, GROUPS, LIKELIHOOD, OUTSIDE, VOTES
from genomai_cli.population.networks.genotype_mlp import allele_counts
from genomai_cli.population.networks.novelty import Novelty
from genomai_cli.population.networks.selected_calls import (
    WEIGHT,
    is_selected,
    log_likelihood_given_called,
)

# Names of scores, beside those of heads.
SURPRISE, MIXTURE, NOVELTY, INFORMATION = "surprise", "mixture", "novelty", "information"
NEWTON_STEPS = 3
MAX_STEP = 3.0
ROWS_PER_BLOCK = 16  # samples x populations x sites of a block should fit into a processor's cache


class PopulationLikelihood(nn.Module):
    """Allele counts (B, S) to log posterior odds (B, P), up to a constant a sample.

    `nesting` gives for each head the class that each population belongs to; the classes of the coarsest head are the
    groups of which a sample may be a mixture. With `novelty_axes` it knows what to take for unlike everybody.
    """

    name: ClassVar[str] = "likelihood"
    needs_float64: ClassVar[bool] = True

    theta: Tensor
    axes: Tensor
    spread: Tensor
    log_prior: Tensor

    def __init__(
        self,
        populations: int,
        sites: int,
        axes: int,
        nesting: Mapping[str, Sequence[int]] | None = None,
        novelty_axes: int = 0,
    ) -> None:
        super().__init__()
        nested = (nesting or {"population": range(populations)}).values()
        self.groups = list(min(nested, key=lambda groups: len(set(groups))))
        self.register_buffer("theta", torch.zeros(populations, sites))
        self.register_buffer("axes", torch.zeros(sites, axes))
        self.register_buffer("spread", torch.eye(axes).repeat(populations, 1, 1))
        self.register_buffer("log_prior", torch.zeros(populations))
        self.novelty = Novelty(populations, sites, novelty_axes) if novelty_axes else None

    def scores(self, copies_BS: Tensor) -> dict[str, Tensor]:
        """From allele copies (B, S), -1 where missing: the log odds (B, P), whether networks may vote (B,), the gain of
        seeing the sample as a mixture of groups (B,), and the surprise at the sample (B,); or instead of that the log
        odds of groups (B, G) with the doubt that gives them weight, the probability of an outsider, the margin of
        novelty, and the information relative to what is enough (B,)."""
        copies_BS = copies_BS.to(self.theta.device)
        counts = allele_counts(copies_BS, self.theta.dtype)
        selected_B = is_selected(copies_BS)
        log_BP = self(*counts)
        found = {
            LIKELIHOOD: self._given_selection(copies_BS, selected_B, log_BP),
            VOTES: (~selected_B).to(log_BP.dtype),
            MIXTURE: mixture_gain(*counts, self._group_frequencies()),
        }
        if self.novelty is None:
            return found | {SURPRISE: self.surprise(*counts, log_BP.argmax(1))}
        judged = self.novelty(*counts, torch.sigmoid(self.theta))
        return found | {
            GROUPS: self.group_log_odds(*counts),
            DOUBT: self.novelty.doubt(counts[1]).masked_fill(selected_B, 0),
            OUTSIDE: judged.outside.masked_fill(selected_B, 0),
            NOVELTY: judged.margin,
            INFORMATION: self.novelty.sufficiency(counts[1]),
        }

    def group_log_odds(self, alternate_BS: Tensor, total_BS: Tensor) -> Tensor:
        """The log odds (B, G) of the groups without axes: the mean of what naive Bayes says over the populations,
        summed up by group, and over the groups at the mean frequencies of their populations."""
        group_P = torch.tensor(self.groups, device=self.theta.device)
        members = [group_P == group for group in range(max(self.groups) + 1)]
        by_population = _naive_bayes(alternate_BS, total_BS, torch.sigmoid(self.theta))
        by_population = (by_population + self.log_prior).log_softmax(1)
        by_group = _naive_bayes(alternate_BS, total_BS, self._group_frequencies())
        prior_G = torch.stack([self.log_prior[of].logsumexp(0) for of in members])
        sums_BG = torch.stack([by_population[:, of].logsumexp(1) for of in members], dim=1)
        return torch.logaddexp(sums_BG, (by_group + prior_G).log_softmax(1))

    def log_odds(self, copies_BS: Tensor) -> Tensor:
        """The log odds (B, P) of the populations from allele copies (B, S), -1 where missing."""
        # The likelihood may lie on another device than the networks.
        copies_BS = copies_BS.to(self.theta.device)
        log_BP = self(*allele_counts(copies_BS, self.theta.dtype))
        return self._given_selection(copies_BS, is_selected(copies_BS), log_BP)

    def _given_selection(self, copies_BS: Tensor, selected_B: Tensor, log_BP: Tensor) -> Tensor:
        """The log odds (B, P), those of calls that were chosen by genotype given that choice, at the populations' own
        frequencies."""
        if not selected_B.any():
            return log_BP
        given_BP = log_likelihood_given_called(copies_BS[selected_B], torch.sigmoid(self.theta))
        log_BP = log_BP.clone()
        log_BP[selected_B] = WEIGHT * given_BP + self.log_prior
        return log_BP

    def _group_frequencies(self) -> Tensor:
        """Allele frequencies (G, S) of the groups: the means over their populations."""
        group_P = torch.tensor(self.groups, device=self.theta.device)
        frequency_PS = torch.sigmoid(self.theta)
        groups = range(max(self.groups) + 1)
        return torch.stack([frequency_PS[group_P == group].mean(0) for group in groups])

    def forward(self, alternate_BS: Tensor, total_BS: Tensor) -> Tensor:
        """Log likelihood plus log prior of every population (B, P)."""
        blocks = [
            self._log_odds(
                alternate_BS[at : at + ROWS_PER_BLOCK], total_BS[at : at + ROWS_PER_BLOCK]
            )
            for at in range(0, len(alternate_BS), ROWS_PER_BLOCK)
        ]
        return torch.cat(blocks)

    def _log_odds(self, alternate_BS: Tensor, total_BS: Tensor) -> Tensor:
        precision_PJJ = torch.linalg.inv(self.spread)
        u_BPJ = mode(alternate_BS, total_BS, self.theta, self.axes, precision_PJJ)
        logit_BPS = self.theta + u_BPJ @ self.axes.T
        # log f = logit - softplus(logit) and log(1 - f) = -softplus(logit).
        fit_BP = (
            alternate_BS @ self.theta.T + (u_BPJ @ (alternate_BS @ self.axes).unsqueeze(2))[..., 0]
        )
        fit_BP = fit_BP - torch.einsum("bs,bps->bp", total_BS, softplus(logit_BPS))
        prior_BP = -0.5 * torch.einsum("bpj,pjk,bpk->bp", u_BPJ, precision_PJJ, u_BPJ)
        information = curvature(total_BS, torch.sigmoid(logit_BPS), self.axes)
        identity = torch.eye(u_BPJ.shape[-1], dtype=u_BPJ.dtype, device=u_BPJ.device)
        volume_BP = -0.5 * torch.linalg.slogdet(identity + self.spread @ information).logabsdet
        odds_BP: Tensor = fit_BP + prior_BP + volume_BP + self.log_prior
        return odds_BP

    def surprise(self, alternate_BS: Tensor, total_BS: Tensor, best_B: Tensor) -> Tensor:
        """How much less likely a barcode is than members of its best population are: a z-score (B,).

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


def _naive_bayes(alternate_BS: Tensor, total_BS: Tensor, frequency_CS: Tensor) -> Tensor:
    """The log likelihood of the alleles (B, C) at the frequencies of each class."""
    reference_BS = total_BS - alternate_BS
    return alternate_BS @ frequency_CS.log().T + reference_BS @ torch.log1p(-frequency_CS).T


def mode(
    alternate_BS: Tensor,
    total_BS: Tensor,
    theta_PS: Tensor,
    axes_SJ: Tensor,
    precision_PJJ: Tensor,
) -> Tensor:
    """The most probable coordinates u (B, P, J) of each sample as a member of each population.

    `theta_PS` and `precision_PJJ` may have a first dimension B of their own.
    """
    seen_B1J = (alternate_BS @ axes_SJ).unsqueeze(1)
    f_BPS = torch.sigmoid(theta_PS)  # at u = 0 the same for all samples, which spares a step
    f_BPS = f_BPS if f_BPS.dim() == 3 else f_BPS.expand(len(alternate_BS), -1, -1)
    u_BPJ = alternate_BS.new_zeros(*f_BPS.shape[:2], axes_SJ.shape[1])
    for step in range(NEWTON_STEPS):
        if step:
            f_BPS = torch.sigmoid(theta_PS + u_BPJ @ axes_SJ.T)
        expected_BPJ = (total_BS.unsqueeze(1) * f_BPS) @ axes_SJ
        slope_BPJ = seen_B1J - expected_BPJ - (u_BPJ.unsqueeze(-2) @ precision_PJJ).squeeze(-2)
        bend_BPJJ = curvature(total_BS, f_BPS, axes_SJ) + precision_PJJ
        step_BPJ = torch.linalg.solve(bend_BPJJ, slope_BPJ.unsqueeze(-1)).squeeze(-1)
        u_BPJ = u_BPJ + step_BPJ.clamp(-MAX_STEP, MAX_STEP)
    return u_BPJ


def curvature(total_BS: Tensor, f_BPS: Tensor, axes_SJ: Tensor) -> Tensor:
    """The Fisher information about u: V' diag(n f (1 - f)) V, (B, P, J, J)."""
    products_SK = (axes_SJ.unsqueeze(2) * axes_SJ.unsqueeze(1)).flatten(1)
    weight_BPS = total_BS.unsqueeze(1) * f_BPS * (1 - f_BPS)
    flat_BPK = weight_BPS @ products_SK
    return flat_BPK.reshape(*flat_BPK.shape[:-1], *(axes_SJ.shape[1],) * 2)


EM_STEPS = 30
FIRST_SHARE = 0.8  # of the best single group, where the search begins


def mixture_gain(alternate_BS: Tensor, total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
    """By how many nats (B,) a mixture of the groups explains the alleles better than the best group.

    The mixture's shares are of maximum likelihood, found by expectation-maximisation with the groups'
    frequencies held fixed (Tang et al. 2005, Genet Epidemiol 28:289), starting near the best group.
    `frequency_GS` is of the alternate allele, strictly between 0 and 1. Slightly negative where
    the search has not converged to a single group.
    """
    reference_BS = total_BS - alternate_BS
    single_BG = _naive_bayes(alternate_BS, total_BS, frequency_GS)
    shares_BG = _first_shares(single_BG)
    alleles_B1 = total_BS.sum(1, keepdim=True).clamp(min=1)
    for _ in range(EM_STEPS):
        mixed_BS = shares_BG @ frequency_GS
        explained_BG = (alternate_BS / mixed_BS) @ frequency_GS.T
        explained_BG += (reference_BS / (1 - mixed_BS)) @ (1 - frequency_GS).T
        shares_BG = shares_BG * explained_BG / alleles_B1
    mixed_BS = shares_BG @ frequency_GS
    mixture_B = (alternate_BS * mixed_BS.log() + reference_BS * torch.log1p(-mixed_BS)).sum(1)
    return mixture_B - single_BG.max(1).values


def _first_shares(single_BG: Tensor) -> Tensor:
    groups = single_BG.shape[1]
    rest = (1 - FIRST_SHARE) / max(1, groups - 1)
    shares_BG = torch.full_like(single_BG, rest)
    return shares_BG.scatter(1, single_BG.argmax(1, keepdim=True), FIRST_SHARE)
