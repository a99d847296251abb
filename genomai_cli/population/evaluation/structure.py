"""Whether generated samples vary as real ones do: allele frequencies, linkage, principal components.

Shape suffixes: R rows (haplotypes or genotypes), N samples, S sites, C components.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.evaluation.genotypes import SampleGenotypes

Array = NDArray[np.float64]
# Distances between sites in bases: the upper bounds of the bins of one chromosome.
BINS = {"<1kb": 1e3, "1-10kb": 1e4, "10-100kb": 1e5, "0.1-1Mb": 1e6, "1-10Mb": 1e7, ">10Mb": np.inf}
APART = "apart"  # on different chromosomes
COMPONENTS = 10
CELLS = 20  # of the histograms, on each axis


def frequencies(samples: SampleGenotypes) -> Array:
    """The frequency of the alternate allele at every site (S,), NaN where no sample's is known."""
    known_S = (samples.alleles >= 0).sum(axis=(0, 1))
    alternate_S = (samples.alleles > 0).sum(axis=(0, 1))
    return np.where(known_S > 0, alternate_S / np.maximum(known_S, 1), np.nan)


def correlation(first: Array, second: Array) -> float:
    """Pearson's r over the entries where both are known; NaN where one does not vary."""
    known = np.isfinite(first) & np.isfinite(second)
    one, other = first[known], second[known]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def linkage(samples: SampleGenotypes) -> Array:
    """r between all pairs of sites (S, S), of haplotypes if phased, else of genotypes (Rogers and Huff 2009, Genetics
    182:839); NaN for sites that do not vary. A missing allele counts as the site's mean."""
    rows_RS = samples.rows if samples.phased else samples.copies
    known_RS = rows_RS >= 0
    means_S = np.where(known_RS, rows_RS, 0).sum(0) / np.maximum(known_RS.sum(0), 1)
    centred_RS = np.where(known_RS, rows_RS - means_S, 0.0)
    deviations_S = np.sqrt((centred_RS**2).sum(0))
    deviations_S[deviations_S == 0] = np.nan
    scaled_RS = centred_RS / deviations_S
    r_SS: Array = scaled_RS.T @ scaled_RS
    return r_SS


@dataclass(frozen=True, slots=True)
class Decay:
    """Pairs of sites at one distance: how many, their mean r^2 in both data sets, and the correlation of the r^2."""

    pairs: int
    real: float
    synthetic: float
    r: float


def decay(
    real_SS: Array, other_SS: Array, chrom: NDArray[np.str_], position_S: Array
) -> dict[str, Decay]:
    """Linkage by the distance between sites, bins without pairs left out; `position_S` is NaN where not known."""
    first, second = np.triu_indices(len(chrom), 1)
    one, other = real_SS[first, second] ** 2, other_SS[first, second] ** 2
    known = np.isfinite(one) & np.isfinite(other)
    same_chromosome = chrom[first] == chrom[second]
    gaps = np.abs(position_S[first] - position_S[second])
    in_bin = {APART: known & ~same_chromosome}
    lower = 0.0
    for name, upper in BINS.items():
        in_bin[name] = known & same_chromosome & (gaps >= lower) & (gaps < upper)
        lower = upper
    return {
        name: _decay(one[in_bin[name]], other[in_bin[name]])
        for name in [*BINS, APART]
        if in_bin[name].any()
    }


def _decay(real: Array, other: Array) -> Decay:
    return Decay(len(real), float(real.mean()), float(other.mean()), correlation(real, other))


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of samples: genotypes scaled as by Patterson et al. 2006 (PLoS Genet 2:e190) times `axes`
    (S, C)."""

    means: Array
    scales: Array
    axes: Array
    deviations: Array  # (C,) of the samples themselves

    @classmethod
    def of(cls, samples: SampleGenotypes, count: int = COMPONENTS) -> "Components":
        """The components in which these samples vary most; sites that do not vary have no part in them."""
        ploidy, frequency_S = samples.alleles.shape[1], np.nan_to_num(frequencies(samples))
        spread_S = np.sqrt(ploidy * frequency_S * (1 - frequency_S))
        scales_S = np.divide(1.0, spread_S, out=np.zeros_like(spread_S), where=spread_S > 0)
        none = np.empty((len(frequency_S), 0))
        scaled_NS = cls(ploidy * frequency_S, scales_S, none, none[0])._scaled(samples)
        values, vectors = np.linalg.eigh(scaled_NS.T @ scaled_NS / max(1, len(samples)))
        axes = vectors[:, ::-1][:, : min(count, len(samples) - 1, len(values))]
        return cls(ploidy * frequency_S, scales_S, axes, (scaled_NS @ axes).std(axis=0))

    def __call__(self, samples: SampleGenotypes) -> Array:
        """Where samples lie (N, C), in deviations of those whose components these are."""
        scale_C = np.where(self.deviations > 0, self.deviations, 1)
        projected: Array = self._scaled(samples) @ self.axes / scale_C
        return projected

    def _scaled(self, samples: SampleGenotypes) -> Array:
        copies_NS = samples.copies
        return np.where(copies_NS >= 0, (copies_NS - self.means) * self.scales, 0.0)


def wasserstein(first_N: Array, second_N: Array) -> float:
    """The Wasserstein-1 distance of two samples: the area between their distribution functions."""
    values = np.sort(np.concatenate([first_N, second_N]))
    steps = np.diff(values)
    shares = (
        np.searchsorted(np.sort(sample), values[:-1], side="right") / len(sample)
        for sample in (first_N, second_N)
    )
    one, other = shares
    return float((np.abs(one - other) * steps).sum())


def overlap(first_N2: Array, second_N2: Array, cells: int = CELLS) -> float:
    """The overlap of two histograms on a plane, sum over the cells of the smaller share: 1 for equal ones, 0 if apart.

    The grid has `cells` times `cells` cells between the extremes of both samples together.
    """
    both = np.concatenate([first_N2, second_N2])
    limits = [(float(low), float(high)) for low, high in zip(both.min(0), both.max(0), strict=True)]
    first, second = (
        np.histogram2d(sample[:, 0], sample[:, 1], bins=cells, range=limits)[0] / len(sample)
        for sample in (first_N2, second_N2)
    )
    return float(np.minimum(first, second).sum())
