"""From a command's inputs to sequence records.

Records of FASTA and FASTQ come as they are. A sample of a VCF or BCF becomes a record by way of a panel, as a barcode,
or of a reference, as a genome in its coordinates.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.options import VariantOptions
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.mapping.mapper import RecordMapper
    from genomai_cli.mapping.reference import Reference
    from genomai_cli.population.barcode import Barcodes, Haplotypes
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord
    from genomai_cli.tokenizers import Tokenizer

NOT_PHASED = "--haplotypes is about a panel's sites: the model reads genomes against a reference"


def open_run_inputs(run: Run) -> tuple["Input", Iterator["Input"]]:
    """The run's first input, whose kind may decide something, and all inputs, each opened in its turn."""
    from genomai_cli.formats.streams import open_inputs

    inputs = map(run.reads, open_inputs(run.inputs))
    first = next(inputs)
    return first, chain([first], inputs)


def read_records(
    run: Run,
    inputs: Iterable["Input"],
    coordinates: Callable[[], "Panel | Reference"],
    *,
    variants: VariantOptions,
    haplotypes: bool = False,
    likelihoods: bool = False,
    refuse_others: str = "",
    tokenizer: Callable[[], "Tokenizer"] | None = None,
    plain: Callable[[], bool] = lambda: False,
) -> Iterator["SequenceRecord"]:
    """The records of all inputs in their order, counted as read.

    A sample of a VCF becomes its barcode over the panel, or with `haplotypes` two, NAME_A and NAME_B; or its genome in
    the coordinates of the reference, and `refuse_others` says why records of other contigs are not passed over.
    With `likelihoods` barcodes come with what is known of genotypes that are missing or doubtful.
    VCFs that stand side by side are read together, since they may be one cohort in pieces. `coordinates` is called only
    if there is a VCF, and `tokenizer`, which says how sequences are to be read, only if there is a sequence; so is
    `plain`, whether they are DNA in no coordinates: then gaps of an alignment are taken out, with a warning.
    """
    from genomai_cli.formats.fasta import read_sequences

    other_letters = OtherLetters()
    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            where = coordinates()
            if not where.full_genomes:
                read = _panel_reader(variants, haplotypes=haplotypes, likelihoods=likelihoods)
                yield from _of_variants(run, group, where, read)
            elif haplotypes:
                raise UsageError(NOT_PHASED)
            else:
                yield from _of_genomes(run, group, where, variants, refuse_others)
            continue
        for source in group:
            with source:
                chosen, is_plain = tokenizer and tokenizer(), plain()
                options = _reading(chosen)
                records = read_sequences(source, **options, keep_gaps=is_plain)
                taken_out = is_plain and not options.get("any_text")
                for record in _without_gaps(run, records) if taken_out else records:
                    run.count(read=1)
                    if chosen is not None:
                        other_letters.count(record, chosen)
                    yield record
    if other_letters.letters:
        run.console.warn(str(other_letters))


@dataclass
class OtherLetters:
    """Letters that are bases in lower case or U, and that a tokenizer tells from A, C, G and T."""

    sequences: int = 0
    letters: int = 0
    known: bool = False  # as letters of their own

    def count(self, record: "SequenceRecord", tokenizer: "Tokenizer") -> None:
        """Those of a record."""
        self.known, found = tokenizer.any_text, tokenizer.other_letters(record.sequence)
        self.sequences, self.letters = self.sequences + bool(found), self.letters + found

    def __str__(self) -> str:
        how = "other letters than A, C, G and T" if self.known else "unknown letters"
        return (
            f"{self.letters} letters of {self.sequences} sequences are lower case or U, which this model reads as "
            f"{how}: `genomai tokenize --to fasta FILE` writes them in upper case, and U as T"
        )


def _without_gaps(run: Run, records: Iterable["SequenceRecord"]) -> Iterator["SequenceRecord"]:
    """The records without the gaps of an alignment, and a warning if there were any."""
    count, letters = 0, 0
    for record in records:
        gaps = record.sequence.count("-")
        count, letters = count + bool(gaps), letters + gaps
        yield replace(record, sequence=record.sequence.replace("-", "")) if gaps else record
    if count:
        run.console.warn(f"{letters} gaps of an alignment (- or .) in {count} sequences: taken out")


def _reading(chosen: "Tokenizer | None") -> dict[str, bool]:
    if chosen is None:
        return {}
    return {
        "case_sensitive": chosen.case_sensitive,
        "keep_u": chosen.keeps_u,
        "any_text": chosen.any_text,
    }


