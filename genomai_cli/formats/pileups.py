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

LEAST_MAPPING, LEAST_BASE = 20, 10  # phred
MOST_BASE = 30  # what a base counts at most, since reads lie at wrong places more often than better ones are wrong
_SKIPPED = pysam.FUNMAP | pysam.FSECONDARY | pysam.FQCFAIL | pysam.FDUP | pysam.FSUPPLEMENTARY
_DEEPEST = 2000  # reads over a position, of which more are not looked at
_CODES = {base: code for code, base in enumerate(BASES)}
_ON_BOTH, _ON_READ, _ON_REFERENCE = (0, 7, 8), (1, 4), (2, 3)  # operations of CIGAR


@dataclass(frozen=True, eq=False)
class Pile:
    """The bases over a position: their codes (N,), 0 to 3 for A C G T, and how likely each is wrong (N,)."""

    codes: NDArray[np.uint8]
    errors: NDArray[np.float64]


class AlignedReads:
    """An indexed file: its contigs with their lengths, its sample, and the bases at positions."""

    def __init__(self, path: str, file: pysam.AlignmentFile) -> None:
        self._path, self._file = path, file
        self.contigs = dict(zip(file.references, file.lengths, strict=True))
        self.sample = _sample(path, file)

    def pile(self, contig: str, position: int) -> Pile:
        """The bases at a position, from 1."""
        found: dict[str, tuple[int, int]] = {}
        for read in islice(self._file.fetch(contig, position - 1, position), _DEEPEST):
            seen = _seen(read, position - 1)
            if seen is not None:
                name = str(read.query_name)
                found[name] = _of_mates(found[name], seen) if name in found else seen
        bases = [(code, quality) for code, quality in found.values() if quality]
        table = np.array(bases, np.float64).reshape(-1, 2)
        errors = 10 ** (-np.minimum(table[:, 1], MOST_BASE) / 10)
        return Pile(table[:, 0].astype(np.uint8), errors)


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
    before = pysam.set_verbosity(0)  # htslib would complain on standard error by itself
    try:
        with _opened(source.file, source.reference) as file:
            yield AlignedReads(source.path, file)
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())
        about = " or not made with this --reference" if source.reference else ""
        raise InputError(f"truncated, damaged{about} ({told})", path=source.path) from None
    finally:
        pysam.set_verbosity(before)


def require_contigs(source: Input, lengths: Mapping[str, int]) -> None:
    """InputError unless the genome that a CRAM is read with has these contigs, under these names and so long."""
    if source.kind is not Kind.CRAM or source.reference is None:
        return
    with open_reference(source.reference) as genome:
        for name, length in lengths.items():
            there = genome.lengths.get(name)
            if there != length:
                has = f"has {there:,} letters of" if there else "has no"
                message = f"not made with this --reference, which {has} {name}"
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


def _seen(read: pysam.AlignedSegment, position: int) -> tuple[int, int] | None:
    """The code and the quality of a read's base at a position, from 0, if it counts."""
    if read.flag & _SKIPPED or read.mapping_quality < LEAST_MAPPING:
        return None
    at = _within(read, position)
    sequence, qualities = read.query_sequence, read.query_qualities
    if at is None or sequence is None or qualities is None or qualities[at] < LEAST_BASE:
        return None
    code = _CODES.get(sequence[at].upper())
    return None if code is None else (code, int(qualities[at]))


def _within(read: pysam.AlignedSegment, position: int) -> int | None:
    """Which base of the read lies over the position; None in a gap."""
    at, reference = 0, read.reference_start
    for operation, length in read.cigartuples or ():
        if operation in _ON_BOTH:
            if position < reference + length:
                return at + position - reference if position >= reference else None
            at, reference = at + length, reference + length
        elif operation in _ON_READ:
            at += length
        elif operation in _ON_REFERENCE:
            reference += length
    return None


def _of_mates(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The base of a fragment whose two reads lie over the position, of quality 0 where they disagree."""
    return max(one, other) if one[0] == other[0] else (one[0], 0)
