"""The positions requested of a reader of variants, gVCF blocks that cover some, and a big file's lines at them.

Positions are single ones or intervals of a contig. A reference block of a gVCF is one record that says "as the
reference" from POS to its end. Of an indexed bgzipped VCF only the lines at the positions are read.

The end of a record without letters is the largest of INFO/END, POS + SVLEN of alleles that span the reference, and that
of FORMAT/LEN of blocks, whatever version the header names: VCF 4.5 deprecates END, VCF 4.4 has it follow from SVLEN
where it is not there, and htslib (from 1.22 on) computes the length of a BCF record so. Within the record a sample with
a LEN of its own is covered by its own block alone.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.errors import InputError
from genomai_cli.formats.sample_fields import Numbers, SampleFields, TextFields
from genomai_cli.formats.streams import Input
from genomai_cli.formats.tabix import Blocks, Index, read_index


class PositionIntervals:
    """The positions of some intervals (first, last) of one contig, without listing them."""

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        self.intervals: list[tuple[int, int]] = []
        for first, last in sorted(intervals):
            if self.intervals and first <= self.intervals[-1][1] + 1:
                previous = self.intervals.pop()
                first, last = previous[0], max(previous[1], last)
            self.intervals.append((first, last))
        self._starts = [first for first, _ in self.intervals]

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position <= self.intervals[at][1]


Sites = Collection[int] | PositionIntervals
SitesByContig = Mapping[str, Sites]  # by normalised contig

# Alternate alleles that stand for no observed variant.
NO_VARIANT = frozenset({"<NON_REF>", "<*>", "<X>", "."})
_NO_VARIANT_BYTES = frozenset(allele.encode() for allele in NO_VARIANT)
_END = re.compile(rb"(?:^|;)END=(\d{1,12})(?:;|$)")
_SVLEN = re.compile(rb"(?:^|;)SVLEN=([^;]*)")
_LENGTH = re.compile(rb"-?(\d{1,12})")  # negative of deletions before VCF 4.4
# Alleles whose SVLEN is of letters of the reference; <INS> lies between two.
_SPANNING = re.compile(rb"<(?:DEL|DUP|INV|CNV)[:>]")
_WITH_LEN = (b"<*>", b"<NON_REF>")
_WITH_LEN_TEXTS = frozenset(allele.decode() for allele in _WITH_LEN)


def block_end(raw: bytes) -> int:
    """The last position of the block that a VCF line is, 0 for any other record."""
    columns = raw.split(b"\t", 9)
    if len(columns) < 8 or columns[4] not in _NO_VARIANT_BYTES:
        return 0
    return max(info_end(columns[7]), _length_end(columns))


def covered_end(raw: bytes) -> int:
    """The last position that a VCF line covers, by its REF, or further where an allele has no letters of its own."""
    columns = raw.split(b"\t", 9)
    if len(columns) < 8:
        return 0
    by_ref = int(columns[1]) + len(columns[3]) - 1
    if not has_symbolic(columns[4]):
        return by_ref
    return max(by_ref, info_end(columns[7]), _svlen_end(columns), _length_end(columns))


def _svlen_end(columns: Sequence[bytes]) -> int:
    """The last position of alleles that span the reference, by SVLEN among a line's columns; 0 for none."""
    found = _SVLEN.search(columns[7].rstrip(b"\r\n"))
    if not found:
        return 0
    alleles = zip(columns[4].split(b","), found[1].split(b","), strict=False)
    lengths = [_LENGTH.fullmatch(length) for alt, length in alleles if _SPANNING.match(alt)]
    return max((int(columns[1]) + int(length[1]) for length in lengths if length), default=0)


def _length_end(columns: Sequence[bytes]) -> int:
    """The last position of a block, by the samples' LEN; 0 for none."""
    if len(columns) < 10 or b"LEN" not in columns[8]:
        return 0
    if not any(alt in _WITH_LEN for alt in columns[4].split(b",")):
        return 0
    lengths = TextFields(columns[8], columns[9].rstrip(b"\r\n")).numbers("LEN")
    if lengths is None or np.isnan(lengths).all():
        return 0
    return int(columns[1]) + int(np.nanmax(lengths)) - 1


def block_lengths(
    alts: Collection[str], genotypes: NDArray[np.int16], fields: SampleFields
) -> Numbers | None:
    """How many positions each sample's (N,) own block covers, by its LEN; None where nobody has one.

    NaN of who has none, whose block ends with the record; 0 of who has no call either: an earlier block may be theirs.
    """
    if not (alts and _WITH_LEN_TEXTS.issuperset(alts) and fields.has("LEN")):
        return None
    lengths = fields.numbers("LEN")
    if lengths is None or np.isnan(lengths).all():
        return None
    no_block = np.isnan(lengths[:, 0]) & (genotypes[:, 0] == MISSING)
    return np.where(no_block, 0.0, lengths[:, 0])


