"""Learns from people, populations and groups left out what `Novelty` takes for unlike everybody.

Members, the unseen and outsiders are measured (`novelty_trials`) at many choices of sites, from all to a few, at random
and informative ones, so that the bounds hold at every amount of information.

Shape suffixes: N samples, P populations, S sites, J axes, M measures, K points of a curve, L levels (choices of sites).
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
    People,
    Seen,
    group_means,
    information,
    joined,
    levels_of,
    measured,
    reference_of,
    trials_of,
)

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_CONFUSION = 5e-3  # with less, other things than chance are what makes labels wrong
USUAL_CONFUSION = 0.25  # is enough at 1000 Genomes sites; where too few labels are wrong to tell
FALSE_ALARMS = 0.006  # of members at each level; at most 0.01 of new ones are promised
WITHHELD_MEMBERS, WITHHELD_UNSEEN = 0.0005, 0.02
LEAST_GAP = 1.0  # standard deviations between both bounds
NEAR = 0.35  # log information within which levels share their bounds
RIGHT = 0.95  # of the labels of groups, where enough is known
PRIOR_VALUES = 5.0  # on the mean line, added to those of a population's own
DRIFT_WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)  # beside the weight 1 of the distance
# By leaving populations out (benchmarks/ancestry/unlike.py): at so much information, so much weight for naive Bayes.
DOUBTS_AT, DOUBTS = (20.0, 45.0, 200.0, 600.0), (0.8, 0.5, 0.5, 0.3)
# Of the people to come so many are counted as of none of the groups, at so much information. Where much is known
# the flag tells outsiders, and the probabilities of all others need not be made wide.
OUTSIDE_AT, OUTSIDE = (20.0, 40.0, 200.0, 800.0), (0.15, 0.2, 0.07, 0.01)
HIGHEST_SCORE = (
    8.0  # beyond it everybody is an outsider, which a straight line should not have to follow
)
LOGISTIC_STEPS = 30


def fit_novelty(people: People, frequencies: Frequencies, *, seed: int = 0) -> Novelty | None:
    """What to take for unlike these people; None for fewer than three groups, since leaving one of two out tells
    nothing. Deterministic for a seed."""
    axes = novelty_axes(len(people.groups), len(set(people.groups)))
    if not axes:
        return None
    rng = np.random.default_rng([seed, 0x0071E1])
    counts = people.counts()
    whole = frequencies(*counts)
    reference = reference_of(people, whole, np.arange(len(people.groups)), axes)
    novelty = Novelty(len(people.groups), people.copies.shape[1], axes).double()
    means_GS = group_means(whole, people.groups)
    information_S = information(means_GS)
    trials = list(trials_of(people, counts, reference, frequencies, rng))
    levels = list(levels_of(information_S, means_GS, rng))
    seen = joined([measured(people, trial, level) for level in levels for trial in trials])
    novelty.information.copy_(torch.from_numpy(information_S))
    novelty.axes.copy_(reference.axes)
    novelty.spread.copy_(reference.spread)
    novelty.enough.fill_(_enough(seen, [level.number for level in levels if level.apart]))
    _fit_expectations(novelty, seen)
    _fit_weights(novelty, seen)
    _fit_bounds(novelty, seen)
    _fit_odds(novelty, seen)
    doubts = np.interp(novelty.curve.numpy(), np.log(DOUBTS_AT), DOUBTS)
    novelty.doubts.copy_(torch.from_numpy(doubts))
    return novelty


# --- what is learnt from the measures


def _fit_expectations(novelty: Novelty, seen: Seen) -> None:
    """The measures that members of each population have, by the root of the information, and their deviation by its
    logarithm."""
    members = seen.of(MEMBER)
    root_N = members.information.sqrt()
    all_2M = _line(root_N, members.values, torch.zeros(2, members.values.shape[1]).double())
    for number in range(novelty.expected.shape[1]):
        of = members.best == number
        novelty.expected[:, number] = _line(root_N[of], members.values[of], all_2M)
    log_L = _log_information(seen)
    novelty.curve.copy_(torch.linspace(float(log_L.min()), float(log_L.max()), POINTS))
    level_N = torch.from_numpy(seen.level[seen.kind == MEMBER])
    squared_NM = novelty.surplus(members).square()
    levels = range(int(level_N.max()) + 1)
    deviation_LM = torch.stack([squared_NM[level_N == k].mean(0).sqrt() for k in levels])
    for row_K, deviation_L in zip(novelty.deviations, deviation_LM.T, strict=True):
        row_K.copy_(_smooth(novelty.curve, log_L, deviation_L))


def _log_information(seen: Seen) -> Tensor:
    """The mean log information of members at each level (L,)."""
    log_N, member = seen.measured.information.log(), seen.kind == MEMBER
    return torch.stack([log_N[member & (seen.level == k)].mean() for k in np.unique(seen.level)])


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
    distance_KL = (points_K[:, None] - x_L) / NEAR
    nearest_K1 = distance_KL.abs().min(1, keepdim=True).values
    weight_KL = torch.exp(-0.5 * (distance_KL.square() - nearest_K1.square()))
    return (weight_KL @ y_L) / weight_KL.sum(1)


def _fit_weights(novelty: Novelty, seen: Seen) -> None:
    """The weight of drift beside distance at which most of the outsiders are beyond what few members reach."""
    members, outsiders = seen.of(MEMBER), seen.of(OUTSIDER)
    levels = [(seen.level[seen.kind == kind]) for kind in (MEMBER, OUTSIDER)]

    def found(weight: float) -> float:
        novelty.weights[DRIFT] = weight
        scores = [novelty.score(measured).numpy() for measured in (members, outsiders)]
        shares = []
        for level in np.unique(seen.level):
            bound = np.quantile(scores[0][levels[0] == level], 1 - FALSE_ALARMS)
            shares.append((scores[1][levels[1] == level] > bound).mean())
        return float(np.mean(shares))

    novelty.weights[DRIFT] = max(DRIFT_WEIGHTS, key=found)


def _fit_bounds(novelty: Novelty, seen: Seen) -> None:
    """The scores that few members reach, and that few unseen people of the groups reach, by log information."""
    score_N = novelty.score(seen.measured).numpy()
    bounds = []
    for level in np.unique(seen.level):
        at = seen.level == level
        members, unseen = (score_N[at & (seen.kind == kind)] for kind in (MEMBER, UNSEEN))
        flagged = np.quantile(members, 1 - FALSE_ALARMS)
        withheld = np.quantile(members, 1 - WITHHELD_MEMBERS)
        if len(unseen):
            withheld = max(withheld, np.quantile(unseen, 1 - WITHHELD_UNSEEN))
        bounds.append((flagged, max(withheld, flagged + LEAST_GAP)))
    log_L = _log_information(seen)
    for row_K, bound_L in zip(novelty.bounds, torch.tensor(bounds).double().T, strict=True):
        row_K.copy_(_highest_near(novelty.curve, log_L, bound_L))


def _fit_odds(novelty: Novelty, seen: Seen) -> None:
    """Logistic regression of outsiders against members by the score at each level, with the share `OUTSIDE` of them."""
    score_N = novelty.score(seen.measured).numpy()
    log_L = _log_information(seen)
    lines = []
    for level, log in zip(np.unique(seen.level), log_L.tolist(), strict=True):
        at = (seen.level == level) & (seen.kind != UNSEEN)
        prior = float(np.interp(log, np.log(OUTSIDE_AT), OUTSIDE))
        score = np.minimum(score_N[at], HIGHEST_SCORE)
        constant, slope = _logistic(score, seen.kind[at] == OUTSIDER)
        lines.append((constant + np.log(prior / (1 - prior)), slope))
    for row_K, line_L in zip(novelty.odds, torch.tensor(lines).double().T, strict=True):
        row_K.copy_(_smooth(novelty.curve, log_L, line_L))


def _logistic(x: Array, positive: Flags) -> tuple[float, float]:
    """Constant and slope of a logistic regression of two kinds that weigh the same, by Newton's method, the slope drawn
    to 1 a little."""
    design = np.stack([np.ones_like(x), x], axis=1)
    weight = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    line, pull = np.array([-2.0, 1.0]), np.diag([1e-6, 1e-3])
    for _ in range(LOGISTIC_STEPS):
        chance = 1 / (1 + np.exp(-design @ line))
        slope = design.T @ (weight * (positive - chance)) - pull @ (line - [0, 1])
        bend = (design.T * (weight * chance * (1 - chance))) @ design + pull
        line = line + np.clip(np.linalg.solve(bend, slope), -1, 1)
    return float(line[0]), float(line[1])


def _highest_near(points_K: Tensor, x_L: Tensor, y_L: Tensor) -> Tensor:
    """The highest of the values near each point (K,), or the nearest one."""
    distance_KL = (points_K[:, None] - x_L).abs()
    reach_K1 = distance_KL.min(1, keepdim=True).values.clamp(min=NEAR)
    return torch.where(distance_KL <= reach_K1, y_L, -torch.inf).max(1).values


def _enough(seen: Seen, levels: Sequence[int]) -> float:
    """The confusion at which the likeliest population lies in the right group in the share `RIGHT` of members.

    By a straight line of the log odds of being right over the log confusion, of the levels given, where some are wrong.
    """
    parts = [(seen.kind == MEMBER) & (seen.level == level) for level in levels]
    confusion_L = np.exp([np.log(seen.confusion[p].clip(min=1e-30)).mean() for p in parts])
    right_L = np.array([(seen.right[p].sum() + 0.5) / (p.sum() + 1) for p in parts])
    told = confusion_L > LEAST_CONFUSION
    if told.sum() < 2:
        return USUAL_CONFUSION
    odds_L, weight_L = np.log(right_L / (1 - right_L)), np.sqrt(right_L * (1 - right_L))
    line = np.polyfit(np.log(confusion_L[told]), odds_L[told], 1, w=weight_L[told])
    slope, constant = line.tolist()
    if slope >= 0:
        return USUAL_CONFUSION
    asked = (np.log(RIGHT / (1 - RIGHT)) - constant) / slope
    most = np.log(confusion_L[told].max())
    return float(np.exp(min(asked, most)))  # a flat line would reach it beyond all that was tried
