"""Estimates a `PopulationLikelihood` from genotypes: no gradient, no tuning on anything held out.

Shape suffixes: N samples, P populations, S sites, J axes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.population.networks.genotype_mlp import allele_counts, is_haploid
from genomai_cli.population.networks.laplace import curvature, mode
from genomai_cli.population.networks.likelihood import PopulationLikelihood
from genomai_cli.population.networks.novelty import novelty_axes
from genomai_cli.population.panel import informativeness, smoothed_frequencies

Array = NDArray[np.float64]
RIDGE = 0.03  # of the regression, per site
MIN_FREQUENCY = 0.004  # no predicted frequency is nearer than this to 0 or 1
NEVER = 1e-6  # the frequency of an allele that was never seen, without shrinkage
AXIS_SCALE = 0.3  # root mean square of an axis, on the logit scale
PRIOR_MEMBERS = 5  # without any spread, added to a population's own
SHRINKAGES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0, 400.0)  # haplotypes


@dataclass(frozen=True)
class LikelihoodSettings:
    """The population likelihood attached to the networks: of which head, with how many ancestry axes.

    `shrinkage` is how many haplotypes the frequencies that the other classes predict are worth.
    """

    head: str
    axes: int = 3
    shrinkage: float = 30.0

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "axes": (1, math.inf),
        "shrinkage": (0, math.inf),
    }

    def config(self, nesting: Mapping[str, list[int]]) -> dict[str, Any]:
        """Its part of a bundle's config."""
        groups = min(len(set(group_of)) for group_of in nesting.values())
        return {
            "head": self.head,
            "axes": self.axes,
            "nesting": dict(nesting),
            "novelty_axes": novelty_axes(len(nesting[self.head]), groups),
            "information": True,
            "by_group": True,
        }


def fit_likelihood(
    copies_NS: NDArray[np.int8],
    populations: NDArray[np.int64],
    count: int,
    *,
    axes: int,
    shrinkage: float,
    nesting: Mapping[str, Sequence[int]] | None = None,
) -> PopulationLikelihood:
    """The likelihood of the populations 0 ... `count` - 1, from allele copies (-1 where missing).

    A population's frequency at a site is its allele count plus `shrinkage` haplotypes at the frequency
    that the other populations predict there, by ridge regression across the sites: an empirical-Bayes
    estimate (Efron and Morris 1973) whose prior knows who is related to whom. The axes are the leading
    principal components of the genotypes; the spread of a population along them is the covariance of
    its members' coordinates, each fitted with frequencies that do not know that member, less that of
    their errors. `nesting` is that of `PopulationLikelihood`.
    """
    alternate_PS, total_PS = population_counts(copies_NS, populations, count)
    predicted_PS = predicted_frequencies(alternate_PS, total_PS)
    likelihood = PopulationLikelihood(
        count, copies_NS.shape[1], axes, nesting, information=True
    ).double()
    frequency_PS = torch.from_numpy(_shrunken(alternate_PS, total_PS, predicted_PS, shrinkage))
    likelihood.theta.copy_(torch.logit(frequency_PS))
    likelihood.axes.copy_(torch.from_numpy(principal_axes(copies_NS, axes)))
    likelihood.information.copy_(torch.from_numpy(informativeness(copies_NS, populations)))
    members = np.bincount(populations, minlength=count)
    likelihood.log_prior.copy_(torch.from_numpy(np.log(members / members.sum())))
    for number in range(count):
        rows = copies_NS[populations == number]
        counts = allele_counts(torch.from_numpy(rows).long(), torch.float64)
        own_counts = PopulationCounts(
            alternate_PS[number], total_PS[number], predicted_PS[number], shrinkage
        )
        likelihood.spread[number].copy_(_spread(*counts, own_counts, likelihood.axes))
    return likelihood


