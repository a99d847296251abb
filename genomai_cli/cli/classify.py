"""`genomai classify`: which labels the samples have, with calibrated probabilities."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    ComputeWithoutSeed,
    Inputs,
    Model,
    Output,
    ShardOption,
    VariantOptions,
)
from genomai_cli.cli.run import Run, command

Probabilities = Annotated[
    bool, typer.Option("--probs", help="Add a column HEAD:LABEL with every label's probability.")
]
Proportions = Annotated[
    str | None,
    typer.Option(
        "--proportions",
        metavar="HEAD",
        help="Add columns fraction:LABEL of ancestry by the labels of a head (superpop, pop), with standard errors.",
        show_default=False,
    ),
]
FractionsFile = Annotated[
    Path | None,
    typer.Option(
        "--q",
        metavar="FILE",
        help="Write the fractions as ADMIXTURE does (.Q), and the samples' names to FILE.samples.",
        show_default=False,
    ),
]
Components = Annotated[
    int | None,
    typer.Option(
        "--pcs",
        metavar="N",
        min=1,
        help="Add columns PC1 to PCN: coordinates on principal axes of the model's training samples.",
        show_default=False,
    ),
]


@command
def classify(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    probs: Probabilities = False,
    proportions: Proportions = None,
    q: FractionsFile = None,
    pcs: Components = None,
    shard: ShardOption = None,
    batch_size: BatchSize = None,
    *,
    variants: VariantOptions,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Tell which reference groups samples are most similar to.

    Reads a VCF, or barcodes (one IUPAC letter for each site of the model's panel) in FASTA, or human mitochondrial
    genomes in either, whole or in part; other models read plain DNA. Without --model the first records choose.
    Writes one row a sample: label and calibrated probability of every head, the sites used, and flags.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai classify samples.vcf.gz > populations.tsv
    bcftools view -s NA12878 cohort.bcf | genomai classify
    genomai classify mitochondrial-genomes.fa > lineages.tsv
    genomai classify --model my-model --probs sequences.fa > labels.tsv
    genomai classify --proportions superpop --pcs 4 cohort.vcf.gz > mixtures.tsv
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.classify import classify_records, write_calls, write_fractions
    from genomai_cli.sources.model_choice import InstalledInputs, open_model

    part = Shard.parsed(shard)
    _, sources = open_run_inputs(run)
    _, bundle, records = open_model(run, sources, model, compute, variants=variants, part=part)
    if q is not None and proportions is None:
        bundle.require_heads()
        proportions = next(iter(bundle.heads))
    asked = {"proportions": proportions, "pcs": pcs}
    wanted = {name: value for name, value in asked.items() if value is not None}
    measures = bundle.input.measures(wanted) if wanted else ()
    calls = classify_records(
        bundle,
        records,
        others=InstalledInputs(),
        measures=measures,
        batching=Batching(windows=batch_size),
    )
    with _outputs(output, q) as (out, *beside):
        if proportions is not None and beside:
            calls = write_fractions(beside[0], beside[1], calls, len(bundle.heads[proportions]))
        counts = write_calls(
            out,
            calls,
            bundle,
            with_probabilities=probs,
            measures=measures,
            header=part.is_first,
        )
    run.count(used=counts.known, refused=counts.unknown)
    run.note(flags=counts.flags)


@contextmanager
def _outputs(table: Path, fractions: Path | None) -> Iterator[list[IO[bytes]]]:
    """The table, and the two files of fractions if they are asked for: all of them appear, or none."""
    from genomai_cli.formats.outputs import held_output

    beside = [] if fractions is None else [fractions, Path(f"{fractions}.samples")]
    with ExitStack() as stack:
        yield [stack.enter_context(held_output(path)) for path in (table, *beside)]
