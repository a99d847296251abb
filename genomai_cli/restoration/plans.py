"""What a file's samples are like at a model's sites, and what may be made of them: known before anything is written.

Shape suffixes: N samples, A alleles of a record.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.variant_passage import Addition
from genomai_cli.restoration.base import Flags

Shares = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Site:
    """What is written of a site that the file does not have."""

    identifier: str
    ref: str
    alts: tuple[str, ...]


class Plan(Protocol):
    """The samples of one file at the sites of a model."""

    haploid: bool  # whether a call that is a single dot is one allele
    usable: Flags  # (N,) who has anything known
    phased: Flags  # (N,) of whom it is known which allele lies on which haplotype
    there: Collection[str]  # contigs that the file has a site of
    lengths: Mapping[str, int]  # of contigs, by their normal names

    def wanted(self, contig: str) -> Mapping[int, int]:
        """The sites of a contig by their positions."""

    def alternates(self, site: int, ref: str, alts: Sequence[str]) -> tuple[str, ...] | None:
        """The alternate alleles of a record of the site, after it has been restored; None if it is about something
        else."""

    def pairs(self, site: int, alleles: Sequence[str]) -> Shares:
        """The probabilities (N, A, A) of ordered pairs of a record's alleles; what they lack to 1 is other alleles."""

    def known(self, site: int) -> Flags:
        """Who (N,) has something known there that the pairs are about."""

    def closed(self, site: int) -> Flags:
        """Whose (N,) call is not to be changed, whatever it is."""

    def site(self, number: int) -> Site:
        """How a record of the site begins."""

    @property
    def additions(self) -> Iterable[Addition]:
        """The sites that the file does not have."""
