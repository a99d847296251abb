"""Reference blocks of a gVCF: one record that says "as the reference" from POS to INFO/END."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from genomai_cli.formats.sites import Sites, Stretches

# Alternate alleles that stand for no observed variant.
NO_VARIANT = frozenset({"<NON_REF>", "<*>", "<X>", "."})
_NO_VARIANT_BYTES = frozenset(allele.encode() for allele in NO_VARIANT)
_END = re.compile(rb"(?:^|;)END=(\d{1,12})(?:;|$)")


def block_end(raw: bytes) -> int:
    """The last position of the block that a VCF line is, 0 for any other record."""
    columns = raw.split(b"\t", 8)
    if len(columns) < 8 or columns[4] not in _NO_VARIANT_BYTES:
        return 0
    found = _END.search(columns[7].rstrip(b"\r\n"))
    return int(found[1]) if found else 0


def is_block(alts: Iterable[str]) -> bool:
    """Whether these alternate alleles leave nothing but the reference."""
    return all(alt in NO_VARIANT for alt in alts)


class OrderedSites:
    """The wanted positions of each contig in order, to find those within a block."""

    def __init__(self) -> None:
        self._ordered: dict[int, list[int]] = {}

    def within(self, sites: Sites, first: int, last: int) -> list[int]:
        """The wanted positions from `first` to `last`; a stretch wants the records, not their blocks."""
        if isinstance(sites, Stretches) or last < first:
            return []
        ordered = self._ordered.get(id(sites))
        if ordered is None:
            ordered = self._ordered[id(sites)] = sorted(sites)
        return ordered[bisect_left(ordered, first) : bisect_right(ordered, last)]
