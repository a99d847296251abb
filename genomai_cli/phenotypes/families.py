"""Described people to learn from: how their rows are laid out, and the groups that new people are crossed from.

Shape suffixes: N people, S sites.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genomai_cli.augmentations import Pool
from genomai_cli.panels.phase import resolve
from genomai_cli.phenotypes.encoding import UNKNOWN, Encoded
from genomai_cli.phenotypes.rows import Bytes, DescribedRows

MOST = 20_000  # people whose haplotypes are drawn from


@dataclass(frozen=True, eq=False)
class Families:
    """The haplotypes of groups; `numbers` gives each label of the category in `column` its group, or `UNKNOWN`."""

    column: int
    numbers: NDArray[np.int64]
    pool: Pool
    people: frozenset[int] = field(repr=False)  # hashes of their letters

    @classmethod
    def of(cls, rows: Bytes, layout: DescribedRows, groups: str) -> "Families":
        """The groups of people with the same label in the category called `groups`."""
        names = [category.name for category in layout.columns.categories]
        rows = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(np.int64)]
        column = names.index(groups)
        label_N = layout.encoded(rows).categories[:, column]
        told_N = label_N != UNKNOWN
        present, group_N = np.unique(label_N[told_N], return_inverse=True)
        numbers = np.full(len(layout.columns.categories[column].labels), UNKNOWN)
        numbers[present] = np.arange(len(present))
        letters = layout.letters(rows)[told_N]
        return cls(column, numbers, Pool.of(resolve(letters), group_N), frozenset(_hashes(letters)))

    def knows(self, letters_NS: Bytes) -> NDArray[np.bool_]:
        """Which people (N,) are among those of the groups."""
        return np.array([number in self.people for number in _hashes(letters_NS)], np.bool_)

    def groups(self, records: Encoded) -> NDArray[np.int64]:
        """The group (N,) of each record, `UNKNOWN` for one without."""
        label_N = records.categories[:, self.column]
        found: NDArray[np.int64] = np.where(label_N == UNKNOWN, UNKNOWN, self.numbers[label_N])
        return found


@dataclass(frozen=True, eq=False)
class Described:
    """The layout of the rows of a corpus, and the groups that people are crossed in, if they are."""

    rows: DescribedRows
    families: Families | None = None


def _hashes(letters_NS: Bytes) -> Iterator[int]:
    return (hash(row.tobytes()) for row in letters_NS)