def in_coordinates(
    run: Run,
    records: Iterable["SequenceRecord"],
    mapper: "InputKind | RecordMapper",
    positions: list[int] | None = None,
) -> Iterator["SequenceRecord"]:
    """The same records in the coordinates of the mapper's reference, if it has one, at some positions (from 0) or all.

    Those that do not belong to the reference are left out, with a warning.
    """
    warn = run.repeated_warning(
        "records in all are left out, since they do not belong to the reference"
    )
    for record in records:
        mapped = mapper.mapped(record)
        if mapped is None:
            warn(f"{record.name} does not belong to {mapper.coordinates.name}: left out")
            run.count(refused=1)
        elif positions is None:
            yield mapped
        else:
            letters = mapped.held
            yield replace(mapped, sequence="".join(letters[at] for at in positions))


def read_haplotype_sequences(
    run: Run,
    inputs: Iterable["Input"],
    reference: Path,
    regions: Path,
    variants: VariantOptions,
) -> Iterator["SequenceRecord"]:
    """Both haplotypes of every sample of the VCFs over the regions of a BED file, counted as read."""
    from genomai_cli.formats.consensus import haplotype_sequences

    rules, warn = variants.rules, run.repeated_warning("such warnings in all")
    for record in haplotype_sequences(inputs, reference, regions, warn=warn, rules=rules):
        run.count(read=1)
        yield record


def _panel_reader(
    variants: VariantOptions, *, haplotypes: bool, likelihoods: bool
) -> Callable[..., "Barcodes | Haplotypes"]:
    """What reads inputs at the sites of a panel."""
    from genomai_cli.population.barcode import read_barcodes, read_haplotypes

    read = read_haplotypes if haplotypes else partial(read_barcodes, likelihoods=likelihoods)
    return partial(read, absent_is_ref=variants.absent_is_ref, rules=variants.rules)


def _of_variants(
    run: Run,
    inputs: Iterable["Input"],
    panel: "Panel",
    read: Callable[..., "Barcodes | Haplotypes"],
) -> Iterator["SequenceRecord"]:
    samples = read(inputs, panel)
    for report in samples.reports:
        run.console.say(str(report))
        for warning in report.warnings:
            run.console.warn(warning)
    run.note(
        panel=panel.name,
        builds=[report.build for report in samples.reports],
        matches=[asdict(report) for report in samples.reports],
    )
    run.count(read=len(samples.names))
    yield from samples.records()


def _of_genomes(
    run: Run,
    inputs: Iterable["Input"],
    reference: "Reference",
    variants: VariantOptions,
    refusal: str,
) -> Iterator["SequenceRecord"]:
    from genomai_cli.mapping.vcf_genomes import read_genomes

    cohorts = read_genomes(
        inputs,
        reference,
        absent_is_ref=variants.absent_is_ref,
        rules=variants.rules,
        refuse_others=refusal,
    )
    reports = [cohort.report for cohort in cohorts]
    for report in reports:
        run.console.say(str(report))
        for warning in report.warnings:
            run.console.warn(warning)
    run.note(
        reference=reference.name,
        positions=[report.covered for report in reports],
        matches=[asdict(report) for report in reports],
    )
    for cohort in cohorts:
        run.count(read=len(cohort.samples))
        yield from cohort.records()


class Faults:
    """What an input kind finds fault with in the records that pass, to be told once at the end; `others` are those of
    other models, whose records may be read too."""

    def __init__(
        self, run: Run, kind: "InputKind", others: Mapping[str, "InputKind"] | None = None
    ) -> None:
        self.run, self.kind, self.count = run, kind, 0
        self.others = {} if others is None else others
        self.found: dict[str, tuple[str, int]] = {}  # the first name, and how many

    def of(self, record: "SequenceRecord") -> None:
        """Take note of a record."""
        self.count += 1
        for fault in self._kind_of(record).faults(record):
            first, before = self.found.get(fault, (record.name, 0))
            self.found[fault] = first, before + 1

    def _kind_of(self, record: "SequenceRecord") -> "InputKind":
        length = len(record.sequence)
        if self.kind.row_length in (None, length):
            return self.kind
        return next((k for k in self.others.values() if k.row_length == length), self.kind)

    def warn(self) -> None:
        """A warning a fault, with the samples that have it and what to do."""
        for fault, (first, number) in self.found.items():
            many = f"{number} of {self.count} samples, {first} first"
            who = first if self.count == 1 else many
            self.run.console.warn(f"{fault}: {who}: {self.kind.advice(fault)}")