def is_symbolic(alts: Collection[str]) -> bool:
    """Whether one of these alternate alleles has no letters, or there is none (`.`), so that a record may reach beyond
    its REF."""
    return not alts or any(alt.startswith("<") or alt == "." for alt in alts)


def has_symbolic(alt: bytes) -> bool:
    """The same of a line's ALT."""
    return alt == b"." or alt.startswith(b"<") or b",<" in alt


def info_end(info: bytes) -> int:
    """The END that an INFO gives, 0 for none."""
    found = _END.search(info.rstrip(b"\r\n"))
    return int(found[1]) if found else 0


def is_block(alts: Iterable[str]) -> bool:
    """Whether these alternate alleles leave nothing but the reference."""
    return all(alt in NO_VARIANT for alt in alts)


class OrderedSites:
    """The requested positions of each contig in order, to find those within a block."""

    def __init__(self) -> None:
        self._ordered: dict[int, list[int]] = {}

    def within(self, sites: Sites, first: int, last: int) -> list[int]:
        """The requested positions from `first` to `last`; none of intervals, for which blocks are not expanded."""
        if isinstance(sites, PositionIntervals) or last < first:
            return []
        ordered = self._ordered.get(id(sites))
        if ordered is None:
            ordered = self._ordered[id(sites)] = sorted(sites)
        return ordered[bisect_left(ordered, first) : bisect_right(ordered, last)]


# A fetch inflates about one block; below this many compressed bytes a position, reading on is faster.
_MIN_BYTES_PER_SITE = 1 << 15
Interval = tuple[str, int, int]  # contig, first and last position


def indexed_lines(
    source: Input,
    sites_by_contig: SitesByContig,
    normalise: Callable[[str], str],
    covered_until: Callable[[bytes], int],
) -> tuple[Iterator[tuple[bytes, int]], list[str]] | None:
    """The lines that overlap requested positions, each with 0 or the position after its POS; and the file's contigs.

    `covered_until` gives the last position that a line covers. None where the file has no good index or is too small to
    profit.
    """
    index = _index(source)
    count = sum(len(_spans(sites)) for sites in sites_by_contig.values())
    if (
        index is None
        or source.file is None
        or source.file.stat().st_size < _MIN_BYTES_PER_SITE * count
    ):
        return None
    try:
        with source.file.open("rb") as file:
            blocks, table = Blocks(file), read_index(index)
            if not table.covers(blocks):
                return None  # whoever reads the file on says whether it is truncated
            intervals = list(_intervals(list(table.contigs), sites_by_contig, normalise))
            return iter(list(_lines_in(blocks, table, intervals, covered_until))), list(
                table.contigs
            )
    except (OSError, ValueError, InputError):
        return None


def _index(source: Input) -> Path | None:
    """The index, if it is not older than the file it belongs to."""
    if source.file is None or source.compression != "bgzf":
        return None
    for suffix in (".tbi", ".csi"):
        path = source.file.with_name(source.file.name + suffix)
        if path.is_file() and path.stat().st_mtime >= source.file.stat().st_mtime:
            return path
    return None


def _intervals(
    contigs: list[str], sites_by_contig: SitesByContig, normalise: Callable[[str], str]
) -> Iterator[Interval]:
    for contig in contigs:
        for first, last in _spans(sites_by_contig.get(normalise(contig), ())):
            yield contig, first, last


def _spans(sites: Sites) -> list[tuple[int, int]]:
    if isinstance(sites, PositionIntervals):
        return sites.intervals
    return [(site, site) for site in sorted(sites)]


def _lines_in(
    blocks: Blocks, table: Index, intervals: list[Interval], covered_until: Callable[[bytes], int]
) -> Iterator[tuple[bytes, int]]:
    for contig, first, last in intervals:
        for raw, position in _overlapping(blocks, table, contig, first, last):
            if position >= first:
                yield raw, 0
            elif first == last and covered_until(raw) >= first:
                yield raw, first


def _overlapping(
    blocks: Blocks, table: Index, contig: str, first: int, last: int
) -> Iterator[tuple[bytes, int]]:
    """The lines that may overlap the positions, each with its own; those of a contig are in order."""
    name, searched = contig.encode("utf-8", "surrogateescape"), 0
    for begin, end in table.chunks(contig, first, last):
        for raw in blocks.lines(max(begin, searched), end):
            chrom, pos_field, _ = raw.split(b"\t", 2)
            position = int(pos_field)
            if chrom != name or position > last:
                break
            yield raw, position
        searched = max(searched, end)
