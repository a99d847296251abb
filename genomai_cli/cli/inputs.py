"""A command's inputs: opened, and for the commands that make haplotype sequences, read."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.options import VariantOptions
from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.records import SequenceRecord


def open_run_inputs(run: Run) -> tuple["Input", Iterator["Input"]]:
    """The run's first input, whose kind may decide something, and all inputs, each opened in its turn."""
    from genomai_cli.formats.streams import open_inputs

    inputs = map(run.register, open_inputs(run.inputs))
    first = next(inputs)
    return first, chain([first], inputs)


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
