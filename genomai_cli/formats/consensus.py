"""Each sample's two haplotype sequences of some regions: a reference with the sample's alleles put in.

As `bcftools consensus -H 1` and `-H 2` do it: SNPs and indels are applied in the order of GT's alleles,
phased or not; a missing allele leaves the reference; of overlapping variants the first is applied; a
haploid call goes into both; symbolic alleles and `*` leave the reference. A variant that begins before
a region is left out, one that runs over its end is cut there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.call_quality import (
    DEFAULT_RULES,
    CallRules,
    count_no_calls,
    no_call_message,
)
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.fasta_index import twice_error, usable_index
from genomai_cli.formats.phase_sets import PhaseSplits, in_largest_sets
from genomai_cli.formats.regions import PositionIntervals
from genomai_cli.formats.streams import Input, open_bytes, open_input, text_of
from genomai_cli.formats.vcf import Variant, read_variants
from genomai_cli.records import SequenceRecord

_SKIPPED_LINES = ("#", "track", "browser")


@dataclass(frozen=True, slots=True)
class Region:
    """A line of a BED file: positions `start` + 1 to `end` of a contig."""

    contig: str
    start: int
    end: int
    name: str
    line: int


def haplotype_sequences(
    inputs: Iterable[Input],
    reference: str | Path,
    regions_bed: str | Path,
    *,
    warn: Callable[[str], None] = lambda message: None,
    rules: CallRules = DEFAULT_RULES,
) -> Iterator[SequenceRecord]:
    """Two records a sample and region, SAMPLE_A|REGION and SAMPLE_B|REGION, sample by sample.

    REGION is the name in the BED file's fourth column, or CONTIG:FIRST-LAST counted from 1.
    """
    regions = read_regions(regions_bed)
    references = _reference_sequences(reference, regions, str(regions_bed))
    for samples, variants, path in _cohorts(inputs, regions, warn, rules):
        no_calls = no_call_message(count_no_calls(variant.no_calls for variant in variants))
        if no_calls:
            warn(f"{path}: {no_calls}")
        haplotypes_by_region = [
            _RegionHaplotypes(region, part, _variants_in(variants, region), path, warn)
            for region, part in zip(regions, references, strict=True)
        ]
        for number, sample in enumerate(samples):
            for haplotypes in haplotypes_by_region:
                for haplotype, suffix in enumerate("AB"):
                    name = f"{sample}_{suffix}|{haplotypes.region.name}"
                    sequence = haplotypes.sequence(number, haplotype)
                    yield SequenceRecord(name, sequence, "", path)


def read_regions(path: str | Path) -> list[Region]:
    """The regions of a BED file, in its order."""
    regions = []
    with open_bytes(path) as stream:
        for line, raw in enumerate(stream, start=1):
            text = text_of(raw).strip()
            if text and not text.startswith(_SKIPPED_LINES):
                regions.append(_region(text, str(path), line))
    if not regions:
        raise InputError("no regions", path=str(path))
    return regions


def _region(text: str, path: str, line: int) -> Region:
    fields = text.split("\t") if "\t" in text else text.split()
    if len(fields) < 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
        message = "a BED line needs a contig, a start and an end"
        raise InputError(message, path=path, line=line)
    contig, start, end = fields[0], int(fields[1]), int(fields[2])
    if start >= end:
        raise InputError(f"the region is empty: {start} to {end}", path=path, line=line)
    label = "_".join(fields[3].split()) if len(fields) > 3 else ""
    name = label if label not in ("", ".") else f"{contig}:{start + 1}-{end}"
    return Region(contig, start, end, name, line)


def _reference_sequences(path: str | Path, regions: list[Region], bed: str) -> list[str]:
    """The reference sequence of each region."""
    sequences = _indexed_sequences(Path(path), regions, bed)
    if sequences is None:
        sequences = _streamed_sequences(path, regions, bed)
    missing = next(
        (r for r, sequence in zip(regions, sequences, strict=True) if sequence is None), None
    )
    if missing is not None:
        message = f"contig {missing.contig} is not in {path}"
        raise InputError(message, path=bed, line=missing.line)
    return [sequence for sequence in sequences if sequence is not None]


def _indexed_sequences(path: Path, regions: list[Region], bed: str) -> list[str | None] | None:
    """The regions' sequences through the file's .fai index; None where there is no good one."""
    if not path.is_file() or (index_files := usable_index(path)) is None:
        return None
    verbosity = pysam.set_verbosity(0)
    try:
        with pysam.FastaFile(str(path), filepath_index=str(index_files[0])) as fasta:
            return [_fetched(fasta, region, bed) for region in regions]
    except (OSError, ValueError, KeyError):
        return None
    finally:
        pysam.set_verbosity(verbosity)


def _fetched(fasta: pysam.FastaFile, region: Region, bed: str) -> str | None:
    names = {normal_contig(name): name for name in reversed(fasta.references)}
    name = region.contig if region.contig in fasta.references else None
    name = name or names.get(normal_contig(region.contig))
    if name is None:
        return None
    _check_end(region, fasta.get_reference_length(name), bed)
    return fasta.fetch(name, region.start, region.end).upper().replace("U", "T")


def _streamed_sequences(path: str | Path, regions: list[Region], bed: str) -> list[str | None]:
    """The regions' sequences from one pass over a reference without an index; InputError for a contig that is there
    twice."""
    sequences: list[str | None] = [None] * len(regions)
    names: set[str] = set()
    with open_input(path) as source:
        for record in read_sequences(source):
            if record.name in names:
                raise twice_error(record.name, path, record.line)
            names.add(record.name)
            contig = normal_contig(record.name)
            for number, region in enumerate(regions):
                if sequences[number] is None and normal_contig(region.contig) == contig:
                    _check_end(region, len(record.sequence), bed)
                    sequences[number] = record.sequence[region.start : region.end]
    return sequences


def _check_end(region: Region, length: int, bed: str) -> None:
    if region.end > length:
        message = (
            f"{region.contig}:{region.start}-{region.end} runs over the contig's end ({length})"
        )
        raise InputError(message, path=bed, line=region.line)


def _cohorts(
    inputs: Iterable[Input], regions: list[Region], warn: Callable[[str], None], rules: CallRules
) -> Iterator[tuple[tuple[str, ...], list[Variant], str]]:
    """Samples, their variants in the regions, and the first file; files of equal samples joined."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for region in regions:
        spans.setdefault(normal_contig(region.contig), []).append((region.start + 1, region.end))
    sites = {contig: PositionIntervals(intervals) for contig, intervals in spans.items()}
    cohorts: dict[tuple[str, ...], tuple[list[Variant], str]] = {}
    for source in inputs:
        with source:
            file = read_variants(source, sites, with_fields=True, rules=rules)
            variants, _ = cohorts.setdefault(file.samples, ([], file.path))
            splits = PhaseSplits()
            variants.extend(in_largest_sets(file.records, splits))
            if splits.calls:
                warn(f"{file.path}: {splits}: taken in the order of GT")
    for samples, (variants, path) in cohorts.items():
        yield samples, variants, path


