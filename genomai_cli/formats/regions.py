"""Lines of a big bgzipped VCF at wanted positions only, through the index beside it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pysam

from genomai_cli.formats.streams import Input

# A fetch inflates about one block; below this many compressed bytes a position, reading on is faster.
_WORTH = 1 << 15

Interval = tuple[str, int, int]  # contig, first and last position


def indexed_lines(
    source: Input, wanted: Mapping[str, Collection[int]], normal: Callable[[str], str]
) -> Iterator[bytes] | None:
    """The wanted lines, or None where the file has no good index or is too small to profit."""
    index = _index(source)
    count = sum(1 if isinstance(sites, range) else len(sites) for sites in wanted.values())
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
    contigs: list[str], wanted: Mapping[str, Collection[int]], normal: Callable[[str], str]
) -> Iterator[Interval]:
    for contig in contigs:
        sites = wanted.get(normal(contig), ())
        if isinstance(sites, range):
            yield contig, sites.start, sites.stop - 1
        else:
            for site in sorted(sites):
                yield contig, site, site


def _fetch(table: pysam.TabixFile, intervals: list[Interval]) -> Iterator[bytes]:
    for contig, first, last in intervals:
        for line in table.fetch(contig, max(first - 1, 0), last):
            raw = line.encode("utf-8", "surrogateescape")
            # A deletion that begins before the interval overlaps it without being at it.
            if first <= int(raw.split(b"\t", 2)[1]) <= last:
                yield raw
