"""Rows of haplotypes that carry the labels by which samples are generated (`diffusion.phenotypes`), and their records.

A row of a corpus holds the alleles of two haplotypes, then the numbers of the sample's labels, then its phenotype
record if the corpus has columns of records.

Shape suffixes: B samples, S sites, P labels of a sample.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.population.phenotype_encoding import EncodedPhenotypes, PhenotypeRows
from genomai_cli.population.phenotypes import Columns

Bytes = NDArray[np.uint8]
Alleles = NDArray[np.int8]
_REF, _ALT = b"01"


@dataclass(frozen=True)
class HaplotypeRows:
    """The layout of a row: alleles of haplotype A and B at so many sites, then so many labels, then these columns."""

    sites: int
    labels: int
    columns: Columns = field(default_factory=Columns)

    def __len__(self) -> int:
        return len(self._layout)

    @property
    def _layout(self) -> PhenotypeRows:
        return PhenotypeRows(2 * self.sites + self.labels, self.columns)

    def row(
        self, alleles_2S: Alleles, numbers_P: list[int], record: EncodedPhenotypes | None = None
    ) -> Bytes:
        """One sample as a row; where there are columns, with its record."""
        codes = np.frombuffer(b"01N", np.uint8)[alleles_2S.reshape(-1)]
        known = np.concatenate([codes, np.array(numbers_P, np.uint8)])
        return known if record is None else self._layout.rows(known[None], record)[0]

    def alleles(self, rows: Bytes) -> Alleles:
        """The alleles (B, 2, S) of rows: 0 for ref, 1 for alt, -1 unknown."""
        codes = rows[:, : 2 * self.sites].reshape(len(rows), 2, self.sites)
        alleles = np.full(codes.shape, MISSING, np.int8)
        alleles[codes == _REF] = 0
        alleles[codes == _ALT] = 1
        return alleles

    def numbers(self, rows: Bytes) -> NDArray[np.int64]:
        """The numbers of the phenotypes (B, P)."""
        return rows[:, 2 * self.sites : 2 * self.sites + self.labels].astype(np.int64)

    def records(self, rows: Bytes) -> EncodedPhenotypes:
        """The records."""
        return self._layout.encoded(rows)
