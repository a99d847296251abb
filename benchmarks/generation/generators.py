"""What anyone would try first to make new people: draw sites by themselves, piece haplotypes together, copy.

A generator takes alleles (N, 2, S), 0 or 1, and the groups (N,) of the people that it learns from, and makes as many
people of every group. Shape suffixes: N people, S sites, H haplotypes of a group.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Alleles = NDArray[np.int8]
Groups = NDArray[np.int64]

RARE = 0.005  # frequencies are kept this far from 0 and 1


@dataclass(frozen=True)
class Generator:
    """A name for tables, and how new haplotypes (H, S) come from the haplotypes (H, S) of a group."""

    name: str
    draw: Callable[[Alleles, np.random.Generator], Alleles]

    def people(self, alleles: Alleles, groups: Groups, rng: np.random.Generator) -> Alleles:
        """New people (N, 2, S), of the groups (N,)."""
        made = np.empty_like(alleles)
        for group in np.unique(groups):
            members = groups == group
            haplotypes = alleles[members].reshape(-1, alleles.shape[2])
            made[members] = self.draw(haplotypes, rng).reshape(-1, 2, alleles.shape[2])
        return made


def independent(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
    """Every site by itself, with the group's allele frequency."""
    frequency_S = np.clip(haplotypes_HS.mean(axis=0), RARE, 1 - RARE)
    return (rng.random(haplotypes_HS.shape) < frequency_S).astype(np.int8)


def mosaic(length: float) -> Callable[[Alleles, np.random.Generator], Alleles]:
    """Pieces of the group's haplotypes, `length` sites long in the mean (Li and Stephens 2003, Genetics 165:2213)."""

    def draw(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
        count, sites = haplotypes_HS.shape
        begins_HS = rng.random((count, sites)) < 1 / length
        begins_HS[:, 0] = True
        sources_HS = rng.integers(count, size=(count, sites))
        last_HS = np.maximum.accumulate(np.where(begins_HS, np.arange(sites), 0), axis=1)
        copied_HS = np.take_along_axis(sources_HS, last_HS, axis=1)
        return haplotypes_HS[copied_HS, np.arange(sites)]

    return draw


def copies(haplotypes_HS: Alleles, rng: np.random.Generator) -> Alleles:
    """Haplotypes of the group as they are, two at random for each person."""
    return haplotypes_HS[rng.integers(len(haplotypes_HS), size=len(haplotypes_HS))]


GENERATORS = (
    Generator("independent", independent),
    Generator("mosaic-20", mosaic(20)),
    Generator("mosaic-5", mosaic(5)),
    Generator("copies", copies),
)
LINKED = (Generator("mosaic-200", mosaic(200)), *GENERATORS)
