"""Lines of a big bgzipped VCF at wanted positions only, through the index beside it."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import pysam

from genomai_cli.formats.streams import Input

# A fetch inflates about one block; below this many compressed bytes a position, reading on is faster.
_WORTH = 1 << 15

Interval = tuple[str, int, int]  # contig, first and last position


class Stretches:
    """The positions of some intervals (first, last) of one contig, without listing them."""

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        self.intervals: list[tuple[int, int]] = []
        for first, last in sorted(intervals):
            if self.intervals and first <= self.intervals[-1][1] + 1:
                before = self.intervals.pop()
                first, last = before[0], max(before[1], last)
            self.intervals.append((first, last))
        self._starts = [first for first, _ in self.intervals]

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position <= self.intervals[at][1]


Sites = Collection[int] | Stretches
Wanted = Mapping[str, Sites]  # by normalised contig


def indexed_lines(
    source: Input, wanted: Wanted, normal: Callable[[str], str]
) -> Iterator[bytes] | None:
    """The wanted lines, or None where the file has no good index or is too small to profit."""
    index = _index(source)
    count = sum(len(_spans(sites)) for sites in wanted.values())
    if index is None or source.file is None or source.file.stat().st_size < _WORTH * count:
        return None
    before = pysam.set_verbosity(0)  # htslib would complain on standard error by itself
    try:
        with pysam.TabixFile(str(source.file), index=str(index)) as table:
            intervals = list(_intervals(table.contigs, wanted, normal))
            return iter(list(_fetch(table, intervals)))
    except (OSError, ValueError):
        return None
    finally:
        pysam.set_verbosity(before)


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
    contigs: list[str], wanted: Wanted, normal: Callable[[str], str]
) -> Iterator[Interval]:
    for contig in contigs:
        for first, last in _spans(wanted.get(normal(contig), ())):
            yield contig, first, last


def _spans(sites: Sites) -> list[tuple[int, int]]:
    if isinstance(sites, Stretches):
        return sites.intervals
    return [(site, site) for site in sorted(sites)]


def _fetch(table: pysam.TabixFile, intervals: list[Interval]) -> Iterator[bytes]:
    for contig, first, last in intervals:
        for line in table.fetch(contig, max(first - 1, 0), last):
            raw = line.encode("utf-8", "surrogateescape")
            # A deletion that begins before the interval overlaps it without being at it.
            if first <= int(raw.split(b"\t", 2)[1]) <= last:
                yield raw
