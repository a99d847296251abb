"""`genomai augment`: random views of sequences and genotypes, to train with."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genomai_cli import registry
from genomai_cli.cli.augment_groups import (
    group_column,
    groups_to_cross,
    phenotype_numbers,
    rows_of_views,
)
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Compute,
    Inputs,
    Output,
    PanelOptions,
    ShardOption,
    VariantOptions,
    check_finite,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import BundleError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inference.augment import Alignment, Changes, Diffuser
    from genomai_cli.mapping.reference import Reference
    from genomai_cli.records import SequenceRecord

DEFAULT_DIFFUSER = "ancestry-generator"
NO_CHANGE_MESSAGE = (
    "nothing to do: ask for --mask, --crop, --mutate, --revcomp, --diffuse or --cross"
)
Views = Annotated[int, typer.Option("--views", metavar="N", min=1, help="Views of each record.")]
Mask = Annotated[
    float | None,
    typer.Option(
        "--mask",
        metavar="SHARE",
        min=0,
        max=1,
        help="Mask this share of the letters: they become N.",
        show_default=False,
    ),
]
Crop = Annotated[
    float | None,
    typer.Option(
        "--crop",
        metavar="SHARE",
        min=0,
        max=1,
        help="Keep a stretch of this share of the length; of a barcode the rest is masked.",
        show_default=False,
    ),
]
Mutate = Annotated[
    float | None,
    typer.Option(
        "--mutate",
        metavar="SHARE",
        min=0,
        max=1,
        help="Replace this share of the letters by others; in a barcode by other genotypes of the site.",
        show_default=False,
    ),
]
ReverseComplement = Annotated[
    bool, typer.Option("--revcomp", help="Read the views on the other strand (not for barcodes).")
]
Diffuse = Annotated[
    float | None,
    typer.Option(
        "--diffuse",
        metavar="TIME",
        min=0,
        max=1,
        callback=check_finite,
        help="Noise up to this time and draw again from there, by a diffusion model: --model, or for barcodes "
        "ancestry-generator. At 1 nothing is left of the record.",
        show_default=False,
    ),
]
Cross = Annotated[
    bool,
    typer.Option(
        "--cross",
        help="Barcodes only: new members of the record's group, each site from another member.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="A table whose first column names the records and whose others hold labels.",
        show_default=False,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="The column of the labels that says who is crossed with whom, and as what --diffuse draws individuals.",
        show_default=False,
    ),
]
LabelsOutput = Annotated[
    Path | None,
    typer.Option(
        "--labels-out",
        metavar="FILE",
        help="Write the labels of the views: the records' own rows, under the views' names.",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class ViewOptions:
    """How many views of a record, and the changes of each."""

    views: Views = 1
    mask: Mask = None
    crop: Crop = None
    mutate: Mutate = None
    revcomp: ReverseComplement = False
    diffuse: Diffuse = None
    cross: Cross = False

    def changes(self) -> "Changes":
        """The changes, except crosses; UsageError for none at all."""
        from genomai_cli.inference.augment import Changes

        changes = Changes(self.mask, self.crop, self.mutate, self.revcomp, self.diffuse)
        if not str(changes) and not self.cross:
            raise UsageError(NO_CHANGE_MESSAGE)
        return changes


@dataclass(eq=False, repr=False)
class LabelOptions:
    """The labels of records, and of views."""

    labels: Labels = None
    group: GroupColumn = None
    labels_out: LabelsOutput = None

    def check(self, views: ViewOptions) -> None:
        """UsageError for labels without a use, and for a use without labels."""
        if views.cross and self.labels is None:
            raise UsageError("--cross needs --labels: who belongs to which group")
        if self.group is not None and not (views.cross or views.diffuse is not None):
            raise UsageError("--group is for --cross and --diffuse")
        if self.group is not None and self.labels is None:
            raise UsageError("--group needs --labels")
        if self.labels is not None and not (views.cross or self.labels_out or self.group):
            raise UsageError("--labels is for --cross, --labels-out, and --diffuse with --group")
        if self.labels_out is not None and self.labels is None:
            raise UsageError("--labels-out needs --labels")


@dataclass(eq=False, repr=False)
class ReadingOptions(VariantOptions, PanelOptions):
    """How records are read: by which panel or model, and whether sites that a VCF lacks are homozygous reference."""


@command
def augment(
    run: Run,
    inputs: Inputs = None,
    *,
    views: ViewOptions,
    labels: LabelOptions,
    reading: ReadingOptions,
    shard: ShardOption = None,
    compute: Compute,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Write random views of sequences, or of the genotypes of a VCF.

    The views of NAME are NAME_view1, NAME_view2 ... in FASTA; their descriptions say what was done. Each depends on the
    seed, the record's name and the view's number alone, not on the other records (a cross also on the group's members).
    A sample of a VCF becomes a barcode first, as by `genomai tokenize --to fasta`; barcodes in FASTA are known by their
    length and letters. Hold test samples out before you augment: views of one record are no independent samples.

    \b
    genomai augment --views 10 --mask 0.15 --crop 0.8 --mutate 0.1 reads.fa.gz > views.fa
    genomai augment --revcomp reads.fa > other-strand.fa
    genomai augment --diffuse 0.3 --labels people.tsv --group population --views 5 cohort.vcf.gz > views.fa
    genomai augment --cross --labels people.tsv --group population --views 5 cohort.vcf.gz -o new.fa.gz
    """
    from genomai_cli.formats.fasta import write_fasta
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.inference.augment import augmented

    part, changes = Shard.parsed(shard), views.changes()
    labels.check(views)
    table = read_labels(labels.labels) if labels.labels else None
    records, alignment = _records(run, reading)
    crosses = None
    if views.cross and table is not None:
        crosses, records = groups_to_cross(run, records, alignment, table, labels.group)
    diffuser = None
    if views.diffuse is not None:
        diffuser = _diffuser(run, reading.model, views.diffuse, table, labels.group, compute)
    augmented_records = augmented(
        _counted(run, part.part(records)),
        changes,
        views=views.views,
        seed=compute.seed,
        alignment=alignment,
        crosses=crosses,
        diffuser=diffuser,
    )
    with (
        buffered_output(output) as out,
        rows_of_views(labels.labels_out, table, part) as with_label_rows,
    ):
        write_fasta(out, with_label_rows(augmented_records))


