"""Measures samples against references without them, at many subsets of sites, for `novelty_fit`.

Three kinds: members (out of fold); outsiders, whose full group is left out, axes included; and the unseen, whose
population is left out, but not its group.

Shape suffixes: N samples, P populations, G groups, S sites, J axes, M measures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.population.networks.genotype_mlp import is_haploid
from genomai_cli.population.networks.likelihood_fit import population_counts
from genomai_cli.population.networks.novelty import (
    NoveltyMeasures,
    PopulationReference,
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
"""From the counts of alternate alleles and of all alleles of populations, both (P, S), to frequencies (P, S)."""

FOLDS = 4
RANDOM_SHARES = (1.0, 0.4, 0.15, 0.05, 0.02, 0.01, 0.004)  # of the sites, at random
ADJACENT_SHARES = (0.08, 0.02)  # of the sites, adjacent as on a chromosome
INFORMATIVE_COUNTS = (
    3000,
    1000,
    400,
    170,
    100,
    55,
)  # of sites, among the 3 x more most informative
MIN_SITES = 40
BATCH_SIZE = 256
PRIOR_MEMBERS = 10  # with the mean spread, added to a population's own
MEMBER, UNSEEN, OUTSIDER = range(3)


@dataclass(frozen=True)
class LabelledGenotypes:
    """Allele copies (N, S), -1 where missing, with the population of each sample and the group of each population."""

    copies: NDArray[np.int8]
    populations: Rows
    groups: Sequence[int]

    def counts(self, rows: Flags | None = None) -> tuple[Array, Array]:
        """Alternate alleles and all alleles of every population (P, S), of all samples or some."""
        return population_counts(self.copies, self.populations, len(self.groups), rows)

    @cached_property
    def haploid(self) -> Tensor:
        """Which samples (N,) are single haplotypes, by all their sites."""
        return is_haploid(torch.from_numpy(self.copies))

    def alleles(self, rows: Rows, sites: Rows | slice) -> tuple[Tensor, Tensor]:
        """Alternate alleles and all alleles of some samples at some sites, both (N, S); a haplotype has one a site."""
        copies = torch.from_numpy(self.copies[rows][:, sites])
        share_N1 = torch.where(self.haploid[rows], 0.5, 1.0)[:, None]
        return copies.clamp(min=0) * share_N1, 2.0 * (copies >= 0) * share_N1


@dataclass(frozen=True)
class Trial:
    """Samples to be measured against a reference without them, and the indices of its `populations` among all."""

    kind: int
    rows: Rows
    reference: PopulationReference
    populations: Rows


@dataclass(frozen=True)
class TrialMeasures:
    """The results of trials: the kind of each sample (N,), the number of its subset of sites (N,), measures, whether
    its group is right (N,), and the `confusion` of groups at its sites (N,)."""

    kind: Rows
    subset: Rows
    measures: NoveltyMeasures
    right: Flags
    confusion: Array

    def of(self, kind: int) -> NoveltyMeasures:
        """The measures of one kind of samples."""
        chosen = torch.from_numpy(self.kind == kind)
        return NoveltyMeasures(*(column[chosen] for column in self.measures))


def group_means(frequency_PS: Array, groups: Sequence[int]) -> Array:
    """The mean allele frequencies of the groups' populations (G, S)."""
    group_P = np.array(groups)
    return np.stack([frequency_PS[group_P == group].mean(0) for group in np.unique(group_P)])


def information(frequency_GS: Array) -> Array:
    """The information of the genotype at each site about the group (S,), in nats: the mutual information of allele and
    group, with equal frequencies of groups, of two alleles (Rosenberg et al. 2003, Am J Hum Genet 73:1402)."""
    return 2 * allele_information(frequency_GS)


# --- references, and the samples that are measured against them


def reference_of(
    samples: LabelledGenotypes, frequency_PS: Array, populations: Rows, axes: int
) -> PopulationReference:
    """The reference of some populations: frequencies, the axes on which they differ most, and the spread of members."""
    axes_SJ = torch.from_numpy(population_axes(frequency_PS, axes)).float()
    without_spread = PopulationReference(
        torch.from_numpy(frequency_PS).float(), axes_SJ, torch.empty(0)
    )
    sums = [
        _spread(samples, number, row, without_spread)
        for row, number in enumerate(populations.tolist())
    ]
    members = torch.tensor([float((samples.populations == number).sum()) for number in populations])
    sums_PJJ = torch.stack(sums)
    mean_JJ = sums_PJJ.sum(0) / members.sum()
    spread_PJJ = (sums_PJJ + PRIOR_MEMBERS * mean_JJ) / (members + PRIOR_MEMBERS)[:, None, None]
    values, vectors = torch.linalg.eigh(spread_PJJ)
    positive_PJJ = (vectors * values.clamp(min=1e-4).unsqueeze(1)) @ vectors.transpose(1, 2)
    return PopulationReference(without_spread.frequencies, axes_SJ, positive_PJJ)


def _spread(
    samples: LabelledGenotypes, number: int, row: int, reference: PopulationReference
) -> Tensor:
    """The sum over members of the products (J, J) of their coordinates, less those of the errors."""
    rows = np.flatnonzero(samples.populations == number)
    alleles = samples.alleles(rows, slice(None))
    u_NJ, precision_NJJ = coordinates(*alleles, reference.frequencies[row], reference.axes)
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
    axes_SJ: Array = (vectors_PS[:axes] / deviation_S).T
    scaled_SJ: Array = axes_SJ / np.sqrt((axes_SJ**2).mean(0))
    return scaled_SJ * np.sign(scaled_SJ[np.abs(scaled_SJ).argmax(axis=0), range(axes)])


