"""The regions of a BED file on a reference genome, or the genome's whole contigs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from genomai_cli.errors import InputError
from genomai_cli.formats.consensus import Region, read_regions
from genomai_cli.formats.indexed_fasta import IndexedFasta


def regions_of(reference: IndexedFasta, bed: Path | None) -> Iterator[Region]:
    """The regions by the reference's names, in the order of its contigs; without a BED file its whole contigs.

    InputError for a region of another contig, beyond its end, or that overlaps another.
    """
    if bed is None:
        for name, length in reference.lengths.items():
            if length:
                yield Region(name, 0, length, name, 0)
        return
    order = {name: number for number, name in enumerate(reference.lengths)}
    regions = [
        replace(region, contig=checked_contig(region, reference, bed))
        for region in read_regions(bed)
    ]
    regions.sort(key=lambda region: (order[region.contig], region.start))
    previous = Region("", 0, 0, "", 0)
    for region in regions:
        if region.contig == previous.contig and region.start < previous.end:
            message = f"{region.contig}:{region.start}-{region.end} overlaps the region of line {previous.line}"
            raise InputError(message, path=bed, line=region.line)
        previous = region
        yield region


def checked_contig(region: Region, reference: IndexedFasta, bed: str | Path) -> str:
    """The reference's name of a region's contig; InputError for one that it lacks, or that ends before the region."""
    contig = reference.name(region.contig)
    if contig is None:
        message = f"contig {region.contig} is not in {reference.path} (which has {reference.contig_list()})"
    elif region.end > reference.lengths[contig]:
        length = reference.lengths[contig]
        message = (
            f"{region.contig}:{region.start}-{region.end} runs over the contig's end ({length})"
        )
    else:
        return contig
    raise InputError(message, path=bed, line=region.line)
