"""`genomai align`: how similar samples are to phenotype records, and why."""

from pathlib import Path
from typing import Annotated

import typer

from genomai_cli.cli.classify import BatchSize
from genomai_cli.cli.held_output import require_apart
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    AbsentIsRef,
    Device,
    Inputs,
    Model,
    Output,
    Quiet,
    ReportJson,
    Seed,
    Threads,
    Verbose,
)
from genomai_cli.cli.run import STANDARD_INPUT, Run
from genomai_cli.errors import UsageError

PICTURES = (".png", ".svg", ".html")

PhenotypesFile = Annotated[
    Path | None,
    typer.Option(
        "--phenotypes",
        metavar="FILE",
        help="A table whose first column names the record and whose others describe it; . is unknown.  "
        "[default: the model's own records]",
        show_default=False,
    ),
]

Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="K",
        min=1,
        help="Only the K most similar records of each sample, or samples of each record.  [default: all]",
        show_default=False,
    ),
]

Reverse = Annotated[
    bool, typer.Option("--reverse", help="Rank the samples for each record instead.")
]

PairsFile = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        metavar="FILE",
        help="Only these pairs, a table with the columns sample and phenotype; and test whether they belong together.",
        show_default=False,
    ),
]

Permutations = Annotated[
    int,
    typer.Option(
        "--permutations",
        metavar="N",
        min=1,
        help="Random assignments of the phenotypes of --pairs among their samples.",
    ),
]

AttentionFile = Annotated[
    Path | None,
    typer.Option(
        "--attention",
        metavar="FILE",
        help="Write what each site adds to the similarities, and where attention goes, as HDF5.",
        show_default=False,
    ),
]

PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what each site adds: .png, .svg, or .html, which stands alone.",
        show_default=False,
    ),
]

PlotOf = Annotated[
    list[str] | None,
    typer.Option(
        "--plot-of",
        metavar="NAME",
        help="A record or a label to draw a track for; may be repeated.  [default: those of the coarsest column]",
        show_default=False,
    ),
]


def align(
    context: typer.Context,
    inputs: Inputs = None,
    phenotypes: PhenotypesFile = None,
    top: Top = None,
    reverse: Reverse = False,
    pairs: PairsFile = None,
    permutations: Permutations = 9999,
    attention: AttentionFile = None,
    plot: PlotFile = None,
    plot_of: PlotOf = None,
    model: Model = None,
    absent_is_ref: AbsentIsRef = False,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    output: Output = STANDARD_OUTPUT,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Tell how similar samples are to phenotypes, in a space that both share.

    Reads a VCF, or barcodes in FASTA, and phenotype records: any of the columns that the model knows, for the model
    ancestry superpop, pop, sex, latitude and longitude. Writes a row for each sample and record with the
    cosine of their vectors, the most similar first.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai align --top 3 samples.vcf.gz
    genomai align --phenotypes places.tsv --reverse --top 10 cohort.bcf > nearest.tsv
    genomai align --pairs claimed.tsv samples.vcf.gz
    genomai align --attention why.h5 --plot why.png --plot-of EUR samples.vcf.gz > similarities.tsv
    """
    from dataclasses import replace

    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli import model_choice, reading
    from genomai_cli.cli.alignment_output import Asked, phenotype_records, write
    from genomai_cli.cli.explanation_output import Wanted
    from genomai_cli.inference.align import AS_FITS, Aligner

    with Run(context) as run:
        _check_pictures(plot, plot_of)
        if [*run.inputs, phenotypes, pairs].count(STANDARD_INPUT) > 1:
            raise UsageError("standard input (-) can be read only once")
        require_apart(output=output, attention=attention, plot=plot)
        if pairs is not None and (top is not None or reverse):
            raise UsageError("--pairs writes the pairs alone: --top and --reverse are for rankings")
        name, records = model_choice.records_and_model(
            run, model, lambda: reading.places_of(bundle), absent_is_ref=absent_is_ref
        )
        devices.use_threads(threads)
        chosen = devices.choose(device)
        bundle = bundles.load(name, chosen, devices.exact_precision(chosen))
        run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
        run.used_device(chosen)
        table = phenotype_records(run, phenotypes, name, bundle)
        aligner = Aligner(bundle, table, model_choice.installed_panels())
        batching = AS_FITS if batch_size is None else replace(AS_FITS, pieces=batch_size)
        aligned = aligner.align(run.console.progress(records, "aligning"), batching)
        asked = Asked(output, top, reverse, pairs, permutations, seed)
        write(run, aligner, aligned, asked, Wanted(attention, plot, plot_of or []))


def _check_pictures(plot: Path | None, plot_of: list[str] | None) -> None:
    if plot is not None and plot.suffix not in PICTURES:
        raise UsageError(f"--plot {plot}: the name tells the kind, {', '.join(PICTURES)}")
    if plot_of and plot is None:
        raise UsageError("--plot-of is for --plot")
