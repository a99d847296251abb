"""Simple baselines that make new samples: independent sites, mosaics of haplotypes, copies.

A generator takes alleles (N, P, S), 0, 1 or -1 where missing, and the groups (N,) of the samples that it is given,
and makes as many samples of every group. What is missing is drawn by the frequency in the group first.

Shape suffixes: N samples, P haplotypes of a sample, S sites, H haplotypes of a group.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Alleles = NDArray[np.int8]
Groups = NDArray[np.int64]

MIN_FREQUENCY = 0.005  # frequencies are kept this far from 0 and 1


@dataclass(frozen=True)
class Generator:
    """A name for tables, what it does in words, how new haplotypes (H, S) come from the haplotypes (H, S) of a group,
    and whether these must be known."""

    name: str
    description: str
    draw: Callable[[Alleles, np.random.Generator], Alleles]
    needs_phase: bool = True

    def generate(self, alleles: Alleles, groups: Groups, rng: np.random.Generator) -> Alleles:
        """New samples (N, P, S), of the groups (N,)."""
        generated = np.empty_like(alleles)
        for group in np.unique(groups):
            members = groups == group
            haplotypes_HS = _imputed(alleles[members].reshape(-1, alleles.shape[2]), rng)
            generated[members] = self.draw(haplotypes_HS, rng).reshape(-1, *alleles.shape[1:])
        return generated


def _imputed(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
    known_HS = haplotypes_HS >= 0
    if known_HS.all():
        return haplotypes_HS
    frequency_S = (haplotypes_HS > 0).sum(axis=0) / np.maximum(1, known_HS.sum(axis=0))
    return np.where(known_HS, haplotypes_HS, _drawn(frequency_S, len(haplotypes_HS), rng))


def _drawn(frequency_S: NDArray[np.float64], count: int, rng: np.random.Generator) -> Alleles:
    return (rng.random((count, len(frequency_S))) < frequency_S).astype(np.int8)


def independent(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
    """Every site by itself, with the group's allele frequency."""
    frequency_S = np.clip(haplotypes_HS.mean(axis=0), MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    return _drawn(frequency_S, len(haplotypes_HS), rng)


def mosaic(length: float) -> Callable[[Alleles, np.random.Generator], Alleles]:
    """Pieces of the group's haplotypes, `length` sites long in the mean (Li and Stephens 2003, Genetics 165:2213)."""

    def draw(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
        count, sites = haplotypes_HS.shape
        starts_HS = rng.random((count, sites)) < 1 / length
        starts_HS[:, 0] = True
        sources_HS = rng.integers(count, size=(count, sites))
        last_HS = np.maximum.accumulate(np.where(starts_HS, np.arange(sites), 0), axis=1)
        copied_HS = np.take_along_axis(sources_HS, last_HS, axis=1)
        return haplotypes_HS[copied_HS, np.arange(sites)]

    return draw


def copies(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
    """Haplotypes of the group as they are, two at random for each person."""
    return haplotypes_HS[rng.integers(len(haplotypes_HS), size=len(haplotypes_HS))]


def mosaics(length: int) -> Generator:
    """Mosaics of pieces of this length."""
    return Generator(
        f"mosaic-{length}",
        f"pieces of real haplotypes, {length} sites long in the mean",
        mosaic(length),
    )


INDEPENDENT = Generator(
    "independent",
    "every site by itself, at the frequency of its alleles",
    independent,
    needs_phase=False,
)
COPIES = Generator("copies", "real haplotypes as they are", copies)
SIMPLE = (INDEPENDENT, mosaics(20))
"""The generators that every report compares with."""
