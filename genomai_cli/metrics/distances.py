"""How many alleles differ between people or haplotypes: Hamming distances from products of matrices.

Rows hold alleles 0, 1 and -1 where missing. A distance is the share of the alleles known in both rows that differ, so
that rows with missing ones are not nearer for it; infinite where nothing is known in both.

Shape suffixes: R and Q rows, A alleles of a row (sites, or twice the sites).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Alleles = NDArray[np.int8]
Distances = NDArray[np.float32]

_BLOCK = 2048  # rows at once: a block of distances to 10,000 others takes 80 MB


def distances(first_RA: Alleles, second_QA: Alleles) -> Distances:
    """The distances (R, Q) of every row from every other.

    With alleles a, b in {0, 1} the number of differences is sum a + sum b - 2 a.b.
    """
    known_RA, known_QA = first_RA >= 0, second_QA >= 0
    first, second = (
        np.where(known, rows, 0).astype(np.float32)
        for known, rows in ((known_RA, first_RA), (known_QA, second_QA))
    )
    if known_RA.all() and known_QA.all():
        differing = first.sum(1)[:, None] + second.sum(1) - 2 * (first @ second.T)
        return np.asarray(differing / np.float32(max(1, first.shape[1])), np.float32)
    seen_R, seen_Q = known_RA.astype(np.float32), known_QA.astype(np.float32)
    differing = first @ seen_Q.T + seen_R @ second.T - 2 * (first @ second.T)
    common = seen_R @ seen_Q.T
    return np.where(common > 0, differing / np.maximum(common, 1), np.float32(np.inf))


def nearest(first_RA: Alleles, second_QA: Alleles) -> Distances:
    """The distance (R,) of every row from its nearest among the second ones."""
    return _joined(block.min(axis=1) for _, block in _blocks(first_RA, second_QA))


def nearest_other(rows_RA: Alleles) -> Distances:
    """The distance (R,) of every row from its nearest among the others."""
    return _joined(_without_self(start, block) for start, block in _blocks(rows_RA, rows_RA))


def _without_self(start: int, block: Distances) -> Distances:
    places = np.arange(len(block))
    block[places, start + places] = np.inf
    smallest: Distances = block.min(axis=1)
    return smallest


def _blocks(first_RA: Alleles, second_QA: Alleles) -> Iterator[tuple[int, Distances]]:
    for start in range(0, len(first_RA), _BLOCK):
        yield start, distances(first_RA[start : start + _BLOCK], second_QA)


def _joined(parts: Iterator[Distances]) -> Distances:
    return np.concatenate([np.empty(0, np.float32), *parts])
