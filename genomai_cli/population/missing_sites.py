"""How sites are missing in files: by published panel, by chromosome, in stretches, and at random on top of that.

A classifier that is calibrated with sites missing at random alone is wrong about an array, an exome or one chromosome,
whose sites are more or less informative than as many random ones.

Shape suffix: S sites.
"""

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.panel import Panel, coordinates

Known = NDArray[np.bool_]
MIN_SITES = 25  # sites that are left
MEAN_STRETCH = 30  # sites, on average
ALL_BELOW, TAGS_BELOW, CHROMOSOMES_BELOW, STRETCHES_BELOW = (
    0.12,
    0.47,
    0.7,
    1.0,
)  # cumulative chances of the kinds


class MissingSites:
    """Draws which sites of a panel a file has calls at."""

    def __init__(self, panel: Panel) -> None:
        self.sites = len(panel)
        self.chromosome_S = coordinates(panel)[0]
        self.tag_masks = _tagged(panel)

    def draw(self, rng: np.random.Generator) -> Known:
        """The sites known (S,): of one kind, and of these often a random share, even on a log scale."""
        known_S = self._kind(rng)
        count = int(known_S.sum())
        if count <= MIN_SITES:
            return known_S if count else np.ones(self.sites, np.bool_)
        share = 1.0 if rng.random() < 0.4 else np.exp(rng.uniform(np.log(MIN_SITES / count), 0))
        thinned_S: Known = known_S & (rng.random(self.sites) < share)
        return thinned_S if thinned_S.any() else known_S

    def _kind(self, rng: np.random.Generator) -> Known:
        chance = rng.random()
        if chance < ALL_BELOW:
            return np.ones(self.sites, np.bool_)
        if chance < TAGS_BELOW and self.tag_masks:
            return self.tag_masks[rng.integers(len(self.tag_masks))]
        if chance < CHROMOSOMES_BELOW:
            return self._chromosomes(rng)
        return self._stretches(rng)

    def _chromosomes(self, rng: np.random.Generator) -> Known:
        """One to four chromosomes."""
        present = np.unique(self.chromosome_S)
        chosen = rng.choice(present, min(len(present), int(rng.integers(1, 5))), replace=False)
        return np.isin(self.chromosome_S, chosen)

    def _stretches(self, rng: np.random.Generator) -> Known:
        """Neighbouring sites together, known and unknown in turn."""
        share = rng.uniform(0.05, 0.95)
        ends_S = rng.random(self.sites) < 1 / MEAN_STRETCH
        stretch_S = np.cumsum(ends_S)
        known_S: Known = (rng.random(stretch_S[-1] + 1) < share)[stretch_S]
        return known_S


def _tagged(panel: Panel) -> list[Known]:
    """The sites that come from each published panel, and those that come from all others."""
    tagged = [known_S for tag, known_S in panel.by_tag().items() if tag != "."]
    with_complements = [part_S for known_S in tagged for part_S in (known_S, ~known_S)]
    return [known_S for known_S in with_complements if MIN_SITES <= known_S.sum() < len(panel)]
