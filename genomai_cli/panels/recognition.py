"""Which panel a sequence is a barcode of, told from its letters alone.

Shapes: S sites; `letters` are (S,).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.panels.barcode import heterozygote_codes
from genomai_cli.panels.panel import Panel
from genomai_cli.records import SequenceRecord

Letters = NDArray[np.uint8]
_MISSING = ord("N")


@dataclass(frozen=True, eq=False)
class BarcodeSites:
    """The letters of a panel's sites: `genotypes` (S, 3) of a person, `alleles` (S, 2) of a haplotype."""

    name: str
    genotypes: Letters
    alleles: Letters

    @classmethod
    def of(cls, panel: Panel) -> "BarcodeSites":
        """The sites of a panel, in its order."""
        alleles = np.stack([panel.ref_codes, panel.alt_codes], axis=1)
        heterozygotes = heterozygote_codes(panel)[:, None]
        return cls(panel.name, np.concatenate([alleles, heterozygotes], axis=1), alleles)

    def __len__(self) -> int:
        return len(self.alleles)

    def fit(self, letters: Letters) -> bool:
        """Whether every letter is a genotype of its site, or missing."""
        if len(letters) != len(self):
            return False
        known = (self.genotypes == letters[:, None]).any(axis=1)
        return bool((known | (letters == _MISSING)).all())


def sites_of(letters: Letters, panels: Iterable[BarcodeSites]) -> BarcodeSites | None:
    """The first panel that the letters fit, None for a sequence that is no barcode of any.

    A sequence of n random bases fits a panel of n sites with the probability of about 2 ** -n.
    """
    return next((sites for sites in panels if sites.fit(letters)), None)


def letters_of(record: SequenceRecord) -> Letters:
    """A record's letters as ASCII codes."""
    return np.frombuffer(record.sequence.encode("ascii"), np.uint8)


def among(letters: bytes) -> NDArray[np.bool_]:
    """A table by byte: whether it is one of these letters."""
    table = np.zeros(256, np.bool_)
    table[list(letters)] = True
    return table


_OF_HAPLOTYPES = among(b"ACGTN")


def is_haplotype(letters: Letters) -> bool:
    """Whether there is no letter of two bases: one haplotype, or a person without heterozygous sites."""
    return bool(_OF_HAPLOTYPES[letters].all())
