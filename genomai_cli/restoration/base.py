"""What restoring asks of a model, and what the user asks of restoring.

Shape suffixes: B people or genomes, S sites, T letters of a window; 2 haplotypes; 4 ordered pairs of alleles, 00 01 10
11, or the letters A C G T.
"""

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import VariableSites
from genomai_cli.panels.panel import Panel

Probabilities = NDArray[np.float64]
Alleles = NDArray[np.int8]
Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]

UNKNOWN = -1  # an allele that is not known


@dataclass(frozen=True)
class Settings:
    """`confidence`: a letter is restored or corrected only if it is at least so probable. With an `error_rate` known
    letters are doubted too: so many of them are wrong."""

    confidence: float = 0.0
    error_rate: float | None = None
    seed: int = 0

    def seeds(self, name: str) -> list[int]:
        """What a record's random numbers come from: the seed and its name alone."""
        return [self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))]


class PeopleModel(Protocol):
    """Knows people at the sites of a panel."""

    panel: Panel
    batch: int  # the most people at once

    def pairs(self, alleles_B2S: Alleles, phased_BS: Flags) -> Probabilities:
        """The probabilities (B, S, 4) of the ordered pairs of alleles at every site, given the known alleles.

        Of a site that is known in part or whole they need not agree with what is known.
        """


class GenomesModel(Protocol):
    """Knows genomes at the variable sites of a reference."""

    reference: Reference
    sites: VariableSites
    batch: int

    def letters(self, ids_BS: Ids) -> Probabilities:
        """The probabilities (B, S, 4) of A C G T at every site, given those of ids (B, S) that are 0 to 3."""


class DnaModel(Protocol):
    """Knows plain DNA, in windows of at most `longest` letters."""

    longest: int
    batch: int

    def letters(self, ids_BT: Ids) -> Probabilities:
        """The logarithms (B, T, 4) of the probabilities of A C G T, given those of ids (B, T) that are 0 to 3;
        a letter that is not known is -1."""
