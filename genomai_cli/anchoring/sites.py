"""The positions of a reference at which genomes differ: what a model of anchored genomes reads.

Shape suffixes: L letters of the reference, S sites, W the bases A C G T.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.anchoring.reference import Reference
from genomai_cli.errors import InputError
from genomai_cli.formats.outputs import atomic_text
from genomai_cli.formats.tables import TableWriter, read_table

BASES = "ACGT"
COLUMNS = ("position", *BASES)


@dataclass(frozen=True, eq=False)
class VariableSites:
    """Sites of a reference: `positions` (S,), 0-based and ascending, and `counts` (S, 4) of the bases seen there."""

    positions: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def of(cls, counts_LW: NDArray[np.int64], reference: Reference, fewest: int) -> "VariableSites":
        """The positions at which at least two bases were seen `fewest` times, from counts (L, 4).

        Where the reference has no base (3107 of rCRS, a placeholder), genomes have none either: a letter there
        tells of the pipeline that made the sequence, not of the person.
        """
        has_base_L = np.isin(reference.letters, np.frombuffer(BASES.encode(), np.uint8))
        positions_S = np.flatnonzero(((counts_LW >= fewest).sum(1) >= 2) & has_base_L)
        return cls(positions_S, counts_LW[positions_S])

    @classmethod
    def read(cls, path: Path) -> "VariableSites":
        """The sites of a table as `write` makes it; InputError for a damaged one."""
        table = read_table(path)
        try:
            columns = [np.array(table.column(name), np.int64) for name in COLUMNS]
        except ValueError as error:
            raise InputError("a site that is not whole numbers", path=path) from error
        positions = columns[0] - 1
        if len(positions) == 0 or positions[0] < 0 or (np.diff(positions) <= 0).any():
            raise InputError("positions that are not ascending from 1", path=path)
        return cls(positions, np.stack(columns[1:], axis=1))

    def write(self, path: Path) -> None:
        """A table: the 1-based position and how often each base was seen there."""
        with atomic_text(path) as handle:
            table = TableWriter(handle, COLUMNS)
            for position, counts in zip(self.positions, self.counts, strict=True):
                table.write((position + 1, *counts))
