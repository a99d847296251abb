"""Views of barcodes: which records are barcodes, what can stand at their sites, and crosses within groups.

Shape suffixes: B sequences, S sites.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genomai_cli.alphabet import Letters, as_letters
from genomai_cli.augmentations import HaplotypePool
from genomai_cli.inference.augment import Alignment
from genomai_cli.population.barcode import (
    BarcodeSites,
    is_haplotype,
    join,
    require_sites,
    resolve,
    sites_of,
)
from genomai_cli.records import SequenceRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class BarcodeAlignment(Alignment):
    """A record that fits one of `panels` is a barcode of it; if `required`, it has to have the length of the only
    one."""

    panels: Sequence[BarcodeSites]
    required: bool = False

    @property
    def in_coordinates(self) -> bool:
        """See `Alignment`."""
        return self.required

    def sites(self, record: SequenceRecord) -> BarcodeSites | None:
        """The sites of a barcode, None for other sequences; InputError for one that had to be a barcode."""
        if self.required:
            require_sites(record, len(self.panels[0]))
            return self.panels[0]
        return sites_of(as_letters(record.held), self.panels)


class BarcodeCrosses:
    """New members of the groups that records belong to, each site from another member of the group.

    They are individuals, or haplotypes if no record has a letter of two bases. A missing letter may be drawn like
    others."""

    def __init__(self, records: Iterable[SequenceRecord], group_of: Mapping[str, str]) -> None:
        # In an order of their own, so that the order in the file does not matter.
        members = sorted(records, key=lambda record: (record.name, record.held))
        groups = [group_of[record.name] for record in members]
        names, numbers = np.unique(groups, return_inverse=True)
        letters_BS = np.concatenate([as_letters(record.held)[None] for record in members])
        self._number = {str(name): number for number, name in enumerate(names)}
        self._group_of = group_of
        self._pool = HaplotypePool.of(resolve(letters_BS), numbers)
        self._haplotypes = is_haplotype(letters_BS)

    def group(self, name: str) -> str:
        """The group of the record of this name; KeyError if it has none."""
        return self._group_of[name]

    def cross(self, name: str, rng: np.random.Generator) -> Letters:
        """A new member (1, S) of the group of the record of this name."""
        number = np.array([self._number[self.group(name)]])
        first = self._pool.cross(number, rng)
        return first if self._haplotypes else join(first, self._pool.cross(number, rng))


def known_name(name: str, known: Container[str]) -> str | None:
    """The name under which a record's labels stand: its own, or that of the individual of a haplotype NAME_A or
    NAME_B."""
    individual = name[:-2] if name.endswith(("_A", "_B")) else name
    return next((candidate for candidate in (name, individual) if candidate in known), None)


def groups_of(names: Iterable[str], labels: Mapping[str, str]) -> dict[str, str]:
    """The label of every name that has one."""
    known = {name: known_name(name, labels) for name in names}
    return {name: labels[found] for name, found in known.items() if found is not None}
