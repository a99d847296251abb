"""How unlike every reference population a barcode is, and whether its sites are sufficient for a label.

A sample from outside the reference groups is given the group that is least wrong, and may fit there *better* than its
members do: a likelihood is no measure of belonging. Two measures are, against that of the few likeliest populations to
which it is nearest:

- distance: where the sample lies on the axes on which populations differ (principal components of the logits of their
  allele frequencies), by one step of Fisher's scoring from the population itself, as a Mahalanobis distance under the
  spread of its members and the error of the step. Members of admixed populations lie far out along a line, and are
  expected there; an outsider lies off that line.
- drift: the sum over sites of (a1 - f)(a2 - f) for the two alleles. It is zero on average for members, whatever f, and
  positive for whoever has other frequencies in any direction, also those without an axis (the third estimator of Yang
  et al. 2011, Am J Hum Genet 88:76, weighted by f (1 - f)); children of relatives have some of it.

Both are compared with members at the same amount of information. `novelty_fit` sets the bounds by individuals,
populations and groups left out. Unseen populations may belong to a group nevertheless, and for them naive Bayes without
axes is right more often than a likelihood with the wide axes of admixed populations; `naive_bayes_weight` is its
weight.

Shape suffixes: B samples, P populations, S sites, J axes, K points of a curve, M measures.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from genomai_cli.population.networks.genotype_mlp import naive_bayes

DISTANCE, DRIFT = range(2)
MEASURES = 2
POINTS = 12
AXES = 4
CANDIDATES = 6  # populations to which the distance is computed; more hardly change the minimum
MIN_OUTSIDER, MAX_OUTSIDER = (
    0.02,
    0.9,
)  # subtracted from the probability of an outsider, and its maximum
MIN_GROUPS = 3


def novelty_axes(populations: int, groups: int) -> int:
    """The number of axes of a novelty of so many populations in so many groups; 0 for no novelty, since nothing follows
    from leaving one of two groups out."""
    return 0 if groups < MIN_GROUPS else min(AXES, populations - 1)


class PopulationReference(NamedTuple):
    """The populations' allele frequencies (P, S), axes (S, J), and the spread (P, J, J) of members along them."""

    frequencies: Tensor
    axes: Tensor
    spread: Tensor


class NoveltyMeasures(NamedTuple):
    """The measures (B, M) of samples against the nearest population (B,), the information (B,) at their sites, the
    likeliest population (B,), and how evenly the sites lie (B,)."""

    values: Tensor
    nearest_population: Tensor
    information: Tensor
    likeliest_population: Tensor
    evenness: Tensor


class NoveltyScores(NamedTuple):
    """The margin (B,): above 0 unlike the members of every population, above 1 too much so for a label; and the
    probability (B,) of an outsider, with the priors of the fit."""

    margin: Tensor
    outsider_probability: Tensor


