"""From a command's inputs to sequence records: FASTA and FASTQ as they are, VCF and BCF by way of a panel."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.panels.panel import Panel
    from genomai_cli.records import SequenceRecord


def open_run_inputs(run: Run) -> tuple["Input", Iterator["Input"]]:
    """The run's first input, whose kind may decide something, and all inputs, each opened in its turn."""
    from genomai_cli.formats.streams import open_inputs

    inputs = iter(open_inputs(run.inputs))
    first = next(inputs)
    return first, chain([first], inputs)


def read_records(
    run: Run,
    inputs: Iterable["Input"],
    panel: Callable[[], "Panel"],
    *,
    absent_is_ref: bool = False,
    haplotypes: bool = False,
) -> Iterator["SequenceRecord"]:
    """The records of all inputs in their order, counted as read.

    A sample of a VCF becomes its barcode over the panel, or with `haplotypes` two, NAME_A and NAME_B. VCFs that stand
    side by side are read together, since they may be one cohort in pieces. `panel` is called only if there is a VCF.
    """
    from genomai_cli.formats.sequences import read_sequences

    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            yield from _of_variants(run, group, panel(), absent_is_ref, haplotypes)
            continue
        for source in group:
            with source:
                for record in read_sequences(source):
                    run.count(read=1)
                    yield record


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
