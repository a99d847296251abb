"""From inputs to the haplotypes of individuals at a panel's sites, in bits."""

from collections.abc import Iterable
from itertools import groupby

from genomai_cli.errors import TrainingError
from genomai_cli.formats.streams import Input
from genomai_cli.population.packed_haplotypes import (
    PackedHaplotypes,
    packed_records,
    read_packed_haplotypes,
)
from genomai_cli.population.panel import Panel
from genomai_cli.sources.observer import Observer
from genomai_cli.sources.records import VariantSettings, read_records, report_matches


def read_reference(
    observer: Observer, inputs: Iterable[Input], panel: Panel, variants: VariantSettings
) -> PackedHaplotypes:
    """The haplotypes of all individuals of all inputs, in their order, counted as read.

    Those of a VCF are read in bits; of FASTA they are records, NAME_A and NAME_B. Raises InputError for other records,
    TrainingError where there are none.
    """
    parts = []
    for has_variants, group in groupby(inputs, key=lambda source: source.has_variants):
        if has_variants:
            packed = read_packed_haplotypes(
                group, panel, absent_is_ref=variants.absent_is_ref, rules=variants.rules
            )
            report_matches(observer, panel, packed.reports, len(packed.haplotypes))
            parts.append(packed.haplotypes)
        else:
            records = read_records(observer, group, lambda: panel, variants=variants)
            parts += filter(None, [packed_records(records, panel)])
    if not parts:
        raise TrainingError("nothing to train on in 0 records")
    return PackedHaplotypes.joined(parts)
