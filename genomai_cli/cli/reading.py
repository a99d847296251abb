"""From a command's inputs to sequence records: FASTA and FASTQ as they are, VCF and BCF by way of a panel or a
reference."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.anchoring.reference import Reference
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.streams import Input
    from genomai_cli.panels.panel import Panel
    from genomai_cli.records import SequenceRecord

NOT_PHASED = "--haplotypes is about a panel's sites: the model reads genomes against a reference"


def open_run_inputs(run: Run) -> tuple["Input", Iterator["Input"]]:
    """The run's first input, whose kind may decide something, and all inputs, each opened in its turn."""
    from genomai_cli.formats.streams import open_inputs

    inputs = iter(open_inputs(run.inputs))
    first = next(inputs)
    return first, chain([first], inputs)


def places_of(bundle: "Bundle") -> "Panel | Reference":
    """Where the model reads a VCF; BundleError for a model that does not."""
    return bundle.required_panel if bundle.reference is None else bundle.reference


def read_records(
    run: Run,
    inputs: Iterable["Input"],
    places: Callable[[], "Panel | Reference"],
    *,
    absent_is_ref: bool = False,
    haplotypes: bool = False,
    refuse_others: str = "",
) -> Iterator["SequenceRecord"]:
    """The records of all inputs in their order, counted as read.

    A sample of a VCF becomes its barcode over the panel, or with `haplotypes` two, NAME_A and NAME_B; or its genome in
    the coordinates of the reference, and `refuse_others` says why records of other contigs are not passed over.
    VCFs that stand side by side are read together, since they may be one cohort in pieces. `places` is called only
    if there is a VCF.
    """
    from genomai_cli.anchoring.reference import Reference
    from genomai_cli.formats.sequences import read_sequences

    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            where = places()
            if not isinstance(where, Reference):
                yield from _of_variants(run, group, where, absent_is_ref, haplotypes)
            elif haplotypes:
                raise UsageError(NOT_PHASED)
            else:
                yield from _of_genomes(run, group, where, absent_is_ref, refuse_others)
            continue
        for source in group:
            with source:
                for record in read_sequences(source):
                    run.count(read=1)
                    yield record


def in_coordinates(
    run: Run,
    records: Iterable["SequenceRecord"],
    reference: "Reference",
    positions: list[int] | None = None,
) -> Iterator["SequenceRecord"]:
    """The same records in the coordinates of a reference, at some positions (from 0) or at all.

    Those that do not belong to the reference are left out, with a warning.
    """
    from genomai_cli.anchoring.anchor import Anchorer

    anchorer = Anchorer(reference)
    for record in records:
        anchored = anchorer(record.sequence)
        if anchored is None:
            run.console.warn(f"{record.name} does not belong to {reference.name}: left out")
            run.count(refused=1)
            continue
        letters = anchored.letters if positions is None else anchored.letters[positions]
        yield replace(record, sequence=letters.tobytes().decode("ascii"))


def read_haplotype_sequences(
    run: Run, inputs: Iterable["Input"], reference: Path, regions: Path
) -> Iterator["SequenceRecord"]:
    """Both haplotypes of every sample of the VCFs over the regions of a BED file, counted as read."""
    from genomai_cli.panels.haplotypes import haplotype_sequences

    for record in haplotype_sequences(inputs, reference, regions, warn=run.console.warn):
        run.count(read=1)
        yield record


def _of_variants(
    run: Run, inputs: Iterable["Input"], panel: "Panel", absent_is_ref: bool, haplotypes: bool
) -> Iterator["SequenceRecord"]:
    from genomai_cli.panels.barcode import read_barcodes, read_haplotypes

    read = read_haplotypes if haplotypes else read_barcodes
    samples = read(inputs, panel, absent_is_ref=absent_is_ref)
    for report in samples.reports:
        run.console.say(str(report))
        for warning in report.warnings:
            run.console.warn(warning)
    run.note(panel=panel.name, builds=[report.build for report in samples.reports])
    run.count(read=len(samples.names))
    yield from samples.records()


def _of_genomes(
    run: Run, inputs: Iterable["Input"], reference: "Reference", absent_is_ref: bool, refusal: str
) -> Iterator["SequenceRecord"]:
    from genomai_cli.anchoring.genomes import read_genomes

    cohorts = read_genomes(inputs, reference, absent_is_ref=absent_is_ref, refuse_others=refusal)
    reports = [cohort.report for cohort in cohorts]
    for report in reports:
        run.console.say(str(report))
    run.note(reference=reference.name, positions=[report.told for report in reports])
    for cohort in cohorts:
        run.count(read=len(cohort.samples))
        yield from cohort.records()