def _records(run: Run, reading: ReadingOptions) -> "tuple[Iterator[SequenceRecord], Alignment]":
    """The records of the run's inputs, and the sites of their letters; gaps of plain DNA are taken out."""
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.mapping.mapper import RecordMapper
    from genomai_cli.sources.installed import DEFAULT_ALIGNER, panel_of, reference_of
    from genomai_cli.sources.records import in_coordinates, read_records

    first, sources = open_run_inputs(run)
    if reading.haplotypes and not first.has_variants:
        raise UsageError("--haplotypes needs a VCF")
    reference = None if reading.panel else reference_of(reading.model)
    alignment = _alignment(reading, reference)
    records = read_records(
        run,
        sources,
        lambda: reference or panel_of(reading.panel, reading.model, DEFAULT_ALIGNER),
        variants=reading,
        haplotypes=reading.haplotypes,
        plain=lambda: not alignment.in_coordinates,
    )
    if reference is not None:
        records = in_coordinates(run, records, RecordMapper(reference))
    return records, alignment


def _alignment(reading: ReadingOptions, reference: "Reference | None") -> "Alignment":
    """The sites of the records' letters: those of the panel that is named, or of any installed one."""
    from genomai_cli.bundles import catalog
    from genomai_cli.inference.augment import Alignment
    from genomai_cli.population.augment import BarcodeAlignment
    from genomai_cli.population.barcode import BarcodeSites
    from genomai_cli.sources.installed import installed_panels, panel_of

    if reference is not None:
        return Alignment(length=len(reference))
    if reading.panel is None and reading.model is None:
        panels = [BarcodeSites.of(panel) for panel in installed_panels().values()]
        return BarcodeAlignment(panels=panels)
    try:
        sites = BarcodeSites.of(panel_of(reading.panel, reading.model))
    except BundleError:
        catalog.find(reading.model or "")  # complains where it is missing
        return Alignment()  # a model of plain DNA
    return BarcodeAlignment(panels=[sites], required=True)


def _diffuser(
    run: Run,
    model: str | None,
    time: float,
    table: "LabelTable | None",
    group: str | None,
    compute: Compute,
) -> "Diffuser":
    """The diffuser that noises views up to the time and denoises them; individuals by the phenotypes in the column."""
    from genomai_cli.inference.generate_diffusion import settings_of
    from genomai_cli.sources.model_choice import load_model

    bundle = load_model(run, model or DEFAULT_DIFFUSER, compute)
    settings = settings_of(bundle, seed=compute.seed, start_time=time)
    diffuser: Any = registry.find(registry.DIFFUSERS, bundle.config["input"]["kind"])(
        bundle, settings
    )
    if table is not None and group is not None:
        if not diffuser.generator.of_individuals:
            raise UsageError(
                f"--group does not fit the model {bundle.name}: it knows no phenotypes"
            )
        column = group_column(table, group)
        diffuser.phenotype_of = phenotype_numbers(run, table, column, diffuser.generator.phenotypes)
    typed_diffuser: Diffuser = diffuser
    return typed_diffuser


def _counted(run: Run, records: Iterable["SequenceRecord"]) -> Iterator["SequenceRecord"]:
    for record in records:
        run.count(used=1)
        yield record
