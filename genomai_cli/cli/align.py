"""`genomai align`: how similar samples are to phenotype records, and why.

What `genomai align` reads besides DNA, and the table that it writes.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.align_explanations import Wanted, explained
from genomai_cli.cli.classify import BatchSize
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
from genomai_cli.cli.output import held_output, require_apart
from genomai_cli.cli.run import STANDARD_INPUT, Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.population.alignment.pairs import PairScorer, PairScores
    from genomai_cli.population.alignment.similarity import Aligned, Aligner
    from genomai_cli.population.phenotypes import PhenotypeTable


@dataclass(frozen=True)
class Asked:
    """Where the table goes, and what is in it; pairs are tested by so many permutations."""

    output: Path
    top: int | None
    reverse: bool
    pairs: Path | None
    permutations: int
    seed: int


def phenotype_records(
    run: Run, file: Path | None, model: str, bundle: "Bundle"
) -> "PhenotypeTable":
    """The records of the file, or the model's own; UsageError without either."""
    from genomai_cli.bundles import catalog
    from genomai_cli.population.phenotype_encoding import ignored
    from genomai_cli.population.phenotypes import RECORDS, read_phenotypes

    columns = bundle.crossmodal.columns
    path = catalog.find(model) / RECORDS if file is None else file
    if file is None and not path.is_file():
        raise UsageError(f"the model {bundle.name!r} has no records of its own: give --phenotypes")
    table = read_phenotypes(path)
    passed_over = ignored(table, columns)
    if passed_over:
        run.console.warn(f"{path}: columns unknown to the model: {', '.join(passed_over)}")
    run.note(phenotypes={"file": str(path), "records": len(table), "ignored": passed_over})
    return table


def write(
    run: Run, aligner: "Aligner", aligned: "Iterable[Aligned]", asked: Asked, wanted: Wanted
) -> None:
    """Write all that is asked for, whole or not at all."""
    from genomai_cli.population.alignment.pairs import PairScorer, read_pairs
    from genomai_cli.population.alignment.tables import write_by_record, write_by_sample

    table, scorer = aligner.table, None
    if asked.pairs is not None:
        scorer = PairScorer(read_pairs(asked.pairs), table.names, table.path)
    with ExitStack() as stack:
        out = stack.enter_context(held_output(asked.output))
        samples: Iterable[Aligned] = _counted(run, aligned)
        if wanted:
            records_of = None if scorer is None else scorer.records_of
            samples = explained(run, wanted, aligner, samples, records_of, stack)
        if scorer is not None:
            _write_pairs(run, out, samples, scorer, asked)
        elif asked.reverse:
            write_by_record(out, samples, table.names, asked.top)
        else:
            write_by_sample(out, samples, table.names, asked.top)


def _counted(run: Run, aligned: "Iterable[Aligned]") -> "Iterator[Aligned]":
    """The same samples, counted; at the end a warning about those without a usable site."""
    unusable = 0
    for found in aligned:
        usable = found.similarities is not None
        unusable += not usable
        run.count(used=usable, refused=not usable)
        yield found
    if unusable:
        run.console.warn(f"{unusable} samples have no site that the model can use")


def _write_pairs(
    run: Run, out: IO[bytes], aligned: "Iterable[Aligned]", scorer: "PairScorer", asked: Asked
) -> None:
    """Write the pairs, then tell and record how often chance aligns them as well."""
    from genomai_cli.population.alignment import tables

    for found in aligned:
        scorer.add(found)
    scores = scorer.scores()
    pairs = zip(scorer.pairs.samples, scorer.pairs.phenotypes, strict=True)
    tables.write_pairs(out, pairs, scores.similarity, scores.rank)
    if len(scores.partners):
        _test(run, scores, asked)


def _test(run: Run, scores: "PairScores", asked: Asked) -> None:
    import numpy as np

    from genomai_cli.metrics.resampling import permutation_test

    rng = np.random.default_rng(asked.seed)
    told = permutation_test(scores.matrix, scores.partners, rng, asked.permutations)
    run.note(permutation_test=asdict(told))
    run.console.say(
        f"{told.pairs} pairs have a mean similarity of {told.observed:.4f}, random assignments {told.expected:.4f} "
        f"(standard deviation {told.spread:.4f}): p = {told.p:.4g} in {told.permutations} permutations"
    )


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
    from genomai_cli.cli import inputs

    pass
    from genomai_cli.cli.align_explanations import Wanted
    from genomai_cli.population.alignment.similarity import AS_FITS, Aligner

    with Run(context) as run:
        _check_pictures(plot, plot_of)
        if [*run.inputs, phenotypes, pairs].count(STANDARD_INPUT) > 1:
            raise UsageError("standard input (-) can be read only once")
        require_apart(output=output, attention=attention, plot=plot)
        if pairs is not None and (top is not None or reverse):
            raise UsageError("--pairs writes the pairs alone: --top and --reverse are for rankings")
        name, records = inputs.records_and_model(
            run, model, lambda: inputs.places_of(bundle), absent_is_ref=absent_is_ref
        )
        devices.use_threads(threads)
        chosen = devices.choose(device)
        bundle = bundles.load(name, chosen, devices.exact_precision(chosen))
        run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
        run.used_device(chosen)
        table = phenotype_records(run, phenotypes, name, bundle)
        aligner = Aligner(bundle, table, inputs.installed_panels())
        batching = AS_FITS if batch_size is None else replace(AS_FITS, pieces=batch_size)
        aligned = aligner.align(run.console.progress(records, "aligning"), batching)
        asked = Asked(output, top, reverse, pairs, permutations, seed)
        write(run, aligner, aligned, asked, Wanted(attention, plot, plot_of or []))


def _check_pictures(plot: Path | None, plot_of: list[str] | None) -> None:
    if plot is not None and plot.suffix not in PICTURES:
        raise UsageError(f"--plot {plot}: the name tells the kind, {', '.join(PICTURES)}")
    if plot_of and plot is None:
        raise UsageError("--plot-of is for --plot")
