"""People of a panel as rows of bytes: two haplotypes of alleles, then the numbers of the person's phenotypes.

Shape suffixes: B people, S sites, P labels of a person.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.panels.panel import Panel

Bytes = NDArray[np.uint8]
Alleles = NDArray[np.int8]

UNKNOWN = -1
_REF, _ALT = b"01"


@dataclass(frozen=True)
class PersonRows:
    """The layout of a row: alleles of haplotype A and B at so many sites, then so many labels."""

    sites: int
    labels: int

    def __len__(self) -> int:
        return 2 * self.sites + self.labels

    def row(self, alleles_2S: Alleles, numbers_P: list[int]) -> Bytes:
        """One person as a row."""
        codes = np.frombuffer(b"01N", np.uint8)[alleles_2S.reshape(-1)]
        return np.concatenate([codes, np.array(numbers_P, np.uint8)])

    def alleles(self, rows: Bytes) -> Alleles:
        """The alleles (B, 2, S) of rows: 0 for ref, 1 for alt, -1 unknown."""
        codes = rows[:, : 2 * self.sites].reshape(len(rows), 2, self.sites)
        alleles = np.full(codes.shape, UNKNOWN, np.int8)
        alleles[codes == _REF] = 0
        alleles[codes == _ALT] = 1
        return alleles

    def numbers(self, rows: Bytes) -> NDArray[np.int64]:
        """The numbers of the phenotypes (B, P)."""
        return rows[:, 2 * self.sites :].astype(np.int64)


def alleles_of(letters: Bytes, panel: Panel) -> Alleles:
    """The alleles of haplotypes' letters, whose last axis is that of the sites."""
    alleles = np.full(letters.shape, UNKNOWN, np.int8)
    alleles[letters == panel.ref_codes] = 0
    alleles[letters == panel.alt_codes] = 1
    return alleles
