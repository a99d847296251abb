"""Random changes that leave a sample what it is: for training, and for making new samples from old.

Everything here works on ASCII letters, takes its randomness as an argument, and leaves its input alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Letters = NDArray[np.uint8]
_MISSING = ord("N")


def hide(letters: Letters, shares: NDArray[np.float64], rng: np.random.Generator) -> Letters:
    """The barcodes (samples, sites) with about `shares` (samples,) of each one's sites missing."""
    hidden = rng.random(letters.shape, dtype=np.float32) < shares[:, None]
    return np.where(hidden, np.uint8(_MISSING), letters)


@dataclass(frozen=True)
class Pool:
    """The haplotypes of groups of people, to draw new members of a group from.

    `haplotypes` (2n, sites) lies sorted by group; a group's begin at `starts` and are `counts` many.
    """

    haplotypes: Letters
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, haplotypes: Letters, groups: NDArray[np.int64]) -> "Pool":
        """The pool of haplotypes (2, n, sites) of people whose groups (n,) are numbered from 0."""
        order = np.argsort(groups, kind="stable")
        counts = 2 * np.bincount(groups)
        stacked = haplotypes[:, order].transpose(1, 0, 2).reshape(-1, haplotypes.shape[2])
        return cls(stacked, np.cumsum(counts) - counts, counts)

    def cross(self, groups: NDArray[np.int64], rng: np.random.Generator) -> Letters:
        """One new haplotype (len(groups), sites) a group asked for: each site from another member.

        It has the group's allele frequencies and none of the linkage between its sites.
        """
        sites = self.haplotypes.shape[1]
        draws = rng.random((len(groups), sites), dtype=np.float32)
        rows = (draws * self.counts[groups, None]).astype(np.int64) + self.starts[groups, None]
        crossed: Letters = self.haplotypes[rows, np.arange(sites)]
        return crossed


_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[np.frombuffer(b"ACGTRYSWKMBDHVN", np.uint8)] = np.frombuffer(
    b"TGCAYRSWMKVHDBN", np.uint8
)


def reverse_complement(letters: Letters) -> Letters:
    """The other strand, read in its own direction."""
    return _COMPLEMENT[letters][..., ::-1]
