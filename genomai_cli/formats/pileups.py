"""Aligned reads of one sample, BAM or CRAM: the bases that lie over single positions, found by the index (pysam).

Counted is a base of quality 10 or more in a read of mapping quality 20 or more that is no duplicate, secondary,
supplementary or failed alignment. Two mates that overlap are one fragment: where they agree the better base counts, and
where not, neither.

Shape suffix: N bases.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

import numpy as np
import pysam
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES
from genomai_cli.errors import InputError
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input

MIN_MAPPING_QUALITY, MIN_BASE_QUALITY = 20, 10  # phred
MAX_BASE_QUALITY = 30  # since reads are mapped wrongly more often than better bases are wrong
_SKIPPED = pysam.FUNMAP | pysam.FSECONDARY | pysam.FQCFAIL | pysam.FDUP | pysam.FSUPPLEMENTARY
_NO_NAMES = (None, "", "*")  # of reads whose names were left out: nobody's mates
_MAX_DEPTH = 2000  # reads over a position; more are ignored
_CODES = {base: code for code, base in enumerate(BASES)}
# Operations of CIGAR.
_CONSUMES_BOTH, _CONSUMES_READ, _CONSUMES_REFERENCE = (0, 7, 8), (1, 4), (2, 3)


@dataclass(frozen=True, eq=False)
class PileupColumn:
    """The bases over a position: their codes (N,), 0 to 3 for A C G T, and how likely each is wrong (N,)."""

    codes: NDArray[np.uint8]
    errors: NDArray[np.float64]


class AlignedReads:
    """An indexed file: its contigs with their lengths, its sample, and the bases at positions."""

    def __init__(self, path: str, file: pysam.AlignmentFile) -> None:
        self._path, self._file = path, file
        self.contigs = dict(zip(file.references, file.lengths, strict=True))
        self.sample = _sample(path, file)

    def pileup(self, contig: str, position: int) -> PileupColumn:
        """The bases at a position, from 1."""
        by_fragment: dict[str | int, tuple[int, int]] = {}
        reads = islice(self._file.fetch(contig, position - 1, position), _MAX_DEPTH)
        for number, read in enumerate(reads):
            base = _base_over(read, position - 1)
            if base is not None:
                name = number if read.query_name in _NO_NAMES else str(read.query_name)
                by_fragment[name] = (
                    _merged_mates(by_fragment[name], base) if name in by_fragment else base
                )
        bases = [(code, quality) for code, quality in by_fragment.values() if quality]
        table = np.array(bases, np.float64).reshape(-1, 2)
        errors = 10 ** (-np.minimum(table[:, 1], MAX_BASE_QUALITY) / 10)
        return PileupColumn(table[:, 0].astype(np.uint8), errors)


@contextmanager
def aligned_reads(source: Input) -> Iterator[AlignedReads]:
    """The reads of an input; InputError with the remedy if it has no index, or no reference that it needs, or is
    damaged."""
    if source.file is None:
        message = "aligned reads are read by their index: name the file itself, not a stream"
        raise InputError(message, path=source.path)
    if source.kind is Kind.CRAM and source.reference is None:
        message = (
            "a CRAM needs the genome that it was made with: `genomai classify --reference FASTA`, or a BAM of it "
            "(samtools view -b)"
        )
        raise InputError(message, path=source.path)
    verbosity = pysam.set_verbosity(0)  # htslib would complain on standard error by itself
    try:
        with _opened(source.file, source.reference) as file:
            yield AlignedReads(source.path, file)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        cause = " or not made with this --reference" if source.reference else ""
        raise InputError(f"truncated, damaged{cause} ({reason})", path=source.path) from None
    finally:
        pysam.set_verbosity(verbosity)


def require_contigs(source: Input, lengths: Mapping[str, int]) -> None:
    """InputError unless the genome that a CRAM is read with has these contigs, under these names and so long."""
    if source.kind is not Kind.CRAM or source.reference is None:
        return
    with open_reference(source.reference) as genome:
        for name, length in lengths.items():
            actual = genome.lengths.get(name)
            if actual != length:
                difference = f"has {actual:,} letters of" if actual else "has no"
                message = f"not made with this --reference, which {difference} {name}"
                raise InputError(message, path=source.path)


def _opened(path: Path, reference: Path | None) -> pysam.AlignmentFile:
    name = None if reference is None else str(reference)
    file = pysam.AlignmentFile(str(path), "r", reference_filename=name, require_index=False)
    if not file.has_index():
        file.close()
        raise InputError(f"no index beside it: `samtools index {path.name}` makes it", path=path)
    index = next((found for found in _indexes(path) if found.is_file()), None)
    if index is not None and index.stat().st_mtime < path.stat().st_mtime:
        file.close()
        message = (
            f"changed after its index: `samtools index {path.name}` makes it anew, `touch {index.name}` says that it "
            "is of this file"
        )
        raise InputError(message, path=path)
    return file


def _indexes(path: Path) -> Iterator[Path]:
    """Where htslib looks for one, in its order."""
    for ending in (".csi", ".crai", ".bai"):
        yield from (path.with_name(path.name + ending), path.with_suffix(ending))


def _sample(path: str, file: pysam.AlignmentFile) -> str:
    """The name by the read groups, else by the file; InputError where there are several."""
    groups = file.header.to_dict().get("RG", [])
    names = list(dict.fromkeys(str(group["SM"]) for group in groups if group.get("SM")))
    if len(names) > 1:
        shown = ", ".join(names[:3])
        message = f"reads of {len(names)} samples ({shown}): one file a sample (`samtools split` makes them)"
        raise InputError(message, path=path)
    return names[0] if names else PurePath(path).stem


def _base_over(read: pysam.AlignedSegment, position: int) -> tuple[int, int] | None:
    """The code and the quality of a read's base at a position, from 0, if it counts."""
    if read.flag & _SKIPPED or read.mapping_quality < MIN_MAPPING_QUALITY:
        return None
    index = _query_index(read, position)
    sequence, qualities = read.query_sequence, read.query_qualities
    if (
        index is None
        or sequence is None
        or qualities is None
        or qualities[index] < MIN_BASE_QUALITY
    ):
        return None
    code = _CODES.get(sequence[index].upper())
    return None if code is None else (code, int(qualities[index]))


def _query_index(read: pysam.AlignedSegment, position: int) -> int | None:
    """Which base of the read lies over the position; None in a gap."""
    query, reference = 0, read.reference_start
    for operation, length in read.cigartuples or ():
        if operation in _CONSUMES_BOTH:
            if position < reference + length:
                return query + position - reference if position >= reference else None
            query, reference = query + length, reference + length
        elif operation in _CONSUMES_READ:
            query += length
        elif operation in _CONSUMES_REFERENCE:
            reference += length
    return None


def _merged_mates(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """The base of a fragment whose two reads lie over the position, of quality 0 where they disagree."""
    return max(first, second) if first[0] == second[0] else (first[0], 0)
