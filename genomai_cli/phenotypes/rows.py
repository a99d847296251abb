"""People with their phenotypes as rows of bytes, for a corpus on disk: letters at the sites of a panel, then a record.

Shape suffixes: B people, S sites, C categories, M numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.phenotypes.columns import Columns
from genomai_cli.phenotypes.encoding import Encoded

Bytes = NDArray[np.uint8]
_WORD = 4  # bytes of a number


@dataclass(frozen=True, eq=False)
class DescribedRows:
    """The layout of a row: the letters of so many sites, then the values of these columns as little-endian words."""

    sites: int
    columns: Columns

    def __len__(self) -> int:
        return self.sites + _WORD * sum(self._words)

    @property
    def _words(self) -> tuple[int, int, int]:
        columns = self.columns
        place = 0 if columns.place is None else 3
        return len(columns.categories), len(columns.numbers), place

    def rows(self, letters_BS: Bytes, encoded: Encoded) -> Bytes:
        """The people as rows."""
        parts = [
            np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(len(letters_BS), -1)
            for values, kind in (
                (encoded.categories, "<i4"),
                (encoded.numbers, "<f4"),
                (encoded.places, "<f4"),
            )
        ]
        return np.concatenate([letters_BS, *parts], axis=1)

    def letters(self, rows: Bytes) -> Bytes:
        """The letters (B, S)."""
        return rows[:, : self.sites]

    def encoded(self, rows: Bytes) -> Encoded:
        """The records."""
        categories, numbers, _ = self._words
        words = np.ascontiguousarray(rows[:, self.sites :]).view("<i4").reshape(len(rows), -1)
        values = words.view("<f4").astype(np.float32)
        return Encoded(
            words[:, :categories].astype(np.int64),
            values[:, categories : categories + numbers],
            values[:, categories + numbers :],
        )
