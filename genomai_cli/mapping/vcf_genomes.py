"""VCF and BCF to genomes in the coordinates of a reference: one letter a position and sample.

What a letter is: the base that the sample's alleles agree on; N where they do not (heteroplasmy), where one
is missing, deleted (also by `*` or a symbolic allele) or ambiguous. Inserted letters have no place in the
reference and are ignored. A deletion in a repeat counts at the repeat's 3' end, as MITOMAP and HaploGrep name
it, although VCFs hold it at the 5' end. A position that no record is about is N, or the reference's letter
where the file is known to list variants only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import CODE_LETTERS, UNKNOWN_CODE, as_text, codes_of
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import Variant, VariantFile, read_variants
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_alleles import (
    CODE,
    DELETED,
    NO_CALL,
    Calls,
    ContigOf,
    header_lengths,
    merged,
    position_calls,
)
from genomai_cli.records import SequenceRecord

_GROUP = 512  # samples whose letters are put together at once
_YORUBA = 16571
_FEW = 0.5  # of the positions: fewer look like a list of variants


@dataclass(frozen=True)
class GenomeReport:
    """How a cohort's files met the reference: `covered` of its `size` positions are in them."""

    path: str
    samples: int
    reference: str
    size: int
    covered: int
    absent_is_ref: bool

    def __str__(self) -> str:
        shown = "<stdin>" if self.path == "-" else self.path
        text = f"{shown}: {self.reference}, {self.covered} of {self.size} positions"
        if self.covered < _FEW * self.size and not self.absent_is_ref:
            text += (
                "; the others are N, unless --absent-is-ref says that the file lists variants only"
            )
        return text


class Genomes:
    """The genomes of one group of samples, gathered from one or more files."""

    def __init__(self, reference: Reference, file: VariantFile, *, absent_is_ref: bool) -> None:
        self.samples = list(file.samples)
        self.path = file.path
        self._reference = reference
        self._codes = codes_of(reference.letters)
        self._absent_is_ref = absent_is_ref
        self._calls: dict[int, Calls] = {}  # by position from 0, one call a sample
        self._with_genotypes = False
        self.haploid = False  # whether any call has one allele

    def add(self, file: VariantFile) -> None:
        """Take in the records of one more file of these samples."""
        for variant in file.records:
            _check(variant, self._reference, file)
            self._with_genotypes |= variant.has_genotypes
            self.haploid |= bool((variant.genotypes[:, 1] == ABSENT).any())
            for position, calls in position_calls(
                variant, self._codes, circular=self._reference.circular
            ):
                before = self._calls.get(position)
                self._calls[position] = calls if before is None else merged(before, calls)

    @property
    def positions(self) -> list[int]:
        """Those, counted from 0, that a record is about."""
        return sorted(self._calls)

    def deleted(self, position: int) -> NDArray[np.bool_]:
        """The samples (samples,) whose genome has no letter at a position, or none that is known."""
        calls = self._calls.get(position)
        lacking = np.zeros(len(self.samples), np.bool_)
        return lacking if calls is None else calls >= DELETED

    def check(self) -> None:
        """InputError if there is nothing to use."""
        if not self._calls:
            message = f"no record on {self._reference.name}"
            raise InputError(message, path=self.path)
        if not self._with_genotypes:
            message = f"no genotypes: the records on {self._reference.name} have no GT field"
            raise InputError(message, path=self.path)

    @property
    def report(self) -> GenomeReport:
        """What was found."""
        size, covered = len(self._reference), len(self._calls)
        counts = (len(self.samples), self._reference.name, size, covered)
        return GenomeReport(self.path, *counts, self._absent_is_ref)

    def records(self) -> Iterator[SequenceRecord]:
        """A sequence record of the reference's length for each sample; some hundred at a time in memory."""
        positions = np.array(sorted(self._calls), np.int64)
        default = self._codes if self._absent_is_ref else np.full_like(self._codes, UNKNOWN_CODE)
        for first in range(0, len(self.samples), _GROUP):
            names = self.samples[first : first + _GROUP]
            calls = [self._calls[position][first : first + _GROUP] for position in positions]
            table = np.stack(calls, axis=1)  # (samples, positions)
            codes = np.where(table == NO_CALL, default[positions], table & CODE)
            for name, row in zip(names, codes, strict=True):
                genome = default.copy()
                genome[positions] = row
                sequence = as_text(CODE_LETTERS[genome])
                yield SequenceRecord(name, sequence, "", self.path)


def read_genomes(
    inputs: Iterable[Input],
    reference: Reference,
    *,
    absent_is_ref: bool = False,
    refuse_others: str = "",
) -> list[Genomes]:
    """The genomes of all samples of all inputs; each input is read to its end and closed.

    Inputs with the same samples in the same order are parts of one cohort. Read are the contigs of the
    reference's name, and those called M or MT (with or without chr) if it is the human mitochondrial one.
    With a text in `refuse_others` a record of another contig is an InputError that ends with it. Raises
    InputError for a file that was made with another reference.
    """
    cohorts: dict[tuple[str, ...], Genomes] = {}
    for source in inputs:
        with source:
            wanted = ContigOf(reference, source.path, refuse_others)
            file = read_variants(source, wanted)
            cohort = cohorts.get(file.samples)
            if cohort is None:
                cohort = Genomes(reference, file, absent_is_ref=absent_is_ref)
                cohorts[file.samples] = cohort
            _check_header(file, reference)
            cohort.add(file)
    if not cohorts:
        raise UsageError("no input is given")
    for cohort in cohorts.values():
        cohort.check()
    return list(cohorts.values())


def _check_header(file: VariantFile, reference: Reference) -> None:
    """InputError if every contig of the reference's name has another length."""
    lengths = header_lengths(file.header, reference)
    if lengths and len(reference) not in lengths:
        length = min(lengths)
        message = f"{reference.name} has {len(reference)} letters, but in the header {length}"
        hint = _hint(reference, likely=length == _YORUBA)
        raise InputError(f"{message}: made with another reference{hint}", path=file.path)


def _check(variant: Variant, reference: Reference, file: VariantFile) -> None:
    """InputError unless REF is what the reference has there."""
    start = variant.position - 1
    expected = reference.sequence[max(0, start) : start + len(variant.ref)]
    size = len(variant.ref) or 1
    known = zip(variant.ref, expected, strict=False)
    inside = start >= 0 and start + size <= len(reference)
    if inside and all(a == b or "N" in (a, b) for a, b in known):
        return
    where = f"{variant.contig}:{variant.position}"
    if inside:
        message = f"REF {variant.ref[:20]} at {where}, where {reference.name} has {expected[:20]}"
    else:
        message = f"a record at {where}, where {reference.name} has {len(reference)} letters"
    hint = _hint(reference, likely=True)
    message = f"{message}: made with another reference{hint}"
    raise InputError(message, path=file.path, line=variant.line)


def _hint(reference: Reference, *, likely: bool) -> str:
    human = normal_contig(reference.name) == "MT" and likely
    return f", perhaps the Yoruba chrM of hg19 (NC_001807, {_YORUBA} letters)" if human else ""