def trials_of(
    samples: LabelledGenotypes,
    counts: tuple[Array, Array],
    full: PopulationReference,
    frequencies: Frequencies,
    rng: np.random.Generator,
) -> Iterator[Trial]:
    """The trials of all kinds; members and the unseen keep the axes and spreads of `full`, which single samples and
    populations hardly change."""
    groups = np.array(samples.groups)
    all_populations = np.arange(len(groups))
    folds = rng.permutation(len(samples.populations)) % FOLDS
    for fold in range(FOLDS):
        fold_counts = samples.counts(folds == fold)
        frequency_PS = torch.from_numpy(
            frequencies(counts[0] - fold_counts[0], counts[1] - fold_counts[1])
        ).float()
        yield Trial(
            MEMBER,
            np.flatnonzero(folds == fold),
            full._replace(frequencies=frequency_PS),
            all_populations,
        )
    for number in all_populations.tolist():
        populations = all_populations[all_populations != number]
        if groups[number] in groups[populations]:
            frequency_PS = torch.from_numpy(
                frequencies(*(part[populations] for part in counts))
            ).float()
            reference = PopulationReference(frequency_PS, full.axes, full.spread[populations])
            yield Trial(
                UNSEEN, np.flatnonzero(samples.populations == number), reference, populations
            )
    for group in np.unique(groups):
        populations = all_populations[groups != group]
        axes = min(full.axes.shape[1], len(populations) - 1)
        other_frequencies = frequencies(*(part[populations] for part in counts))
        rows = np.flatnonzero(groups[samples.populations] == group)
        yield Trial(
            OUTSIDER, rows, reference_of(samples, other_frequencies, populations, axes), populations
        )


@dataclass(frozen=True)
class SiteSubset:
    """A subset of the sites, with the information of each (S,) and the groups' frequencies (G, S) there; `unlinked`
    unless they are adjacent; `evenness` is that in the panel."""

    number: int
    sites: Rows
    information: Array
    means: Array
    unlinked: bool
    evenness: float


def site_subsets(
    information_S: Array, means_GS: Array, rng: np.random.Generator
) -> Iterator[SiteSubset]:
    """The subsets of sites of the trials."""
    for number, (sites, unlinked) in enumerate(_choices(information_S, rng)):
        known_1S = torch.zeros(1, len(information_S))
        known_1S[:, sites] = 2
        even_share = float(evenness(known_1S))
        yield SiteSubset(
            number, sites, information_S[sites], means_GS[:, sites], unlinked, even_share
        )


def _choices(information_S: Array, rng: np.random.Generator) -> Iterator[tuple[Rows, bool]]:
    """Shares of all sites at random or adjacent, some of the informative ones, and all but these; and whether they are
    unlinked."""
    sites = len(information_S)
    by_information = np.argsort(-information_S, kind="stable")
    for share in RANDOM_SHARES:
        if share * sites >= MIN_SITES:
            yield np.sort(rng.permutation(sites)[: round(share * sites)]), True
    for share in ADJACENT_SHARES:
        if share * sites >= MIN_SITES:
            first = int(rng.integers(sites - round(share * sites)))
            yield np.arange(first, first + round(share * sites)), False
    for count in INFORMATIVE_COUNTS:
        if count < sites / 2:
            yield np.sort(rng.permutation(by_information[: 3 * count])[:count]), True
    if sites > 2 * INFORMATIVE_COUNTS[1]:
        yield np.sort(by_information[INFORMATIVE_COUNTS[1] :]), True


def measure_trial(samples: LabelledGenotypes, trial: Trial, subset: SiteSubset) -> TrialMeasures:
    """The trial's samples measured at these sites."""
    frequency_PS, axes_SJ, spread_PJJ = trial.reference
    reference = PopulationReference(
        frequency_PS[:, subset.sites], axes_SJ[subset.sites], spread_PJJ
    )
    information_S, means_GS = (
        torch.from_numpy(part).float() for part in (subset.information, subset.means)
    )
    parts, confusions = [], []
    for start in range(0, len(trial.rows), BATCH_SIZE):
        alleles = samples.alleles(trial.rows[start : start + BATCH_SIZE], subset.sites)
        evenness_N = torch.full((len(alleles[0]),), subset.evenness)
        parts.append(measure(*alleles, reference, information_S, evenness_B=evenness_N))
        confusions.append(confusion(alleles[1], means_GS))
    values, nearest_population, known_information, likeliest_population, evenness_N = (
        torch.cat(column) for column in zip(*parts, strict=True)
    )
    nearest_population, likeliest_population = (
        torch.from_numpy(trial.populations)[column]
        for column in (nearest_population, likeliest_population)
    )
    groups, count = np.array(samples.groups), len(trial.rows)
    right = groups[likeliest_population.numpy()] == groups[samples.populations[trial.rows]]
    measures = NoveltyMeasures(
        values.double(),
        nearest_population,
        known_information.double(),
        likeliest_population,
        evenness_N.double(),
    )
    kind, number = np.full(count, trial.kind), np.full(count, subset.number)
    return TrialMeasures(kind, number, measures, right, torch.cat(confusions).double().numpy())


def concatenated(parts: list[TrialMeasures]) -> TrialMeasures:
    columns = zip(*(part.measures for part in parts), strict=True)
    return TrialMeasures(
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.subset for part in parts]),
        NoveltyMeasures(*(torch.cat(column) for column in columns)),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.confusion for part in parts]),
    )
