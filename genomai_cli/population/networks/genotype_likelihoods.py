"""Genotypes of which only likelihoods are known: the exact likelihood of allele frequencies.

A site with the likelihoods L of 0, 1 and 2 alternate alleles has, at the allele frequency f, the probability
L0 (1 - f)^2 + L1 2 f (1 - f) + L2 f^2 (as in Li 2011, Bioinformatics 27:2987): one read of low coverage counts for one
allele, a certain genotype for two, equal likelihoods for none. No number of alleles, integer or not, is equivalent at
all frequencies, so the logarithms of the polynomials are summed.

Shape suffixes: B samples, P populations or classes, S sites, J axes; 3 genotypes by copies of the alternate allele.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from genomai_cli.population.networks.laplace import (
    MAX_STEP,
    NEWTON_STEPS,
    axis_products,
    candidates,
    laplace_correction,
    symmetric_matrices,
)

MIN_PROBABILITY = 1e-12  # of a probability
MIN_FREQUENCY = 1e-4


class Polynomial(NamedTuple):
    """The probability of each site's data (..., S) at the allele frequency f: c0 + c1 f + c2 f^2."""

    c0: Tensor
    c1: Tensor
    c2: Tensor

    @classmethod
    def of(cls, likelihood_S3: Tensor) -> "Polynomial":
        """The polynomial of likelihoods (..., S, 3)."""
        none, one, two = likelihood_S3.unbind(-1)
        return cls(none, 2 * (one - none), none - 2 * one + two)

    def probabilities(self, frequency_PS: Tensor) -> Tensor:
        """The probabilities (P, S) at these frequencies."""
        probability_PS: Tensor = self.c0 + frequency_PS * (self.c1 + frequency_PS * self.c2)
        return probability_PS.clamp(min=MIN_PROBABILITY)

    def terms(self, frequency_PS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The log probability of all sites (P,), and each site's slope and curvature (P, S) by the logit of f.

        The slope is the number of alternate alleles to be expected beyond 2 f. A curvature is never negative: where a
        likelihood is not concave, which needs rare alleles or two unlikely genotypes and a likely one, it is 0.
        """
        p_PS = self.probabilities(frequency_PS)
        variance_PS = frequency_PS * (1 - frequency_PS)
        ratio_PS = (self.c1 + 2 * self.c2 * frequency_PS) / p_PS
        slope_PS = variance_PS * ratio_PS
        second_PS = variance_PS.square() * 2 * self.c2 / p_PS
        curvature_PS = slope_PS.square() - second_PS - (1 - 2 * frequency_PS) * slope_PS
        return p_PS.log().sum(-1), slope_PS, curvature_PS.clamp(min=0)


def is_known(likelihood_BS3: Tensor) -> Tensor:
    """Where (B, S) likelihoods are informative: those of missing genotypes are equal."""
    known_BS: Tensor = (likelihood_BS3 != likelihood_BS3[..., :1]).any(-1)
    return known_BS


def surplus(likelihood_BS3: Tensor, frequency_S: Tensor) -> tuple[Tensor, Tensor]:
    """The alternate alleles expected beyond 2 f at the frequencies f, and how much each genotype is known (B, S): 1 for
    a certain one, 0 for a missing one, less than half for a single read."""
    frequency_S = frequency_S.clamp(MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    _, slope_BS, curvature_BS = Polynomial.of(likelihood_BS3.to(frequency_S)).terms(frequency_S)
    known_BS = curvature_BS / (2 * frequency_S * (1 - frequency_S))
    return slope_BS, known_BS.clamp(max=1)


def log_likelihood(likelihood_BS3: Tensor, frequency_PS: Tensor) -> Tensor:
    """The log likelihood (B, P) of genotypes whose alleles are independent at the frequencies of each population."""
    rows = [
        Polynomial.of(row_S3).probabilities(frequency_PS).log().sum(1) for row_S3 in likelihood_BS3
    ]
    return torch.stack(rows)


@dataclass(frozen=True)
class Populations:
    """Logit frequencies (P, S), the axes (S, J) along which members differ, and their spread (P, J, J) along them."""

    theta: Tensor
    axes: Tensor
    spread: Tensor

    def log_integrals(self, likelihood_S3: Tensor) -> Tensor:
        """The log likelihood (P,) of a sample's genotypes, its coordinates on the axes integrated out.

        By Laplace's approximation for the populations that come near the best, by the quadratic at 0 for the others.
        """
        known_S = is_known(likelihood_S3)
        data, theta_PS = Polynomial.of(likelihood_S3[known_S]), self.theta[:, known_S]
        axes_SJ, precision_PJJ = self.axes[known_S], torch.linalg.inv(self.spread)
        naive_P, slope_PS, curvature_PS = data.terms(torch.sigmoid(theta_PS))
        slope_PJ, curvature_PJJ = slope_PS @ axes_SJ, _curvature(curvature_PS, axes_SJ)
        u_PJ = torch.linalg.solve(curvature_PJJ + precision_PJJ, slope_PJ.unsqueeze(-1)).squeeze(-1)
        quadratic_P = (
            naive_P
            + 0.5 * (slope_PJ * u_PJ).sum(1)
            + laplace_correction(curvature_PJJ, self.spread)
        )
        chosen_P = candidates(naive_P.unsqueeze(0), quadratic_P.unsqueeze(0)).squeeze(0)
        laplace_N = _laplace(
            data,
            theta_PS[chosen_P],
            axes_SJ,
            self.spread[chosen_P],
            u_PJ[chosen_P].clamp(-MAX_STEP, MAX_STEP),
        )
        log_P = torch.minimum(quadratic_P, laplace_N.min())
        log_P[chosen_P] = laplace_N
        return log_P


def _laplace(
    data: Polynomial, theta_NS: Tensor, axes_SJ: Tensor, spread_NJJ: Tensor, u_NJ: Tensor
) -> Tensor:
    """The log likelihood (N,) in each of some populations, from coordinates near the mode."""
    precision_NJJ = torch.linalg.inv(spread_NJJ)
    for _ in range(NEWTON_STEPS - 1):
        _, slope_NS, curvature_NS = data.terms(torch.sigmoid(theta_NS + u_NJ @ axes_SJ.T))
        slope_NJ = slope_NS @ axes_SJ - (u_NJ.unsqueeze(1) @ precision_NJJ).squeeze(1)
        curvature_NJJ = _curvature(curvature_NS, axes_SJ) + precision_NJJ
        step_NJ = torch.linalg.solve(curvature_NJJ, slope_NJ.unsqueeze(-1)).squeeze(-1)
        u_NJ = u_NJ + step_NJ.clamp(-MAX_STEP, MAX_STEP)
    fit_N, _, curvature_NS = data.terms(torch.sigmoid(theta_NS + u_NJ @ axes_SJ.T))
    prior_N = -0.5 * torch.einsum("nj,njk,nk->n", u_NJ, precision_NJJ, u_NJ)
    return fit_N + prior_N + laplace_correction(_curvature(curvature_NS, axes_SJ), spread_NJJ)


def _curvature(curvature_PS: Tensor, axes_SJ: Tensor) -> Tensor:
    return symmetric_matrices(curvature_PS @ axis_products(axes_SJ), axes_SJ.shape[1])


def equivalent_counts(likelihood_BS3: Tensor, frequency_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Counts of alternate alleles and all alleles (B, S), not integers, that are equivalent to the likelihoods near
    these frequencies: with the same slope and curvature, by the logit."""
    _, slope_BS, curvature_BS = Polynomial.of(likelihood_BS3).terms(frequency_BS)
    total_BS = (curvature_BS / (frequency_BS * (1 - frequency_BS))).clamp(max=2)
    return slope_BS + total_BS * frequency_BS, total_BS
