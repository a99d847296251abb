"""Fits a `Novelty` on individuals, populations and groups left out.

Members, the unseen and outsiders are measured (`novelty_trials`) at many subsets of sites, from all to a few, at random
and informative ones, so that the bounds hold at every amount of information.

Shape suffixes: N samples, P populations, S sites, J axes, M measures, K points of a curve, L subsets of sites.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.population.networks.novelty import DRIFT, POINTS, Novelty, novelty_axes
from genomai_cli.population.networks.novelty_trials import (
    MEMBER,
    OUTSIDER,
    UNSEEN,
    Frequencies,
    LabelledGenotypes,
    TrialMeasures,
    concatenated,
    group_means,
    information,
    measure_trial,
    reference_of,
    site_subsets,
    trials_of,
)

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_CONFUSION = 5e-3  # with less, labels are wrong for other reasons than chance
DEFAULT_CONFUSION = 0.25  # that at 1000 Genomes sites, where too few labels are wrong for a fit
FALSE_ALARMS = 0.006  # of members with each subset of sites; at most 0.01 of new ones are promised
WITHHELD_MEMBERS, WITHHELD_UNSEEN = 0.0005, 0.02
MIN_DEVIATION = 1e-6  # of a measure that varies among members
MIN_GAP = 1.0  # standard deviations between both bounds
BANDWIDTH = 0.35  # log information within which subsets share their bounds
TARGET_ACCURACY = 0.95  # of the labels of groups, where sites are sufficient
PRIOR_VALUES = 5.0  # on the mean line, added to those of the population itself
DRIFT_WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)  # relative to the weight of the distance
# By leaving populations out (benchmarks/ancestry/unlike.py): the weight of naive Bayes by the information in nats.
WEIGHT_INFORMATION, NAIVE_BAYES_WEIGHTS = (20.0, 45.0, 200.0, 600.0), (0.8, 0.5, 0.5, 0.3)
# The prior probability of an outsider by the information in nats. Where that is large the flag detects outsiders, and
# the probabilities of all others need not be widened.
PRIOR_INFORMATION, OUTSIDER_PRIORS = (20.0, 40.0, 200.0, 800.0), (0.15, 0.2, 0.07, 0.01)
MAX_SCORE = 8.0  # beyond it all are outsiders, and scores are clipped for the logistic regression
LOGISTIC_STEPS = 30


def fit_novelty(
    samples: LabelledGenotypes, frequencies: Frequencies, *, seed: int = 0
) -> Novelty | None:
    """The novelty relative to these samples; None for fewer than three groups, since nothing follows from leaving one
    of two out. Deterministic for a seed."""
    axes = novelty_axes(len(samples.groups), len(set(samples.groups)))
    if not axes:
        return None
    rng = np.random.default_rng([seed, 0x0071E1])
    counts = samples.counts()
    frequency_PS = frequencies(*counts)
    reference = reference_of(samples, frequency_PS, np.arange(len(samples.groups)), axes)
    novelty = Novelty(len(samples.groups), samples.copies.shape[1], axes).double()
    means_GS = group_means(frequency_PS, samples.groups)
    information_S = information(means_GS)
    trials = list(trials_of(samples, counts, reference, frequencies, rng))
    subsets = list(site_subsets(information_S, means_GS, rng))
    measured = [measure_trial(samples, trial, subset) for subset in subsets for trial in trials]
    results = concatenated(measured)
    novelty.information.copy_(torch.from_numpy(information_S))
    novelty.axes.copy_(reference.axes)
    novelty.spread.copy_(reference.spread)
    unlinked = [subset.number for subset in subsets if subset.unlinked]
    novelty.enough.fill_(_sufficient_confusion(results, unlinked))
    _fit_expectations(novelty, results)
    _fit_weights(novelty, results)
    _fit_bounds(novelty, results)
    _fit_odds(novelty, results)
    weights = np.interp(novelty.curve.numpy(), np.log(WEIGHT_INFORMATION), NAIVE_BAYES_WEIGHTS)
    novelty.doubts.copy_(torch.from_numpy(weights))
    return novelty


# --- parameters from the measures


def _fit_expectations(novelty: Novelty, results: TrialMeasures) -> None:
    """The expected measures of members of each population, by the root of the information, and their standard
    deviations by its logarithm."""
    members = results.of(MEMBER)
    root_N = members.information.sqrt()
    overall_2M = _line(root_N, members.values, torch.zeros(2, members.values.shape[1]).double())
    for number in range(novelty.expected.shape[1]):
        of_population = members.nearest_population == number
        novelty.expected[:, number] = _line(
            root_N[of_population], members.values[of_population], overall_2M
        )
    log_L = _log_information(results)
    novelty.curve.copy_(torch.linspace(float(log_L.min()), float(log_L.max()), POINTS))
    level_N = torch.from_numpy(results.subset[results.kind == MEMBER])
    squared_NM = novelty.surplus(members).square()
    levels = range(int(level_N.max()) + 1)
    deviation_LM = torch.stack([squared_NM[level_N == k].mean(0).sqrt() for k in levels])
    for row_K, deviation_L in zip(novelty.deviations, deviation_LM.T, strict=True):
        smooth_K = _smooth(novelty.curve, log_L, deviation_L)
        # Haplotypes have no drift, and tell nothing of the drift of others: it is in standard deviations as it is.
        row_K.copy_(torch.where(smooth_K > MIN_DEVIATION, smooth_K, 1.0))


def _log_information(results: TrialMeasures) -> Tensor:
    """The mean log information of members with each subset of sites (L,)."""
    log_N, member = results.measures.information.log(), results.kind == MEMBER
    return torch.stack(
        [log_N[member & (results.subset == k)].mean() for k in np.unique(results.subset)]
    )


def _line(x_N: Tensor, y_NM: Tensor, prior_2M: Tensor) -> Tensor:
    """The least-squares line (2, M) of each measure, drawn a little towards another line."""
    design_N2 = torch.stack([torch.ones_like(x_N), x_N], dim=1)
    mean_square = float(x_N.square().mean()) if len(x_N) else 1.0
    prior_22 = PRIOR_VALUES * torch.tensor([[1.0, 0.0], [0.0, mean_square]]).double()
    line_2M: Tensor = torch.linalg.solve(
        design_N2.T @ design_N2 + prior_22, design_N2.T @ y_NM + prior_22 @ prior_2M
    )
    return line_2M


def _smooth(points_K: Tensor, x_L: Tensor, y_L: Tensor) -> Tensor:
    """Means of the values near each point (K,), weighted by a bell curve."""
    distance_KL = (points_K[:, None] - x_L) / BANDWIDTH
    nearest_K1 = distance_KL.abs().min(1, keepdim=True).values
    weight_KL = torch.exp(-0.5 * (distance_KL.square() - nearest_K1.square()))
    return (weight_KL @ y_L) / weight_KL.sum(1)


def _fit_weights(novelty: Novelty, results: TrialMeasures) -> None:
    """The weight of drift relative to distance at which most outsiders are beyond the bound that few members reach."""
    members, outsiders = results.of(MEMBER), results.of(OUTSIDER)
    subsets = [(results.subset[results.kind == kind]) for kind in (MEMBER, OUTSIDER)]

    def mean_detection(weight: float) -> float:
        novelty.weights[DRIFT] = weight
        scores = [novelty.score(measures).numpy() for measures in (members, outsiders)]
        shares = []
        for subset in np.unique(results.subset):
            bound = np.quantile(scores[0][subsets[0] == subset], 1 - FALSE_ALARMS)
            shares.append((scores[1][subsets[1] == subset] > bound).mean())
        return float(np.mean(shares))

    novelty.weights[DRIFT] = max(DRIFT_WEIGHTS, key=mean_detection)


def _fit_bounds(novelty: Novelty, results: TrialMeasures) -> None:
    """The scores that few members exceed, and that few unseen samples of the groups exceed, by log information."""
    score_N = novelty.score(results.measures).numpy()
    bounds = []
    for subset in np.unique(results.subset):
        at = results.subset == subset
        members, unseen = (score_N[at & (results.kind == kind)] for kind in (MEMBER, UNSEEN))
        flagged = np.quantile(members, 1 - FALSE_ALARMS)
        withheld = np.quantile(members, 1 - WITHHELD_MEMBERS)
        if len(unseen):
            withheld = max(withheld, np.quantile(unseen, 1 - WITHHELD_UNSEEN))
        bounds.append((flagged, max(withheld, flagged + MIN_GAP)))
    log_L = _log_information(results)
    for row_K, bound_L in zip(novelty.bounds, torch.tensor(bounds).double().T, strict=True):
        row_K.copy_(_highest_near(novelty.curve, log_L, bound_L))


def _fit_odds(novelty: Novelty, results: TrialMeasures) -> None:
    """Logistic regression of outsiders against members by the score, for each subset of sites, with
    `OUTSIDER_PRIORS`."""
    score_N = novelty.score(results.measures).numpy()
    log_L = _log_information(results)
    lines = []
    for subset, log in zip(np.unique(results.subset), log_L.tolist(), strict=True):
        at = (results.subset == subset) & (results.kind != UNSEEN)
        prior = float(np.interp(log, np.log(PRIOR_INFORMATION), OUTSIDER_PRIORS))
        score = np.minimum(score_N[at], MAX_SCORE)
        constant, slope = _logistic(score, results.kind[at] == OUTSIDER)
        lines.append((constant + np.log(prior / (1 - prior)), slope))
    for row_K, line_L in zip(novelty.odds, torch.tensor(lines).double().T, strict=True):
        row_K.copy_(_smooth(novelty.curve, log_L, line_L))


def _logistic(x: Array, positive: Flags) -> tuple[float, float]:
    """Intercept and slope of a logistic regression with equal weights of both classes, by Newton's method, the slope
    shrunken a little towards 1."""
    design = np.stack([np.ones_like(x), x], axis=1)
    weight = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    line, penalty = np.array([-2.0, 1.0]), np.diag([1e-6, 1e-3])
    for _ in range(LOGISTIC_STEPS):
        probability = 1 / (1 + np.exp(-design @ line))
        slope = design.T @ (weight * (positive - probability)) - penalty @ (line - [0, 1])
        curvature = (design.T * (weight * probability * (1 - probability))) @ design + penalty
        line = line + np.clip(np.linalg.solve(curvature, slope), -1, 1)
    return float(line[0]), float(line[1])


def _highest_near(points_K: Tensor, x_L: Tensor, y_L: Tensor) -> Tensor:
    """The highest of the values near each point (K,), or the nearest one."""
    distance_KL = (points_K[:, None] - x_L).abs()
    reach_K1 = distance_KL.min(1, keepdim=True).values.clamp(min=BANDWIDTH)
    return torch.where(distance_KL <= reach_K1, y_L, -torch.inf).max(1).values


def _sufficient_confusion(results: TrialMeasures, subsets: Sequence[int]) -> float:
    """The confusion at which the likeliest population lies in the right group in the share `TARGET_ACCURACY` of
    members.

    By a straight line of the log odds of being right over the log confusion of these subsets, where some are wrong.
    """
    parts = [(results.kind == MEMBER) & (results.subset == subset) for subset in subsets]
    confusion_L = np.exp([np.log(results.confusion[p].clip(min=1e-30)).mean() for p in parts])
    right_L = np.array([(results.right[p].sum() + 0.5) / (p.sum() + 1) for p in parts])
    informative = confusion_L > MIN_CONFUSION
    if informative.sum() < 2:
        return DEFAULT_CONFUSION
    odds_L, weight_L = np.log(right_L / (1 - right_L)), np.sqrt(right_L * (1 - right_L))
    line = np.polyfit(
        np.log(confusion_L[informative]), odds_L[informative], 1, w=weight_L[informative]
    )
    slope, constant = line.tolist()
    if slope >= 0:
        return DEFAULT_CONFUSION
    log_confusion = (np.log(TARGET_ACCURACY / (1 - TARGET_ACCURACY)) - constant) / slope
    max_log_confusion = np.log(confusion_L[informative].max())
    # A flat line would reach the target beyond all subsets.
    return float(np.exp(min(log_confusion, max_log_confusion)))