def shrunken_frequencies(alternate_PS: Array, total_PS: Array, shrinkage: float | Array) -> Array:
    """Allele frequencies (P, S) drawn towards what the other populations predict; `shrinkage` may be one a population
    (P, 1)."""
    predicted_PS = predicted_frequencies(alternate_PS, total_PS)
    return _shrunken(alternate_PS, total_PS, predicted_PS, shrinkage)


def _shrunken(
    alternate_PS: Array, total_PS: Array, predicted_PS: Array, shrinkage: float | Array
) -> Array:
    weight_PS = total_PS + shrinkage
    sum_PS = alternate_PS + shrinkage * predicted_PS
    known_PS = weight_PS > 0  # without shrinkage nothing may be known of a population at a site
    frequency_PS = np.where(known_PS, sum_PS / np.where(known_PS, weight_PS, 1), predicted_PS)
    bounded_PS: Array = np.clip(frequency_PS, NEVER, 1 - NEVER)
    return bounded_PS


def predicted_frequencies(alternate_PS: Array, total_PS: Array) -> Array:
    """The frequencies (P, S) of each population as the others predict them."""
    raw_PS = smoothed_frequencies(alternate_PS, total_PS)
    return np.stack([_predicted(raw_PS, number) for number in range(len(raw_PS))])


def likeliest_shrinkage(alternate_PS: Array, total_PS: Array) -> Array:
    """The prior weight of the prediction for each population (P, 1), in haplotypes, by the marginal likelihood of its
    counts.

    If frequencies vary about the predicted ones p as Beta(c p, c (1 - p)) does, the counts are beta-binomial; c is the
    likeliest of `SHRINKAGES`. A population with close relatives has a large one, an isolated one a small one.
    """
    alternate, total, predicted = (
        torch.from_numpy(array)
        for array in (alternate_PS, total_PS, predicted_frequencies(alternate_PS, total_PS))
    )

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    logs_CP = torch.stack(
        [
            (
                log_beta(alternate + c * predicted, total - alternate + c * (1 - predicted))
                - log_beta(c * predicted, c * (1 - predicted))
            ).sum(1)
            for c in SHRINKAGES
        ]
    )
    likeliest_P1: Array = np.array(SHRINKAGES)[logs_CP.argmax(0).numpy()][:, None]
    return likeliest_P1


def _predicted(raw_PS: Array, number: int) -> Array:
    """The frequencies of one population as the others predict them: ridge regression of the logits."""
    logit_PS = np.log(raw_PS) - np.log1p(-raw_PS)
    others_SQ = np.delete(logit_PS, number, axis=0).T
    mean_S = others_SQ.mean(axis=1)
    x_SQ, y_S = others_SQ - mean_S[:, None], logit_PS[number] - mean_S
    penalty = RIDGE * len(y_S) * np.eye(x_SQ.shape[1])
    weights_Q = np.linalg.solve(x_SQ.T @ x_SQ + penalty, x_SQ.T @ y_S)
    predicted: Array = 1 / (1 + np.exp(-mean_S - x_SQ @ weights_Q))
    return np.clip(predicted, MIN_FREQUENCY, 1 - MIN_FREQUENCY)


def principal_axes(copies_NS: NDArray[np.int8], axes: int) -> Array:
    """The leading principal components of the genotypes, as directions of the logit frequency (S, J)."""
    known_NS = copies_NS >= 0
    mean_S = np.where(known_NS, copies_NS, 0).sum(0) / np.maximum(known_NS.sum(0), 1) / 2
    mean_S = np.clip(mean_S, 0.01, 0.99)
    deviation_S = np.sqrt(2 * mean_S * (1 - mean_S))
    standard_NS = np.where(known_NS, copies_NS - 2 * mean_S, 0) / deviation_S
    axes_SJ = _leading(standard_NS, axes) / deviation_S[:, None]
    axes_SJ = np.clip(axes_SJ, *np.quantile(axes_SJ, [0.01, 0.99]))
    axes_SJ = axes_SJ * signs(axes_SJ)
    scaled_SJ: Array = axes_SJ / np.sqrt((axes_SJ**2).mean(axis=0)) * AXIS_SCALE
    return scaled_SJ


