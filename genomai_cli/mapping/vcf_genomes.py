"""VCF and BCF to genomes in the coordinates of a reference: one letter a position and sample.

What a letter is: the base that the sample's alleles agree on; N where they do not (heteroplasmy), where one
is missing, deleted (also by `*` or a symbolic allele) or ambiguous. Inserted letters have no place in the
reference and are ignored. A deletion in a repeat counts at the repeat's 3' end, as MITOMAP and HaploGrep name
it, although VCFs hold it at the 5' end. A position that no record is about is N, or the reference's letter
where the file is known to list variants only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import CODE_LETTERS, UNKNOWN_CODE, as_text, codes_of
from genomai_cli.errors import InputError, UsageError, shown_path
from genomai_cli.formats.call_quality import (
    DEFAULT_RULES,
    CallRules,
    Reasons,
    count_no_calls,
    filter_warning,
    no_call_message,
)
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.genotypes import ABSENT
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import Variant, VariantFile, read_variants
from genomai_cli.mapping.heteroplasmy import Flags, ResolvedCalls, resolved_calls
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.reference_fit import FileFit, is_of_plink, lacks_common_variants
from genomai_cli.mapping.vcf_alleles import (
    ALTERNATE_BASE,
    CODE,
    DELETED,
    MIXED_N,
    NO_CALL,
    REFERENCE_BASE,
    Calls,
    ContigPositions,
    add_calls,
    conflicting_length,
    contig_names,
    header_lengths,
    other_reference_hint,
    position_calls,
    symbolic_deletion_calls,
    unknown_contigs,
)
from genomai_cli.records import SequenceRecord

_SAMPLES_PER_BLOCK = 512  # samples whose letters are put together at once
_LOW_COVERAGE = 0.5  # of the positions: fewer look like a list of variants
# Positions without a variant: no list of variants has so many.
_REFERENCE_POSITIONS, _REFERENCE_SHARE = 3, 0.5
_MAX_UNRESOLVED = 0.25  # share of a sample's variants that are not settled
_MAX_SHOWN = 5  # positions that a message names


@dataclass(frozen=True)
class GenomeReport:
    """How a cohort's files met the reference: `covered` of its `size` positions are in them.

    Of the records `swapped` had REF and ALT exchanged, `turned` were on the other strand, and those at the positions
    `skipped` fit in neither way. `heteroplasmic` calls are left N, and absent positions of the samples `not_filled`,
    since too many of their variants are. `warnings` says what of this is to be minded.
    """

    path: str
    samples: int
    reference: str
    size: int
    covered: int
    absent_is_ref: bool
    swapped: int = 0
    turned: int = 0
    skipped: tuple[int, ...] = ()
    heteroplasmic: int = 0
    not_filled: int = 0
    lists_variants: bool = True
    no_calls: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{shown_path(self.path)}: {self.reference}, {self.covered} of {self.size} positions"
        counts = {
            "records with REF and ALT swapped": self.swapped,
            "records turned from the other strand": self.turned,
            "records left out": len(self.skipped),
            "heteroplasmic calls left N": self.heteroplasmic,
        }
        text += "".join(f", {count} {what}" for what, count in counts.items() if count)
        few = (
            self.covered < _LOW_COVERAGE * self.size and self.lists_variants and not self.not_filled
        )
        if few and not self.absent_is_ref:
            text += (
                "; the others are N, unless --absent-is-ref says that the file lists variants only"
            )
        return "; ".join(filter(None, [text, no_call_message(self.no_calls)]))


def _zero() -> NDArray[np.int64]:
    return np.zeros((), np.int64)


@dataclass(eq=False)
class _Counts:
    """Counts over a cohort's records, for each sample (N,) and for all of them."""

    records: int = 0
    swapped: int = 0
    turned: int = 0
    skipped: list[int] = field(default_factory=list)
    one_alternate: int = 0  # calls of one alternate allele
    two_alleles: int = 0  # calls of two different alleles
    without_fractions: int = 0  # of them
    variants: NDArray[np.int64] = field(default_factory=_zero)
    unresolved: NDArray[np.int64] = field(default_factory=_zero)
    missing: NDArray[np.int64] = field(default_factory=_zero)

    def count_alleles(self, variant: Variant, resolved: ResolvedCalls) -> None:
        """Count calls as they are given, by how many alleles they have."""
        self.two_alleles += int(resolved.two_alleles.sum())
        self.one_alternate += int(((variant.genotypes[:, 0] > 0) & ~resolved.two_alleles).sum())
        if not resolved.has_fractions:
            self.without_fractions += int((resolved.two_alleles & resolved.unresolved).sum())

    def count(self, variant: Variant, unresolved_N: Flags, variant_N: Flags) -> None:
        """Count one record."""
        self.records += 1
        self.unresolved = self.unresolved + unresolved_N.astype(np.int64)
        self.variants = self.variants + variant_N.astype(np.int64)
        self.missing = self.missing + (variant.genotypes[:, 0] < 0).astype(np.int64)

    @property
    def doubtful(self) -> Flags:
        """The samples (N,) whose absent positions may not be filled in: much of what the file lists is not known."""
        listed_N = self.unresolved + self.variants
        too_unresolved = self.unresolved > _MAX_UNRESOLVED * listed_N
        doubtful: Flags = too_unresolved | (2 * self.missing > self.records)
        return doubtful


