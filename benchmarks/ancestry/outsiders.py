"""People of populations that are none of the reference's: made up, site by site, from those that are.

None of the six is real. Each is a mixture of reference populations that has drifted away for a while (Balding and
Nichols 1995, Genetica 96:3), with shares and an F_ST that are plausible for the region, not estimated, so that a table
can say roughly what somebody from there gets. Alleles of a person are independent of each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outsider:
    """A made-up population: shares of reference populations, and the F_ST by which it drifted from their mixture."""

    shares: Mapping[str, float]
    fst: float


OUTSIDERS = {
    "Middle East": Outsider({"TSI": 0.75, "PJL": 0.15, "LWK": 0.10}, 0.015),
    "North Africa": Outsider({"IBS": 0.78, "YRI": 0.22}, 0.03),
    "Central Asia": Outsider({"FIN": 0.45, "CHB": 0.40, "PJL": 0.15}, 0.01),
    "Siberia": Outsider({"JPT": 0.85, "FIN": 0.15}, 0.06),
    "Americas": Outsider(
        {"PEL": 1.25, "IBS": -0.25}, 0.05
    ),  # Peruvians without their European quarter
    "Oceania": Outsider({"KHV": 0.5, "BEB": 0.5}, 0.20),
}
MIN_FREQUENCY = 0.002


def frequencies(
    outsider: Outsider, frequency_of: Mapping[str, Array], rng: np.random.Generator
) -> Array:
    """The allele frequencies (S,) of one draw of such a population."""
    ancestor_S = sum(share * frequency_of[name] for name, share in outsider.shares.items())
    ancestor_S = np.clip(ancestor_S, MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    scale = (1 - outsider.fst) / outsider.fst
    frequency_S: Array = rng.beta(ancestor_S * scale, (1 - ancestor_S) * scale)
    return frequency_S


def draw_genotypes(frequency_S: Array, count: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Copies of the alternate allele (N, S) of `count` simulated people."""
    return rng.binomial(2, frequency_S, (count, len(frequency_S))).astype(np.int8)


def known_frequencies(copies_NS: NDArray[np.int8], populations: Sequence[str]) -> dict[str, Array]:
    """The allele frequencies (S,) of each population."""
    names = np.array(populations)
    return {str(name): copies_NS[names == name].mean(0) / 2 for name in np.unique(names)}
