"""Admixed people: each stretch of a haplotype comes from one of several ancestors' populations.

Shape suffixes: S sites.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.panels.linkage import places
from genomai_cli.panels.panel import Panel

STRETCH = 2e7  # base pairs, on average, between two redraws of the ancestor: admixture some five generations ago


@dataclass(frozen=True, eq=False)
class Chromosomes:
    """The sites in the order in which they lie, and how likely each has another ancestor than the one before it."""

    order: NDArray[np.int64]
    renewed: NDArray[np.float64]

    @classmethod
    def of(cls, panel: Panel, stretch: float = STRETCH) -> "Chromosomes":
        """The chromosomes of a panel; each begins with an ancestor of its own."""
        contig_S, position_S = places(panel)
        order = np.lexsort((position_S, contig_S))
        apart = np.diff(position_S[order], prepend=0.0)
        apart[np.diff(contig_S[order], prepend=-1) != 0] = np.inf
        return cls(order, 1 - np.exp(-apart / stretch))

    def ancestors(self, weights: list[float], rng: np.random.Generator) -> NDArray[np.int64]:
        """Which of the ancestors, drawn with these weights, each site (S,) of one haplotype comes from."""
        begins = rng.random(len(self.order)) < self.renewed
        drawn = rng.choice(len(weights), size=len(self.order), p=weights)
        first = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
        ancestors = np.empty(len(self.order), np.int64)
        ancestors[self.order] = drawn[first]
        return ancestors