def signs(axes_SJ: Array) -> Array:
    """The sign (J,) of the largest entry of each axis: a component's own is arbitrary, and differs between machines."""
    largest_J: Array = axes_SJ[np.abs(axes_SJ).argmax(axis=0), range(axes_SJ.shape[1])]
    return np.sign(largest_J)


def _leading(table_NS: Array, count: int) -> Array:
    """The leading right singular vectors (S, count), by the smaller of the two matrices of inner products."""
    samples, sites = table_NS.shape
    if samples >= sites:
        return np.asarray(np.linalg.eigh(table_NS.T @ table_NS)[1][:, ::-1][:, :count])
    vectors_NN = np.linalg.eigh(table_NS @ table_NS.T)[1]
    return np.asarray(table_NS.T @ vectors_NN[:, ::-1][:, :count])


def population_counts(
    copies_NS: NDArray[np.int8],
    populations: NDArray[np.int64],
    count: int,
    rows: NDArray[np.bool_] | None = None,
) -> tuple[Array, Array]:
    """Alternate alleles and all alleles of every population (P, S), of all samples or of some; a haplotype has one
    allele a site."""
    member_PN = populations == np.arange(count)[:, None]
    member_PN = (member_PN if rows is None else member_PN & rows).astype(np.float32)
    member_PN *= np.where(is_haploid(torch.from_numpy(copies_NS)).numpy(), 0.5, 1)
    # Counts are exact in float32.
    alternate_PS = member_PN @ np.maximum(copies_NS, 0).astype(np.float32)
    known_PS = member_PN @ (copies_NS >= 0).astype(np.float32)
    return alternate_PS.astype(np.float64), 2 * known_PS.astype(np.float64)


class PopulationCounts(NamedTuple):
    """The counts of one population's alternate alleles (S,) and all alleles (S,), the frequencies (S,) that the others
    predict, and the weight of these in haplotypes."""

    alternate: Array
    total: Array
    predicted: Array
    shrinkage: float


def _spread(
    alternate_NS: Tensor, total_NS: Tensor, population: PopulationCounts, axes_SJ: Tensor
) -> Tensor:
    """The covariance (J, J) of the members' coordinates, less the mean covariance of their errors.

    Each member's coordinates are relative to the population's frequencies without that member.
    """
    ridge = 1e-3 * torch.eye(axes_SJ.shape[1], dtype=axes_SJ.dtype)
    alternate_1S, total_1S, predicted_1S = map(torch.from_numpy, population[:3])
    # Without its only member, a population has no other alleles.
    shrinkage = max(population.shrinkage, 1.0)
    frequency_NS = (alternate_1S - alternate_NS + shrinkage * predicted_1S) / (
        total_1S - total_NS + shrinkage
    )
    theta_N1S = torch.logit(frequency_NS, MIN_FREQUENCY / 4).unsqueeze(1)
    u_NJ = mode(alternate_NS, total_NS, theta_N1S, axes_SJ, ridge[None, None]).squeeze(1)
    f_N1S = torch.sigmoid(theta_N1S.squeeze(1) + u_NJ @ axes_SJ.T).unsqueeze(1)
    information_NJJ = curvature(total_NS, f_N1S, axes_SJ).squeeze(1) + ridge
    error_JJ = torch.linalg.inv(information_NJJ).mean(0)
    members = len(u_NJ)
    covariance_JJ = (u_NJ.T @ u_NJ - members * error_JJ) / (members + PRIOR_MEMBERS)
    values, vectors = torch.linalg.eigh(covariance_JJ)
    spread_JJ: Tensor = (vectors * values.clamp(min=1e-4)) @ vectors.T
    return spread_JJ
