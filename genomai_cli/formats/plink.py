"""PLINK 1 genotypes, .bed with its .bim and .fam, read as records of variants (through the library bed-reader).

A .bed holds copies of the allele A1 of its .bim. Which of A1 and A2 is the reference's is not said: PLINK 1 makes the
rarer one A1, PLINK 2 the alternate one. So the order of REF and ALT means nothing here (`VariantFile.ordered`), and
alleles count by their letters alone. Nor is the strand said, which arrays give as they like: whoever knows the sites'
alleles has to see to that.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.contigs import PLINK_CODES, normal_contig
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.libraries import optional_library
from genomai_cli.formats.regions import SitesByContig
from genomai_cli.formats.streams import Input, open_bytes, text_of
from genomai_cli.formats.vcf import Variant, VariantFile

MAGIC, VARIANT_MAJOR = b"\x6c\x1b", 1
MISSING_COPIES = -127  # what bed-reader gives for a missing call
NO_ALLELE = ("0", ".")
_GENOTYPES = np.array([[0, 0], [0, 1], [1, 1], [-1, -1]], np.int16)  # 0, 1, 2 copies of A1, none
_BATCH_VARIANTS = 256  # variants


@dataclass(frozen=True, slots=True)
class Marker:
    """A line of the .bim: contig by its normal name, alleles in upper case."""

    contig: str
    position: int
    a1: str
    a2: str
    line: int


def read_bed(source: Input, sites: SitesByContig | None = None) -> VariantFile:
    """The genotypes at the requested positions (all for None) as records, A2 in the place of REF.

    InputError where a companion file is missing, the three do not go together, or a line is none of theirs.
    """
    if source.kind is not Kind.PLINK:
        raise InputError(f"{source.kind.value}, where a PLINK .bed is needed", path=source.path)
    if source.file is None or source.compression != "plain":
        message = (
            "a PLINK .bed is read beside its .bim and .fam: name the file itself, uncompressed"
        )
        raise InputError(message, path=source.path)
    samples = _samples(companion_file(source.file, ".fam"))
    markers = _markers(companion_file(source.file, ".bim"))
    _check_size(source.file, len(markers), len(samples))
    contigs: dict[str, int | None] = dict(Counter(marker.contig for marker in markers))
    records = _records(source.file, _requested_markers(markers, sites), len(markers), len(samples))
    return VariantFile(source.path, samples, (), records, contigs, ordered=False)


def companion_file(genotypes: Path, *suffixes: str) -> Path:
    """The file of the same name with the first of these suffixes that exists; InputError if there is none."""
    files = [genotypes.with_suffix(suffix) for suffix in suffixes]
    for file in files:
        if file.is_file():
            return file
    message = f"no {files[0].name} beside it, which says what is in it"
    raise InputError(message, path=genotypes)


def _rows(file: Path, columns: int, columns_named: str) -> Iterator[tuple[int, list[str]]]:
    """The lines with their numbers, which have so many fields between blanks."""
    with open_bytes(file) as stream:
        for line, raw in enumerate(stream, start=1):
            fields = text_of(raw).split()
            if len(fields) != columns:
                message = (
                    f"{len(fields)} fields where a {file.suffix} has {columns}: {columns_named}"
                )
                raise InputError(message, path=file, line=line)
            yield line, fields


def _samples(file: Path) -> tuple[str, ...]:
    """The samples' names, with their families where names repeat."""
    rows = list(_rows(file, 6, "family, name, father, mother, sex, phenotype"))
    names, families = ([fields[at] for _, fields in rows] for at in (1, 0))
    return unique_names(names, families, [line for line, _ in rows], file)


def unique_names(
    names: list[str], families: list[str], lines: list[int], file: Path
) -> tuple[str, ...]:
    """Names of samples, as FAMILY_NAME if one is there twice; InputError if that does not tell them apart."""
    if families and len(set(names)) < len(names):
        names = [f"{family}_{name}" for family, name in zip(families, names, strict=True)]
    for line, (name, count) in zip(lines, Counter(names).items(), strict=False):
        if count > 1:
            raise InputError(f"sample {name} is there {count} times", path=file, line=line)
    return tuple(names)


