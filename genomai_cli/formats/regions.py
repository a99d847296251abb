"""Lines of a big bgzipped VCF at wanted positions only, through the index beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pysam

from genomai_cli.formats.blocks import block_end
from genomai_cli.formats.sites import Sites, Stretches, Wanted
from genomai_cli.formats.streams import Input

# A fetch inflates about one block; below this many compressed bytes a position, reading on is faster.
_WORTH = 1 << 15

Interval = tuple[str, int, int]  # contig, first and last position


def indexed_lines(
    source: Input, wanted: Wanted, normal: Callable[[str], str]
) -> Iterator[tuple[bytes, int]] | None:
    """The lines that overlap wanted positions, each with 0 or the position after its POS.

    None where the file has no good index or is too small to profit.
    """
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


def _fetch(table: pysam.TabixFile, intervals: list[Interval]) -> Iterator[tuple[bytes, int]]:
    for contig, first, last in intervals:
        for line in table.fetch(contig, max(first - 1, 0), last):
            raw = line.encode("utf-8", "surrogateescape")
            at = int(raw.split(b"\t", 2)[1])
            if at >= first:
                yield raw, 0
            # A deletion may begin before a position and reach it, which says nothing; a block does.
            elif first == last and block_end(raw) >= first:
                yield raw, first