class Novelty(nn.Module):
    """Alleles (B, S) to how far a sample is beyond the bound that hardly a member exceeds.

    `information` (S,) is that of each site about the groups, in nats; `enough` the `confusion` at which the likeliest
    population lies in the right group in nineteen of twenty cases. Curves are by log information: `curve` (K,) are
    their points, `deviations` (M, K) the standard deviations of the measures among members, `bounds` (2, K) those of
    the score, `doubts` (K,) the weights of naive Bayes, `odds` (2, K) intercept and slope of the log odds of an
    outsider by the score.
    """

    information: Tensor
    enough: Tensor
    axes: Tensor
    spread: Tensor
    expected: Tensor
    weights: Tensor
    curve: Tensor
    deviations: Tensor
    bounds: Tensor
    doubts: Tensor
    odds: Tensor

    def __init__(self, populations: int, sites: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("information", torch.zeros(sites))
        self.register_buffer("enough", torch.zeros(()))
        self.register_buffer("axes", torch.zeros(sites, axes))
        self.register_buffer("spread", torch.eye(axes).repeat(populations, 1, 1))
        self.register_buffer("expected", torch.zeros(2, populations, MEASURES))
        self.register_buffer("weights", torch.ones(MEASURES))
        self.register_buffer("curve", torch.arange(float(POINTS)))
        self.register_buffer("deviations", torch.ones(MEASURES, POINTS))
        self.register_buffer("bounds", torch.tensor([[1.0], [2.0]]).repeat(1, POINTS))
        self.register_buffer("doubts", torch.zeros(POINTS))
        self.register_buffer("odds", torch.tensor([[-20.0], [0.0]]).repeat(1, POINTS))

    def forward(
        self,
        alternate_BS: Tensor,
        total_BS: Tensor,
        frequency_PS: Tensor,
        naive_BP: Tensor | None = None,
    ) -> "NoveltyScores":
        """The scores of samples; `naive_BP` as in `measure`."""
        reference = PopulationReference(frequency_PS, self.axes, self.spread)
        measures = measure(alternate_BS, total_BS, reference, self.information, naive_BP)
        score_B = self.score(measures)
        flagged_B, withheld_B = (self._interpolated(measures, bound_K) for bound_K in self.bounds)
        margin_B = (score_B - flagged_B) / (withheld_B - flagged_B)
        constant_B, slope_B = (self._interpolated(measures, row_K) for row_K in self.odds)
        outsider_B = torch.sigmoid(constant_B + slope_B * score_B) - MIN_OUTSIDER
        return NoveltyScores(margin_B, outsider_B.clamp(0, MAX_OUTSIDER))

    def naive_bayes_weight(self, total_BS: Tensor) -> Tensor:
        """The weight (B,) of naive Bayes for the groups, beside all other evidence."""
        log_B = known_information(total_BS, self.information).clamp(min=1e-6).log()
        return interpolate(log_B, self.curve, self.doubts)

    def sufficiency(self, total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
        """How well the known alleles (B, S) distinguish the groups, relative to what is sufficient (B,)."""
        relative_B: Tensor = self.enough / confusion(total_BS, frequency_GS).clamp(min=1e-30)
        return relative_B

    def score(self, measures: NoveltyMeasures) -> Tensor:
        """How far the measures together are above those of members, in standard deviations (B,)."""
        combined_B = (self.standardised(measures).clamp(min=0).square() @ self.weights).sqrt()
        return combined_B * measures.evenness**EVENNESS_EXPONENT

    def standardised(self, measures: NoveltyMeasures) -> Tensor:
        """The measures (B, M), less those expected of members of the nearest population, in standard deviations."""
        deviation_BM = torch.stack(
            [self._interpolated(measures, row_K) for row_K in self.deviations], dim=1
        )
        return self.surplus(measures) / deviation_BM

    def surplus(self, measures: NoveltyMeasures) -> Tensor:
        """The measures (B, M), less those expected of members of the nearest population."""
        root_B1 = measures.information.sqrt().unsqueeze(1)
        constant_PM, slope_PM = self.expected
        expected_BM = (
            constant_PM[measures.nearest_population]
            + slope_PM[measures.nearest_population] * root_B1
        )
        surplus_BM: Tensor = measures.values - expected_BM
        return surplus_BM

    def _interpolated(self, measures: NoveltyMeasures, values_K: Tensor) -> Tensor:
        return interpolate(measures.information.clamp(min=1e-6).log(), self.curve, values_K)


def measure(
    alternate_BS: Tensor,
    total_BS: Tensor,
    reference: PopulationReference,
    information_S: Tensor,
    naive_BP: Tensor | None = None,
    evenness_B: Tensor | None = None,
) -> NoveltyMeasures:
    """The measures of samples against the nearest of the populations that are likeliest by naive Bayes; `naive_BP` are
    its log likelihoods, where they do not follow from the numbers of alleles, `evenness_B` that of the sites in the
    full panel, if these are a part."""
    if naive_BP is None:
        naive_BP = naive_bayes(alternate_BS, total_BS, reference.frequencies)
    squared_B, nearest_B = nearest(alternate_BS, total_BS, naive_BP, reference)
    distance_B = squared_B.clamp(min=0).sqrt() - reference.axes.shape[1] ** 0.5
    drift_B = drift(alternate_BS, total_BS, reference.frequencies[nearest_B])
    values_BM = torch.stack([distance_B, drift_B], dim=1)
    known_B = known_information(total_BS, information_S)
    evenness_B = evenness(total_BS) if evenness_B is None else evenness_B
    return NoveltyMeasures(values_BM, nearest_B, known_B, naive_BP.argmax(1), evenness_B)


def nearest(
    alternate_BS: Tensor, total_BS: Tensor, naive_BP: Tensor, reference: PopulationReference
) -> tuple[Tensor, Tensor]:
    """The least squared Mahalanobis distance (B,) from one of the populations with the highest scores, and its number
    (B,)."""
    candidates_BK = naive_BP.topk(min(CANDIDATES, naive_BP.shape[1]), dim=1).indices
    is_candidate_BP = torch.zeros_like(naive_BP, dtype=torch.bool).scatter(1, candidates_BK, True)
    squared_BP = torch.full_like(naive_BP, torch.inf)
    for number in is_candidate_BP.any(0).nonzero()[:, 0].tolist():
        rows = is_candidate_BP[:, number]
        coordinates_BJ, precision_BJJ = coordinates(
            alternate_BS[rows], total_BS[rows], reference.frequencies[number], reference.axes
        )
        covariance_BJJ = reference.spread[number] + torch.linalg.inv(precision_BJJ)
        squared_B = (coordinates_BJ * torch.linalg.solve(covariance_BJJ, coordinates_BJ)).sum(1)
        squared_BP[rows, number] = squared_B
    min_B, nearest_B = squared_BP.min(1)
    return min_B, nearest_B


def known_information(total_BS: Tensor, information_S: Tensor) -> Tensor:
    """The information of the known sites of each sample (B,), in nats: one allele counts like two, a part of one
    less."""
    return total_BS.clamp(max=1).to(information_S.dtype) @ information_S


MAX_STRETCHES = 100  # of a panel, with as many sites each
EVENNESS_EXPONENT = (
    0.08  # measures of members vary more at linked sites: by a third if all lie in one chromosome
)


def evenness(total_BS: Tensor) -> Tensor:
    """The share of a panel's stretches with a known site (B,), relative to as many sites at random: adjacent sites are
    redundant."""
    known_BS = (total_BS > 0).to(total_BS.dtype)
    stretches = min(MAX_STRETCHES, known_BS.shape[1])
    stretch_S = torch.arange(known_BS.shape[1], device=known_BS.device) * stretches
    counts_BK = known_BS.new_zeros(len(known_BS), stretches)
    counts_BK.index_add_(1, stretch_S // known_BS.shape[1], known_BS)
    expected_B = 1 - (1 - 1 / stretches) ** known_BS.sum(1)
    covered_B = (counts_BK > 0).to(known_BS.dtype).mean(1)
    return (covered_B / expected_B.clamp(min=1e-9)).clamp(min=1 / stretches)


def confusion(total_BS: Tensor, frequency_GS: Tensor) -> Tensor:
    """The chance of mistaking a group for another by the known alleles (B,): the sum over pairs of groups of a bound on
    the chance of that (Bhattacharyya 1943, Bull Calcutta Math Soc 35:99), which is dominated by the closest pair."""
    root_GS, other_GS = frequency_GS.sqrt(), (1 - frequency_GS).sqrt()
    first, second = torch.triu_indices(len(frequency_GS), len(frequency_GS), 1)
    overlap_QS = root_GS[first] * root_GS[second] + other_GS[first] * other_GS[second]
    confusion_B: Tensor = (total_BS @ overlap_QS.clamp(max=1).log().T).exp().sum(1)
    return confusion_B


MIN_PRECISION = 1e-3
MIN_VARIANCE = 0.02  # of an allele: a very rare one is no proof by itself


def coordinates(
    alternate_BS: Tensor, total_BS: Tensor, f_S: Tensor, axes_SJ: Tensor
) -> tuple[Tensor, Tensor]:
    """The coordinates (B, J) of samples on the axes, relative to a population, and their precision (B, J, J)."""
    axes = axes_SJ.shape[1]
    slope_BJ = alternate_BS @ axes_SJ - total_BS @ (f_S.unsqueeze(1) * axes_SJ)
    variance_S = (f_S * (1 - f_S)).clamp(min=MIN_VARIANCE)
    weighted_SK = (variance_S[:, None, None] * axes_SJ.unsqueeze(2) * axes_SJ.unsqueeze(1)).flatten(
        1
    )
    precision_BJJ = (total_BS @ weighted_SK).reshape(-1, axes, axes)
    precision_BJJ = precision_BJJ + MIN_PRECISION * torch.eye(
        axes, dtype=f_S.dtype, device=f_S.device
    )
    return torch.linalg.solve(precision_BJJ, slope_BJ), precision_BJJ


def drift(alternate_BS: Tensor, total_BS: Tensor, f_BS: Tensor) -> Tensor:
    """The sum over sites of (a1 - f)(a2 - f) for the two alleles a, in standard deviations of members (B,).

    0 for a haplotype, which shows one allele a site.
    """
    two_BS = (total_BS == 2).to(f_BS.dtype)
    pair_BS = alternate_BS * (alternate_BS - 1) / 2 - alternate_BS * f_BS + f_BS.square()
    variance_BS = (f_BS * (1 - f_BS)).clamp(min=MIN_VARIANCE).square()
    return (pair_BS * two_BS).sum(1) / (variance_BS * two_BS).sum(1).sqrt().clamp(min=1e-9)


def interpolate(x_B: Tensor, points_K: Tensor, values_K: Tensor) -> Tensor:
    """A curve of straight lines through the points, flat beyond the first and the last (B,)."""
    upper_B = torch.searchsorted(points_K, x_B.contiguous()).clamp(1, len(points_K) - 1)
    width_B = (points_K[upper_B] - points_K[upper_B - 1]).clamp(min=1e-9)
    part_B = ((x_B - points_K[upper_B - 1]) / width_B).clamp(0, 1)
    return values_K[upper_B - 1] + part_B * (values_K[upper_B] - values_K[upper_B - 1])
