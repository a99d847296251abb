"""`genomai align`: how similar samples are to phenotype records, and why."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.align_explanations import Explanations, explain_passing
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    Compute,
    Inputs,
    Model,
    Output,
    ShardOption,
    VariantOptions,
)
from genomai_cli.cli.run import STANDARD_INPUT, Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.population.alignment.pairs import PairScorer, PairScores
    from genomai_cli.population.alignment.similarity import Aligned, Aligner
    from genomai_cli.population.phenotypes import PhenotypeTable

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
DEFAULT_PERMUTATIONS = 9999
Permutations = Annotated[
    int | None,
    typer.Option(
        "--permutations",
        metavar="N",
        min=1,
        help="Random assignments of the phenotypes of --pairs among their samples.  "
        f"[default: {DEFAULT_PERMUTATIONS}]",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class Ranking:
    """Which rows the table has; given pairs are tested by so many permutations."""

    top: Top = None
    reverse: Reverse = False
    pairs: PairsFile = None
    permutations: Permutations = None

    def check(self) -> None:
        """UsageError for options that exclude one another."""
        if self.pairs is not None and (self.top is not None or self.reverse):
            raise UsageError("--pairs writes the pairs alone: --top and --reverse are for rankings")
        if self.pairs is None and self.permutations is not None:
            raise UsageError("--permutations are of --pairs")


@command
def align(
    run: Run,
    inputs: Inputs = None,
    *,
    phenotypes: PhenotypesFile = None,
    ranking: Ranking,
    explanations: Explanations,
    model: Model = None,
    variants: VariantOptions,
    shard: ShardOption = None,
    batch_size: BatchSize = None,
    compute: Compute,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Rank phenotypes by similarity to samples, or samples to them.

    Reads a VCF, or barcodes in FASTA, and phenotype records: any of the columns that the model knows, for the model
    ancestry-967 superpop, pop, sex, latitude and longitude. Writes a row for each sample and record with the
    cosine of their vectors, the most similar first.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai align --top 3 samples.vcf.gz
    genomai align --phenotypes places.tsv --reverse --top 10 cohort.bcf > nearest.tsv
    genomai align --pairs claimed.tsv samples.vcf.gz
    genomai align --attention why.h5 --plot why.png --plot-of EUR samples.vcf.gz > similarities.tsv
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.shards import Shard
    from genomai_cli.population.alignment.similarity import DEFAULT_BATCHING, Aligner
    from genomai_cli.sources.installed import DEFAULT_ALIGNER
    from genomai_cli.sources.model_choice import InstalledInputs, open_model

    explanations.check()
    if [*run.inputs, phenotypes, ranking.pairs].count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read only once")
    ranking.check()
    part = Shard.parsed(shard)
    if not part.is_whole and (ranking.pairs or ranking.reverse or explanations):
        raise UsageError(
            "--shard: --reverse, --pairs, --attention and --plot are about all samples"
        )
    _, sources = open_run_inputs(run)
    name, bundle, records = open_model(
        run, sources, model, compute, variants=variants, part=part, panel_model=DEFAULT_ALIGNER
    )
    table = phenotype_records(run, phenotypes, name, bundle)
    aligner = Aligner(bundle, table, InstalledInputs())
    batching = replace(DEFAULT_BATCHING, windows=batch_size) if batch_size else DEFAULT_BATCHING
    aligned = aligner.align(run.console.progress(records, "aligning"), batching)
    _write(run, aligner, aligned, output, ranking, explanations, header=part.is_first)


def phenotype_records(
    run: Run, file: Path | None, model: str, bundle: "Bundle"
) -> "PhenotypeTable":
    """The records of the file, or the model's own; UsageError without either."""
    from genomai_cli.bundles import catalog
    from genomai_cli.population.networks.crossmodal import crossmodal_of
    from genomai_cli.population.phenotype_encoding import ignored
    from genomai_cli.population.phenotypes import RECORDS, read_phenotypes

    columns = crossmodal_of(bundle).columns
    path = catalog.find(model) / RECORDS if file is None else file
    if file is None and not path.is_file():
        raise UsageError(f"the model {bundle.name!r} has no records of its own: give --phenotypes")
    table = read_phenotypes(path)
    ignored_columns = ignored(table, columns)
    if ignored_columns:
        run.console.warn(f"{path}: columns unknown to the model: {', '.join(ignored_columns)}")
    run.note(phenotypes={"file": str(path), "records": len(table), "ignored": ignored_columns})
    return table


def _write(
    run: Run,
    aligner: "Aligner",
    aligned: "Iterable[Aligned]",
    output: Path,
    ranking: Ranking,
    explanations: Explanations,
    *,
    header: bool,
) -> None:
    """Write the table and the explanations, all of them or none."""
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.population.alignment.pairs import PairScorer, read_pairs
    from genomai_cli.population.alignment.tables import write_by_record, write_by_sample

    table, scorer = aligner.table, None
    if ranking.pairs is not None:
        scorer = PairScorer(read_pairs(ranking.pairs), table.names, table.path)
    with ExitStack() as stack:
        out = stack.enter_context(buffered_output(output))
        samples: Iterable[Aligned] = _counted(run, aligned)
        if explanations:
            records_of = None if scorer is None else scorer.records_of
            samples = explain_passing(run, explanations, aligner, samples, records_of, stack)
        if scorer is not None:
            permutations = ranking.permutations or DEFAULT_PERMUTATIONS
            _write_pairs(run, out, samples, scorer, permutations)
        elif ranking.reverse:
            write_by_record(out, samples, table.names, ranking.top)
        else:
            write_by_sample(out, samples, table.names, ranking.top, header=header)


def _counted(run: Run, aligned: "Iterable[Aligned]") -> "Iterator[Aligned]":
    """The same samples, counted; at the end a warning about those without a usable site."""
    unusable = 0
    for sample in aligned:
        usable = sample.similarities is not None
        unusable += not usable
        run.count(used=usable, refused=not usable)
        yield sample
    if unusable:
        run.console.warn(f"{unusable} samples have no site that the model can use")


def _write_pairs(
    run: Run, out: IO[bytes], aligned: "Iterable[Aligned]", scorer: "PairScorer", permutations: int
) -> None:
    """Write the pairs, then report and record how often chance aligns them as well."""
    from genomai_cli.population.alignment import tables

    for sample in aligned:
        scorer.add(sample)
    scores = scorer.scores()
    pairs = zip(scorer.pairs.samples, scorer.pairs.phenotypes, strict=True)
    tables.write_pairs(out, pairs, scores.similarity, scores.rank)
    if len(scores.partners):
        _permutation_test(run, scores, permutations)


def _permutation_test(run: Run, scores: "PairScores", permutations: int) -> None:
    import numpy as np

    from genomai_cli.metrics.resampling import permutation_test

    rng = np.random.default_rng(run.report.seed)
    test = permutation_test(scores.matrix, scores.partners, rng, permutations)
    run.note(permutation_test=asdict(test))
    run.console.say(
        f"{test.pairs} pairs have a mean similarity of {test.observed:.4f}, random assignments {test.expected:.4f} "
        f"(standard deviation {test.spread:.4f}): p = {test.p:.4g} in {test.permutations} permutations"
    )
