"""`genomai augment`: random views of sequences and genotypes, to train with.

`genomai augment --diffuse`: the model that draws again what was blurred.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genomai_cli import registry
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    AbsentIsRef,
    Device,
    Haplotypes,
    Inputs,
    Model,
    Output,
    PanelFile,
    Quiet,
    ReportJson,
    Seed,
    Threads,
    Verbose,
    check_finite,
    genome_of,
    panel_of,
)
from genomai_cli.cli.output import held_output, require_apart
from genomai_cli.cli.run import Run
from genomai_cli.errors import BundleError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inference.augment import Alignment, Changes, Diffuser
    from genomai_cli.mapping.reference import Reference
    from genomai_cli.population.labels import Phenotypes
    from genomai_cli.records import SequenceRecord

DEFAULT_MODEL = "ancestry-generator"


def diffuser(
    run: Run,
    model: str | None,
    time: float,
    seed: int,
    grouped: "tuple[LabelTable, str] | None",
    device: str,
    threads: int | None,
) -> "Diffuser":
    """What blurs views up to the time and draws them again; `grouped` names people's phenotypes in a column."""
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.inference.generate_diffusion import Settings, steps_of

    devices.use_threads(threads)
    where = devices.choose(device)
    bundle = bundles.load(model or DEFAULT_MODEL, where, devices.exact_precision(where))
    run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
    run.used_device(where)
    settings = Settings(steps_of(bundle), seed=seed, start_time=time)
    made: Any = registry.find(registry.DIFFUSERS, bundle.config["input"]["kind"])(bundle, settings)
    if grouped is not None and not made.generator.of_individuals:
        raise UsageError(f"--group does not fit the model {bundle.name}: it knows no phenotypes")
    if grouped is not None:
        made.phenotype_of = _numbers(run, *grouped, made.generator.phenotypes)
    found: Diffuser = made
    return found


def _numbers(
    run: Run, table: "LabelTable", column: str, phenotypes: "Phenotypes"
) -> Callable[[str], int]:
    """The number of the phenotype of a record's name; 0, none, for a label that the model does not know."""
    from genomai_cli.population.augment import known_name

    labels = table.column(column)
    unknown = sorted(set(labels.values()) - set(phenotypes.names))
    if len(unknown) == len(set(labels.values())):
        names = ", ".join(phenotypes.names)
        raise UsageError(f"--group {column}: the model knows none of its labels, only {names}")
    if unknown:
        run.console.warn(
            f"drawn without a phenotype, since the model does not know it: {', '.join(unknown)}"
        )

    def number(name: str) -> int:
        known = known_name(name, labels)
        label = None if known is None else labels[known]
        return phenotypes.number(label) if label in phenotypes.names else 0

    return number


NOTHING_ASKED = "nothing to do: ask for --mask, --crop, --mutate, --revcomp, --diffuse or --cross"
Views = Annotated[int, typer.Option("--views", metavar="N", min=1, help="Views of each record.")]
Mask = Annotated[
    float | None,
    typer.Option(
        "--mask",
        metavar="SHARE",
        min=0,
        max=1,
        help="Hide this share of the letters: they become N.",
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
        help="Keep a stretch of this share of the length; of a barcode the rest is hidden.",
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
        help="Blur up to this time and draw again from there, by a diffusion model: --model, or for barcodes "
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
        help="The column of the labels that says who is crossed with whom, and as what --diffuse draws people.",
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


def augment(
    context: typer.Context,
    inputs: Inputs = None,
    views: Views = 1,
    mask: Mask = None,
    crop: Crop = None,
    mutate: Mutate = None,
    revcomp: ReverseComplement = False,
    diffuse: Diffuse = None,
    cross: Cross = False,
    labels: Labels = None,
    group: GroupColumn = None,
    labels_out: LabelsOutput = None,
    model: Model = None,
    panel: PanelFile = None,
    haplotypes: Haplotypes = False,
    absent_is_ref: AbsentIsRef = False,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    output: Output = STANDARD_OUTPUT,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
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
    from genomai_cli.cli import augment_groups, inputs
    from genomai_cli.cli.augment_groups import rows_of_views
    from genomai_cli.formats.fasta import write_fasta
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.inference.augment import Changes, augmented
    from genomai_cli.mapping.mapper import RecordMapper

    with Run(context) as run:
        changes = Changes(mask, crop, mutate, revcomp, diffuse)
        _check_options(changes, cross, labels, group, labels_out, output)
        table = read_labels(labels) if labels else None
        first, sources = inputs.open_run_inputs(run)
        if haplotypes and not first.has_variants:
            raise UsageError("--haplotypes needs a VCF")
        genome = None if panel else genome_of(model)
        records = inputs.read_records(
            run,
            sources,
            lambda: genome or panel_of(panel, model),
            absent_is_ref=absent_is_ref,
            haplotypes=haplotypes,
        )
        if genome is not None:
            records = inputs.in_coordinates(run, records, RecordMapper(genome))
        alignment = _alignment(panel, model, genome)
        crosses = None
        if cross and table is not None:
            crosses, records = augment_groups.crosses(run, records, alignment, table, group)
        redrawn = None
        if diffuse is not None:
            grouped = (table, augment_groups.column(table, group)) if table and group else None
            redrawn = diffuser(run, model, diffuse, seed, grouped, device, threads)
        made = augmented(
            _used(run, records),
            changes,
            views=views,
            seed=seed,
            alignment=alignment,
            crosses=crosses,
            diffuser=redrawn,
        )
        with held_output(output) as out, rows_of_views(labels_out, table) as passed:
            write_fasta(out, passed(made))


def _check_options(
    changes: "Changes",
    cross: bool,
    labels: Path | None,
    group: str | None,
    labels_out: Path | None,
    output: Path,
) -> None:
    if not str(changes) and not cross:
        raise UsageError(NOTHING_ASKED)
    if cross and labels is None:
        raise UsageError("--cross needs --labels: who belongs to which group")
    if group is not None and not (cross or changes.diffuse is not None):
        raise UsageError("--group is for --cross and --diffuse")
    if group is not None and labels is None:
        raise UsageError("--group needs --labels")
    if labels is not None and not (cross or labels_out or group):
        raise UsageError("--labels is for --cross, --labels-out, and --diffuse with --group")
    if labels_out is not None and labels is None:
        raise UsageError("--labels-out needs --labels")
    require_apart(labels_out=labels_out, output=output)


def _alignment(panel: Path | None, model: str | None, genome: "Reference | None") -> "Alignment":
    """What the records' letters stand for: the sites of the panel that is named, or of any installed one."""
    from genomai_cli.bundles import catalog
    from genomai_cli.cli.inputs import installed_panels
    from genomai_cli.inference.augment import Alignment
    from genomai_cli.population.augment import BarcodeAlignment
    from genomai_cli.population.barcode import BarcodeSites

    if genome is not None:
        return Alignment(length=len(genome))
    if panel is not None:
        return BarcodeAlignment(panels=[BarcodeSites.of(panel_of(panel, None))], required=True)
    if model is None:
        return BarcodeAlignment(
            panels=[BarcodeSites.of(found) for found in installed_panels().values()]
        )
    try:
        return BarcodeAlignment(panels=[BarcodeSites.of(panel_of(None, model))], required=True)
    except BundleError:
        catalog.find(model)  # complains where it is missing
        return Alignment()  # a model of plain DNA


def _used(run: Run, records: Iterable["SequenceRecord"]) -> Iterator["SequenceRecord"]:
    for record in records:
        run.count(used=1)
        yield record