def plink_contig(name: str) -> str:
    """The normal name of a contig as PLINK writes it: by its numbers, and with the pseudoautosomal regions apart."""
    normal = normal_contig(name)
    return "X" if normal in ("XY", "PAR1", "PAR2") else PLINK_CODES.get(normal, normal)


def _markers(file: Path) -> list[Marker]:
    names: dict[str, str] = {}
    found = []
    for line, (contig, _, _, position, a1, a2) in _rows(
        file, 6, "chromosome, name, centimorgans, position, A1, A2"
    ):
        if not position.removeprefix("-").isdigit():
            raise InputError(f"'{position[:20]}' is not a position", path=file, line=line)
        if contig not in names:
            names[contig] = plink_contig(contig)
        found.append(Marker(names[contig], int(position), a1.upper(), a2.upper(), line))
    return found


def _check_size(bed: Path, markers: int, samples: int) -> None:
    """InputError unless the file is one of so many variants and samples."""
    with bed.open("rb") as stream:
        mode = stream.read(3)[2:]
    if mode != bytes([VARIANT_MAJOR]):
        message = (
            "a .bed by samples, as old programs wrote it: `plink --bfile X --make-bed` turns it"
        )
        raise InputError(message, path=bed)
    size, actual = 3 + markers * ((samples + 3) // 4), bed.stat().st_size
    if size != actual:
        message = (
            f"{actual} bytes, where {markers} variants of the .bim and {samples} samples of the .fam make {size}: "
            "truncated, or not the files that belong to it"
        )
        raise InputError(message, path=bed)


def _requested_markers(
    markers: Sequence[Marker], sites: SitesByContig | None
) -> list[tuple[int, Marker]]:
    """The markers at requested positions that have an allele, with their numbers; a position below 1 is none."""
    return [
        (number, marker)
        for number, marker in enumerate(markers)
        if marker.position > 0
        and (sites is None or marker.position in sites.get(marker.contig, ()))
        and {marker.a1, marker.a2} - set(NO_ALLELE)
    ]


def _records(
    bed: Path, markers_read: Sequence[tuple[int, Marker]], markers: int, samples: int
) -> Iterator[Variant]:
    """A record for each of the markers, whose calls are read in batches."""
    unphased = np.zeros(samples, np.bool_)
    bed_reader = optional_library("bed_reader", "reading PLINK .bed files", "plink")
    with bed_reader.open_bed(
        bed, iid_count=samples, sid_count=markers, count_A1=True, num_threads=1
    ) as opened:
        for first in range(0, len(markers_read), _BATCH_VARIANTS):
            batch = markers_read[first : first + _BATCH_VARIANTS]
            index = np.s_[:, [number for number, _ in batch]]
            copies = opened.read(index=index, dtype="int8")
            for column, (_, marker) in enumerate(batch):
                yield _variant(marker, copies[:, column], unphased, bed)


def _variant(
    marker: Marker, copies: NDArray[np.int8], unphased: NDArray[np.bool_], bed: Path
) -> Variant:
    """The record of a marker; one without its A1, or A2, is of a single allele."""
    genotypes = _GENOTYPES[np.where(copies == MISSING_COPIES, 3, copies)]
    ref = marker.a2
    alts: tuple[str, ...] = (marker.a1,)
    if marker.a1 in NO_ALLELE or marker.a2 in NO_ALLELE:
        present = 0 if marker.a1 in NO_ALLELE else 1
        if (genotypes == 1 - present).any():
            message = f"calls of an allele that the .bim does not name, in its line {marker.line}"
            raise InputError(message, path=bed)
        ref, alts = (marker.a1 if present else marker.a2), ()
        genotypes = np.where(genotypes == present, np.int16(0), genotypes)
    return Variant(marker.contig, marker.position, ref, alts, genotypes, unphased, marker.line)
