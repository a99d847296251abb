"""Measures people against references in which they did not count, at many choices of sites, for `novelty_fit`.

Three kinds: members (out of fold); outsiders, whose whole group is left out, axes included; and the unseen, whose
population is left out, but not its group.

Shape suffixes: N samples, P populations, G groups, S sites, J axes, M measures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.population.networks.likelihood_fit import population_counts
from genomai_cli.population.networks.novelty import (
    Measured,
    Reference,
    confusion,
    coordinates,
    evenness,
    measure,
)
from genomai_cli.population.panel import allele_information

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
Frequencies = Callable[[Array, Array], Array]
"""From alternate alleles and all alleles of populations, both (P, S), their allele frequencies (P, S)."""

FOLDS = 4
SHARES = (1.0, 0.4, 0.15, 0.05, 0.02, 0.01, 0.004)  # of the sites, at random
TOGETHER = (0.08, 0.02)  # of the sites, side by side, as a chromosome's are
BEST = (3000, 1000, 400, 170, 100, 55)  # so many of three times as many informative sites
FEWEST_SITES = 40
ROWS_AT_ONCE = 256
PRIOR_MEMBERS = 10  # with the mean spread, added to a population's own
MEMBER, UNSEEN, OUTSIDER = range(3)


@dataclass(frozen=True)
class People:
    """Allele copies (N, S), -1 where missing, with the population of each and the group of each population."""

    copies: NDArray[np.int8]
    populations: Rows
    groups: Sequence[int]

    def counts(self, rows: Flags | None = None) -> tuple[Array, Array]:
        """Alternate alleles and all alleles of every population (P, S), of all people or some."""
        return population_counts(self.copies, self.populations, len(self.groups), rows)

    def alleles(self, rows: Rows, sites: Rows | slice) -> tuple[Tensor, Tensor]:
        """Alternate alleles and all alleles of some people at some sites, both (N, S)."""
        copies = torch.from_numpy(self.copies[rows][:, sites])
        return copies.clamp(min=0).float(), 2.0 * (copies >= 0).float()


@dataclass(frozen=True)
class Trial:
    """People to be measured against a reference in which they did not count, of the populations `kept` among all."""

    kind: int
    rows: Rows
    reference: Reference
    kept: Rows


@dataclass(frozen=True)
class Seen:
    """What was measured: kinds of people (N,), their levels (N,), measures, whether their group is right (N,), and how
    likely their sites are to mistake groups (N,)."""

    kind: Rows
    level: Rows
    measured: Measured
    right: Flags
    confusion: Array

    def of(self, kind: int) -> Measured:
        """The measures of one kind of people."""
        chosen = torch.from_numpy(self.kind == kind)
        return Measured(*(column[chosen] for column in self.measured))


def group_means(frequency_PS: Array, groups: Sequence[int]) -> Array:
    """The mean allele frequencies of the groups' populations (G, S)."""
    group_P = np.array(groups)
    return np.stack([frequency_PS[group_P == group].mean(0) for group in np.unique(group_P)])


def information(frequency_GS: Array) -> Array:
    """What the genotype at each site tells about the group (S,), in nats: the mutual information of allele and group,
    all alike frequent, of two alleles (Rosenberg et al. 2003, Am J Hum Genet 73:1402)."""
    return 2 * allele_information(frequency_GS)


# --- references, and who is measured against them


def reference_of(people: People, frequency_PS: Array, kept: Rows, axes: int) -> Reference:
    """Frequencies, the axes on which they differ most, and how members spread along these."""
    axes_SJ = torch.from_numpy(population_axes(frequency_PS, axes)).float()
    bare = Reference(torch.from_numpy(frequency_PS).float(), axes_SJ, torch.empty(0))
    own = [_spread(people, number, place, bare) for place, number in enumerate(kept.tolist())]
    members = torch.tensor([float((people.populations == number).sum()) for number in kept])
    sums_PJJ = torch.stack(own)
    mean_JJ = sums_PJJ.sum(0) / members.sum()
    spread_PJJ = (sums_PJJ + PRIOR_MEMBERS * mean_JJ) / (members + PRIOR_MEMBERS)[:, None, None]
    values, vectors = torch.linalg.eigh(spread_PJJ)
    positive_PJJ = (vectors * values.clamp(min=1e-4).unsqueeze(1)) @ vectors.transpose(1, 2)
    return Reference(bare.frequencies, axes_SJ, positive_PJJ)


def _spread(people: People, number: int, place: int, reference: Reference) -> Tensor:
    """The sum over members of the products (J, J) of their coordinates, less those of the errors."""
    rows = np.flatnonzero(people.populations == number)
    alleles = people.alleles(rows, slice(None))
    u_NJ, precision_NJJ = coordinates(*alleles, reference.frequencies[place], reference.axes)
    sum_JJ: Tensor = u_NJ.T @ u_NJ - torch.linalg.inv(precision_NJJ).sum(0)
    return sum_JJ