class Genomes:
    """The genomes of one group of samples, gathered from one or more files."""

    def __init__(self, reference: Reference, file: VariantFile, *, absent_is_ref: bool) -> None:
        self.samples = list(file.samples)
        self.path = file.path
        self._reference = reference
        self._codes = codes_of(reference.letters)
        self._absent_is_ref = absent_is_ref
        self._calls: dict[int, Calls] = {}  # by position from 0, one call a sample
        self._has_genotypes = False
        # Positions, from 0, at which a call has another allele, settled or not.
        self._variant_positions: set[int] = set()
        self._counts = _Counts()
        self._contigs: dict[str, int | None] = {}
        self._no_calls: list[Reasons | None] = []
        self._filters: set[str] = set()
        self.haploid = False  # whether any call has one allele

    def add(self, file: VariantFile) -> None:
        """Take in the records of one more file of these samples."""
        is_length = len(self._reference) in header_lengths(file.header, self._reference)
        fit = FileFit(file.path, self._reference, is_of_plink(file.header), is_length)
        for record in file.records:
            if record.offset:
                self._add_covered(record)
                continue
            self._check_position(record, file)
            self._no_calls.append(record.no_calls)
            self._filters.update(record.filters)
            self._has_genotypes |= record.has_genotypes
            self.haploid |= bool((record.genotypes[:, 1] == ABSENT).any())
            resolved = resolved_calls(record)
            self._counts.count_alleles(record, resolved)
            if (record.genotypes > 0).any() or record.filters:
                self._variant_positions.add(record.position - 1)
            variant = fit.add(replace(record, genotypes=resolved.genotypes, fields=None))
            if variant is not None:
                self._add_record(variant)
        self._contigs |= file.contigs
        resolved_records, skipped = fit.resolve(absent_is_ref=self._absent_is_ref)
        for variant in resolved_records:
            self._add_record(variant)
        counts = self._counts
        counts.swapped += fit.swapped
        counts.turned += len(resolved_records) if fit.is_on_other_strand else 0
        counts.skipped += [variant.position for variant in skipped]

    def _add_record(self, variant: Variant) -> None:
        """Take in a record that fits the reference."""
        two_N = (variant.genotypes >= 0).all(axis=1)
        two_N &= variant.genotypes[:, 0] != variant.genotypes[:, 1]
        unresolved_N, variant_N = np.zeros((2, len(two_N)), np.bool_)
        for position, calls in position_calls(
            variant, self._codes, circular=self._reference.circular
        ):
            add_calls(self._calls, position, calls)
            unresolved_N |= two_N & (calls == MIXED_N)
            variant_N |= calls >= ALTERNATE_BASE
        self._counts.count(variant, unresolved_N, variant_N)

    def _add_covered(self, variant: Variant) -> None:
        """Take in what a record says of a position after its first, beyond the letters of its alleles."""
        calls = symbolic_deletion_calls(variant)
        if calls is not None:
            add_calls(self._calls, variant.position - 1, calls)

    def _check_position(self, variant: Variant, file: VariantFile) -> None:
        """InputError for a record that does not lie within the reference."""
        size = len(variant.ref) or 1
        if 1 <= variant.position <= len(self._reference) - size + 1:
            return
        where = f"{variant.contig}:{variant.position}"
        name = self._reference.name
        message = f"a record at {where}, where {name} has {len(self._reference)} letters"
        hint = other_reference_hint(self._reference, variant.position + size - 1)
        raise InputError(
            f"{message}: made with another reference{hint}", path=file.path, line=variant.line
        )

    @property
    def contig(self) -> str:
        """The normal name of the reference's contig in the files, which may be plink's number."""
        names = contig_names(self._reference)
        normal_names = (normal_contig(name) for name in self._contigs)
        return next(
            (name for name in normal_names if name in names), normal_contig(self._reference.name)
        )

    def takes_swapped(self, position: int, alts: Sequence[str]) -> bool:
        """Whether a record at a position (from 0) whose REF is not the reference's base was read with REF and ALT
        exchanged: none of the file was turned, and the reference's base is an ALT, or there is none."""
        is_alt = not alts or self._reference.sequence[position] in alts
        return position in self._calls and not self._counts.turned and is_alt

    @property
    def positions(self) -> list[int]:
        """The positions, counted from 0, that a record is about."""
        return sorted(self._calls)

    def deleted(self, position: int) -> NDArray[np.bool_]:
        """The samples (samples,) whose genome has no letter at a position, or none that is known."""
        calls = self._calls.get(position)
        none_deleted = np.zeros(len(self.samples), np.bool_)
        return none_deleted if calls is None else calls >= DELETED

    def check(self) -> None:
        """InputError if there is nothing to use."""
        if not self._calls:
            message = f"no record on {self._reference.name}{unknown_contigs(self._contigs)}"
            raise InputError(message, path=self.path)
        if not self._has_genotypes:
            message = f"no genotypes: the records on {self._reference.name} have no GT field"
            raise InputError(message, path=self.path)

    @property
    def report(self) -> GenomeReport:
        """What was found."""
        counts = self._counts
        return GenomeReport(
            path=self.path,
            samples=len(self.samples),
            reference=self._reference.name,
            size=len(self._reference),
            covered=len(self._calls),
            absent_is_ref=self._fills_absent,
            swapped=counts.swapped,
            turned=counts.turned,
            skipped=tuple(counts.skipped),
            heteroplasmic=int(counts.unresolved.sum()),
            not_filled=int(self._not_filled.sum()),
            lists_variants=self._lists_variants,
            no_calls=count_no_calls(self._no_calls),
            warnings=tuple(self._warnings()),
        )

    @property
    def _fills_absent(self) -> bool:
        """Whether positions without a record are as the reference."""
        return self._absent_is_ref and self._lists_variants and not self._is_partial

    @cached_property
    def _is_partial(self) -> bool:
        """Whether the variants listed are those of a part of the genome."""
        positions = {position + 1 for position in self._calls}
        variants = int(np.max(self._counts.variants, initial=0))
        return lacks_common_variants(self._reference, positions, variants)

    @cached_property
    def _without_variant(self) -> int:
        """The number of positions at which someone has the reference's letter, and nobody another."""
        columns = (
            calls
            for position, calls in self._calls.items()
            if position not in self._variant_positions
        )
        return sum(
            bool((calls // 8 * 8 == REFERENCE_BASE).any() and (calls < ALTERNATE_BASE).all())
            for calls in columns
        )

    @property
    def _lists_variants(self) -> bool:
        """Whether the records are variants, so that a position without one may be as the reference."""
        share = _REFERENCE_SHARE * len(self._calls)
        return self._without_variant < max(_REFERENCE_POSITIONS, share)

    @property
    def _not_filled(self) -> Flags:
        """The samples (N,) whose absent positions may not be filled in."""
        return np.broadcast_to(self._counts.doubtful, (len(self.samples),))

    def _warnings(self) -> Iterator[str]:
        counts, shown = self._counts, shown_path(self.path)
        name = self._reference.name
        calls = len(self.samples) * (counts.records + len(counts.skipped))
        if by_filter := filter_warning(count_no_calls(self._no_calls), self._filters, calls):
            yield f"{shown}: {by_filter}"
        if counts.skipped:
            positions = ", ".join(map(str, counts.skipped[:_MAX_SHOWN]))
            more = ", ..." if len(counts.skipped) > _MAX_SHOWN else ""
            yield (
                f"{shown}: {len(counts.skipped)} of {counts.records + len(counts.skipped)} records left out, whose "
                f"REF and ALT are not {name}'s letter on this strand: {positions}{more}"
            )
        if counts.turned:
            yield f"{shown}: {counts.turned} records are on the other strand of {name}: turned"
        if counts.without_fractions:
            yield (
                f"{shown}: {counts.without_fractions} of {counts.two_alleles + counts.one_alternate} variant calls are "
                "heterozygous, without allele fractions (FORMAT AF or AD) that tell which base the genome has: N. "
                "Call variants with ploidy 1, or keep AF and AD"
            )
        elif counts.unresolved.any():
            yield (
                f"{shown}: {counts.unresolved.sum()} calls are heteroplasmic (no allele has 90 % of the reads): N"
            )
        if self._absent_is_ref and not self._lists_variants:
            yield (
                f"{shown}: at {self._without_variant} of {len(self._calls)} positions nobody has a variant, so it "
                "is no list of variants: positions without a record are N in spite of --absent-is-ref"
            )
        elif self._absent_is_ref and self._is_partial:
            yield (
                f"{shown}: no record is at the positions where nearly everybody differs from {name}, so it does not "
                "list the variants of whole genomes: positions without a record are N in spite of --absent-is-ref"
            )
        elif self._absent_is_ref and self._not_filled.any():
            yield (
                f"{shown}: positions without a record are N in spite of --absent-is-ref for "
                f"{self._not_filled.sum()} of {len(self.samples)} samples, in which too many calls are "
                "heterozygous or missing (bcftools merge -0 writes reference calls where one file lacks a variant)"
            )

    def records(self) -> Iterator[SequenceRecord]:
        """A sequence record of the reference's length for each sample; some hundred at a time in memory."""
        positions = np.array(sorted(self._calls), np.int64)
        unknown = np.full_like(self._codes, UNKNOWN_CODE)
        filled_N = self._fills_absent & ~self._not_filled
        for first in range(0, len(self.samples), _SAMPLES_PER_BLOCK):
            block = slice(first, first + _SAMPLES_PER_BLOCK)
            calls = [self._calls[position][block] for position in positions]
            table = np.stack(calls, axis=1)  # (samples, positions)
            rows = zip(self.samples[block], table, filled_N[block], strict=True)
            for name, row, is_filled in rows:
                genome = (self._codes if is_filled else unknown).copy()
                genome[positions] = np.where(row == NO_CALL, genome[positions], row & CODE)
                for position in self._unusable_positions:
                    genome[position] = UNKNOWN_CODE
                sequence = as_text(CODE_LETTERS[genome])
                yield SequenceRecord(name, sequence, "", self.path)

    @property
    def _unusable_positions(self) -> list[int]:
        """Positions, from 0, at which nothing is known, since their records do not fit."""
        return [
            position - 1 for position in self._counts.skipped if position - 1 not in self._calls
        ]


def read_genomes(
    inputs: Iterable[Input],
    reference: Reference,
    *,
    absent_is_ref: bool = False,
    rules: CallRules = DEFAULT_RULES,
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
            contig_positions = ContigPositions(reference, source.path, refuse_others)
            file = read_variants(
                source, contig_positions, covering=True, with_fields=True, rules=rules
            )
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
    length = conflicting_length(file.header, reference)
    if length is not None:
        message = f"{reference.name} has {len(reference)} letters, but in the header {length}"
        hint = other_reference_hint(reference, length)
        raise InputError(f"{message}: made with another reference{hint}", path=file.path)