def _variants_in(variants: list[Variant], region: Region) -> list[Variant]:
    contig = normal_contig(region.contig)
    inside = [v for v in variants if v.contig == contig and region.start < v.position <= region.end]
    return sorted(inside, key=lambda variant: variant.position)


class _RegionHaplotypes:
    """One region with its variants; samples that share a haplotype share the work."""

    def __init__(
        self,
        region: Region,
        reference: str,
        variants: list[Variant],
        path: str,
        warn: Callable[[str], None],
    ) -> None:
        self.region, self._reference, self._warn = region, reference, warn
        self._variants = [variant for variant in variants if variant.alts]
        for variant in self._variants:
            _check_reference(variant, region, reference, path)
        self._alleles = _alleles(self._variants)
        self._sequences: dict[bytes, str] = {}
        self._warned: set[int] = set()

    def sequence(self, sample: int, haplotype: int) -> str:
        """The sample's first (0) or second (1) haplotype."""
        if not self._variants:
            return self._reference
        alleles = self._alleles[sample, haplotype]
        key = alleles.tobytes()
        if key not in self._sequences:
            self._sequences[key] = self._haplotype(alleles)
        return self._sequences[key]

    def _haplotype(self, alleles: NDArray[np.int16]) -> str:
        parts: list[str] = []
        consumed = 0  # how far the reference is used up
        after_insertion = False
        for number in np.flatnonzero(alleles > 0):
            variant, alt = self._variants[number], self._variants[number].alts[alleles[number] - 1]
            if not alt.isalpha():
                continue
            start = variant.position - 1 - self.region.start
            ref, alt = _cut_to_region(variant.ref, alt, len(self._reference) - start)
            ref, alt, start = _without_shared_base(ref, alt, start)
            if start < consumed or (not ref and after_insertion and start == consumed):
                self._skip(variant)
                continue
            parts += [self._reference[consumed:start], alt]
            consumed, after_insertion = start + len(ref), not ref
        return "".join([*parts, self._reference[consumed:]])

    def _skip(self, variant: Variant) -> None:
        if variant.position not in self._warned:
            self._warned.add(variant.position)
            position = f"{variant.contig}:{variant.position}"
            self._warn(f"{position} overlaps a variant before it in some haplotypes: skipped there")


def _cut_to_region(ref: str, alt: str, length: int) -> tuple[str, str]:
    """The part of an allele that lies within the region."""
    return (ref, alt) if len(ref) <= length else (ref[:length], alt[:length])


def _without_shared_base(ref: str, alt: str, start: int) -> tuple[str, str, int]:
    """An allele without the first base of an indel, which it shares with the reference."""
    if len(ref) != len(alt) and ref[:1] == alt[:1]:
        return ref[1:], alt[1:], start + 1
    return ref, alt, start


def _alleles(variants: list[Variant]) -> NDArray[np.int16]:
    """Allele numbers (samples, 2, variants); the one allele of a haploid call is in both."""
    if not variants:
        return np.zeros((0, 2, 0), np.int16)
    table = np.stack([variant.genotypes for variant in variants], axis=-1)
    table[:, 1] = np.where(table[:, 1] == -2, table[:, 0], table[:, 1])
    return np.ascontiguousarray(table)


def _check_reference(variant: Variant, region: Region, reference: str, path: str) -> None:
    start = variant.position - 1 - region.start
    reference_bases = reference[start : start + len(variant.ref)]
    if not variant.ref.startswith(reference_bases):
        message = (
            f"REF {variant.ref[:20]} at {variant.contig}:{variant.position}, "
            f"but the reference has {reference_bases[:20]}"
        )
        raise InputError(message, path=path, line=variant.line)