def population_axes(frequency_PS: Array, axes: int) -> Array:
    """The leading principal components (S, J) of the populations' logit frequencies, sites weighted by variance."""
    logit_PS = np.log(frequency_PS) - np.log1p(-frequency_PS)
    mean_S = frequency_PS.mean(0)
    deviation_S = np.sqrt(mean_S * (1 - mean_S))
    _, _, vectors_PS = np.linalg.svd(
        (logit_PS - logit_PS.mean(0)) * deviation_S, full_matrices=False
    )
    found_SJ: Array = (vectors_PS[:axes] / deviation_S).T
    scaled_SJ: Array = found_SJ / np.sqrt((found_SJ**2).mean(0))
    return scaled_SJ * np.sign(scaled_SJ[np.abs(scaled_SJ).argmax(axis=0), range(axes)])


def trials_of(
    people: People,
    counts: tuple[Array, Array],
    whole: Reference,
    frequencies: Frequencies,
    rng: np.random.Generator,
) -> Iterator[Trial]:
    """Members and the unseen keep the axes and spreads of all, which single people and populations hardly change."""
    groups = np.array(people.groups)
    every = np.arange(len(groups))
    folds = rng.permutation(len(people.populations)) % FOLDS
    for fold in range(FOLDS):
        aside = people.counts(folds == fold)
        table = torch.from_numpy(frequencies(counts[0] - aside[0], counts[1] - aside[1])).float()
        yield Trial(MEMBER, np.flatnonzero(folds == fold), whole._replace(frequencies=table), every)
    for number in every.tolist():
        kept = every[every != number]
        if groups[number] in groups[kept]:
            left = torch.from_numpy(frequencies(*(part[kept] for part in counts))).float()
            reference = Reference(left, whole.axes, whole.spread[kept])
            yield Trial(UNSEEN, np.flatnonzero(people.populations == number), reference, kept)
    for group in np.unique(groups):
        kept = every[groups != group]
        axes = min(whole.axes.shape[1], len(kept) - 1)
        others = frequencies(*(part[kept] for part in counts))
        rows = np.flatnonzero(groups[people.populations] == group)
        yield Trial(OUTSIDER, rows, reference_of(people, others, kept, axes), kept)


@dataclass(frozen=True)
class Level:
    """A choice of sites, with what each tells (S,) and the groups' frequencies (G, S) there; `apart` unless they are
    neighbours, linked with each other; `even` is their `evenness` in the panel."""

    number: int
    sites: Rows
    information: Array
    means: Array
    apart: bool
    even: float


def levels_of(information_S: Array, means_GS: Array, rng: np.random.Generator) -> Iterator[Level]:
    """The choices of sites."""
    for number, (sites, apart) in enumerate(_choices(information_S, rng)):
        known_1S = torch.zeros(1, len(information_S))
        known_1S[:, sites] = 2
        even = float(evenness(known_1S))
        yield Level(number, sites, information_S[sites], means_GS[:, sites], apart, even)


def _choices(information_S: Array, rng: np.random.Generator) -> Iterator[tuple[Rows, bool]]:
    """Shares of all at random or side by side, some of the informative ones, and all but these; and whether they are
    apart."""
    sites = len(information_S)
    best = np.argsort(-information_S, kind="stable")
    for share in SHARES:
        if share * sites >= FEWEST_SITES:
            yield np.sort(rng.permutation(sites)[: round(share * sites)]), True
    for share in TOGETHER:
        if share * sites >= FEWEST_SITES:
            first = int(rng.integers(sites - round(share * sites)))
            yield np.arange(first, first + round(share * sites)), False
    for count in BEST:
        if count < sites / 2:
            yield np.sort(rng.permutation(best[: 3 * count])[:count]), True
    if sites > 2 * BEST[1]:
        yield np.sort(best[BEST[1] :]), True


def measured(people: People, trial: Trial, level: Level) -> Seen:
    """The trial's people measured at these sites."""
    frequency_PS, axes_SJ, spread_PJJ = trial.reference
    reference = Reference(frequency_PS[:, level.sites], axes_SJ[level.sites], spread_PJJ)
    known_S, means_GS = (
        torch.from_numpy(part).float() for part in (level.information, level.means)
    )
    parts, confusions = [], []
    for start in range(0, len(trial.rows), ROWS_AT_ONCE):
        alleles = people.alleles(trial.rows[start : start + ROWS_AT_ONCE], level.sites)
        even_N = torch.full((len(alleles[0]),), level.even)
        parts.append(measure(*alleles, reference, known_S, even_B=even_N))
        confusions.append(confusion(alleles[1], means_GS))
    values, best, known, likeliest, even = (
        torch.cat(column) for column in zip(*parts, strict=True)
    )
    best, likeliest = (torch.from_numpy(trial.kept)[column] for column in (best, likeliest))
    groups, count = np.array(people.groups), len(trial.rows)
    right = groups[likeliest.numpy()] == groups[people.populations[trial.rows]]
    found = Measured(values.double(), best, known.double(), likeliest, even.double())
    kind, number = np.full(count, trial.kind), np.full(count, level.number)
    return Seen(kind, number, found, right, torch.cat(confusions).double().numpy())


def joined(parts: list[Seen]) -> Seen:
    columns = zip(*(part.measured for part in parts), strict=True)
    return Seen(
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.level for part in parts]),
        Measured(*(torch.cat(column) for column in columns)),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.confusion for part in parts]),
    )
