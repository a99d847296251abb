"""From inputs to sequence records.

Records of FASTA and FASTQ come as they are. A sample of a VCF or BCF becomes a record by way of a panel, as a barcode,
or of a reference, as a genome in its coordinates.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Protocol

from genomai_cli.alphabet import UNKNOWN
from genomai_cli.errors import UsageError
from genomai_cli.formats.call_quality import CallRules
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import Input
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_genomes import read_genomes
from genomai_cli.population.barcode import Barcodes, Haplotypes, read_barcodes, read_haplotypes
from genomai_cli.population.match_report import MatchReport
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.observer import Observer
from genomai_cli.tokenizers import Tokenizer

NOT_PHASED = "--haplotypes is about a panel's sites: the model reads genomes against a reference"


class VariantSettings(Protocol):
    """Which calls of a VCF count, and whether sites that it lacks are homozygous reference."""

    @property
    def absent_is_ref(self) -> bool:
        """Whether a site that the file lacks is homozygous reference."""

    @property
    def rules(self) -> CallRules:
        """Which calls count."""


class MapsRecords(Protocol):
    """Maps records to the coordinates of a reference, if it has one."""

    @property
    def coordinates(self) -> Any:
        """The reference, a panel, or None."""

    def mapped(self, record: SequenceRecord) -> SequenceRecord | None:
        """The record in the coordinates; None if it does not belong there."""


def read_records(
    observer: Observer,
    inputs: Iterable[Input],
    coordinates: Callable[[], Panel | Reference],
    *,
    variants: VariantSettings,
    haplotypes: bool = False,
    likelihoods: bool = False,
    refuse_others: str = "",
    tokenizer: Callable[[], Tokenizer] | None = None,
    plain: Callable[[], bool] = lambda: False,
    keep_gaps: bool = False,
) -> Iterator[SequenceRecord]:
    """The records of all inputs in their order, counted as read.

    A sample of a VCF becomes its barcode over the panel, or with `haplotypes` two, NAME_A and NAME_B; or its genome in
    the coordinates of the reference, and `refuse_others` says why records of other contigs are not passed over.
    With `likelihoods` barcodes come with what is known of genotypes that are missing or doubtful.
    VCFs that stand side by side are read together, since they may be one cohort in pieces. `coordinates` is called only
    if there is a VCF, and `tokenizer`, which says how sequences are to be read, only if there is a sequence; so is
    `plain`, whether they are DNA in no coordinates: then gaps of an alignment are taken out, with a warning. Others are
    unknown letters, but with `keep_gaps` they stay.
    """
    other_letters = OtherLetters()
    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            panel_or_reference = coordinates()
            if not panel_or_reference.full_genomes:
                read = _panel_reader(variants, haplotypes=haplotypes, likelihoods=likelihoods)
                yield from _barcode_records(observer, group, panel_or_reference, read)
            elif haplotypes:
                raise UsageError(NOT_PHASED)
            else:
                yield from _genome_records(
                    observer, group, panel_or_reference, variants, refuse_others
                )
            continue
        for source in group:
            with source:
                loaded_tokenizer, is_plain = tokenizer and tokenizer(), plain()
                options = _read_options(loaded_tokenizer)
                records = read_sequences(source, **options, keep_gaps=is_plain or keep_gaps)
                remove_gaps = is_plain and not options.get("any_text")
                for record in without_gaps(observer, records) if remove_gaps else records:
                    observer.count(read=1)
                    if loaded_tokenizer is not None:
                        other_letters.count(record, loaded_tokenizer)
                    yield record
    for warning in other_letters.warnings():
        observer.console.warn(warning)


@dataclass
class OtherLetters:
    """Letters that are bases in lower case or U, and that a tokenizer tells from A, C, G and T; and characters that are
    no bases, which it has tokens of their own for."""

    sequences: int = 0
    letters: int = 0
    distinguished: bool = False  # as letters of their own
    foreign_sequences: int = 0
    foreign_characters: int = 0

    def count(self, record: SequenceRecord, tokenizer: Tokenizer) -> None:
        """Count those of a record."""
        self.distinguished, count = (
            tokenizer.any_text,
            tokenizer.noncanonical_letters(record.sequence),
        )
        self.sequences, self.letters = self.sequences + bool(count), self.letters + count
        foreign = tokenizer.foreign_characters(record.sequence)
        self.foreign_sequences += bool(foreign)
        self.foreign_characters += foreign

    def warnings(self) -> Iterator[str]:
        """What to say of them."""
        if self.letters:
            yield self._other_case()
        if self.foreign_characters:
            yield (
                f"{self.foreign_characters} characters of {self.foreign_sequences} sequences are none of A, C, G and T "
                "(N, or a protein's): this model reads each as a letter of its own, and `score` counts it"
            )

    def _other_case(self) -> str:
        reading = "other letters than A, C, G and T" if self.distinguished else "unknown letters"
        return (
            f"{self.letters} letters of {self.sequences} sequences are lower case or U, which this model reads as "
            f"{reading}: `genomai tokenize --to fasta FILE` writes them in upper case, and U as T"
        )


def without_gaps(observer: Observer, records: Iterable[SequenceRecord]) -> Iterator[SequenceRecord]:
    """The records without the gaps of an alignment, and a warning if there were any."""
    count, letters = 0, 0
    for record in records:
        gaps = record.sequence.count("-")
        count, letters = count + bool(gaps), letters + gaps
        yield replace(record, sequence=record.sequence.replace("-", "")) if gaps else record
    if count:
        observer.console.warn(
            f"{letters} gaps of an alignment (- or .) in {count} sequences: taken out"
        )


def with_unknown_gaps(record: SequenceRecord) -> SequenceRecord:
    """The record with unknown letters for the gaps of an alignment, which keep positions comparable."""
    if not record.sequence.count("-"):
        return record
    return replace(record, sequence=record.sequence.replace("-", UNKNOWN))


def _read_options(tokenizer: Tokenizer | None) -> dict[str, bool]:
    if tokenizer is None:
        return {}
    return {
        "case_sensitive": tokenizer.case_sensitive,
        "keep_u": tokenizer.keeps_u,
        "any_text": tokenizer.any_text,
    }


def in_coordinates(
    observer: Observer,
    records: Iterable[SequenceRecord],
    mapper: MapsRecords,
    positions: list[int] | None = None,
) -> Iterator[SequenceRecord]:
    """The same records in the coordinates of the mapper's reference, if it has one, at some positions (from 0) or all.

    Those that do not belong to the reference are left out, with a warning.
    """
    warn = observer.repeated_warning(
        "records in all are left out, since they do not belong to the reference"
    )
    for record in records:
        mapped = mapper.mapped(record)
        if mapped is None:
            warn(f"{record.name} does not belong to {mapper.coordinates.name}: left out")
            observer.count(refused=1)
        elif positions is None:
            yield mapped
        else:
            letters = mapped.held
            yield replace(mapped, sequence="".join(letters[position] for position in positions))


def _panel_reader(
    variants: VariantSettings, *, haplotypes: bool, likelihoods: bool
) -> Callable[..., Barcodes | Haplotypes]:
    """The function that reads inputs at the sites of a panel."""
    read = read_haplotypes if haplotypes else partial(read_barcodes, likelihoods=likelihoods)
    return partial(read, absent_is_ref=variants.absent_is_ref, rules=variants.rules)


def _barcode_records(
    observer: Observer,
    inputs: Iterable[Input],
    panel: Panel,
    read: Callable[..., Barcodes | Haplotypes],
) -> Iterator[SequenceRecord]:
    samples = read(inputs, panel)
    report_matches(observer, panel, samples.reports, len(samples.names))
    yield from samples.records()


def report_matches(
    observer: Observer, panel: Panel, reports: Sequence[MatchReport], samples: int
) -> None:
    """Report how the files of so many samples match the panel's sites."""
    for report in reports:
        observer.console.say(str(report))
        for warning in report.warnings:
            observer.console.warn(warning)
    observer.note(
        panel=panel.name,
        builds=[report.build for report in reports],
        matches=[asdict(report) for report in reports],
    )
    observer.count(read=samples)


def _genome_records(
    observer: Observer,
    inputs: Iterable[Input],
    reference: Reference,
    variants: VariantSettings,
    refusal: str,
) -> Iterator[SequenceRecord]:
    cohorts = read_genomes(
        inputs,
        reference,
        absent_is_ref=variants.absent_is_ref,
        rules=variants.rules,
        refuse_others=refusal,
    )
    reports = [cohort.report for cohort in cohorts]
    for report in reports:
        observer.console.say(str(report))
        for warning in report.warnings:
            observer.console.warn(warning)
    observer.note(
        reference=reference.name,
        positions=[report.covered for report in reports],
        matches=[asdict(report) for report in reports],
    )
    for cohort in cohorts:
        observer.count(read=len(cohort.samples))
        yield from cohort.records()
