"""`genomai classify`: which labels the samples have, with calibrated probabilities."""

from typing import Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    AbsentIsRef,
    BatchSize,
    ComputeWithoutSeed,
    Inputs,
    Model,
    Output,
)
from genomai_cli.cli.run import Run, command

Probabilities = Annotated[
    bool, typer.Option("--probs", help="Add a column HEAD:LABEL with every label's probability.")
]


@command
def classify(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    probs: Probabilities = False,
    absent_is_ref: AbsentIsRef = False,
    batch_size: BatchSize = None,
    *,
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
    """
    from genomai_cli.cli.model_choice import installed_inputs, open_model
    from genomai_cli.formats.outputs import held_output
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.classify import classify_records, write_calls

    _, bundle, records = open_model(run, model, compute, absent_is_ref=absent_is_ref)
    batching = Batching(windows=batch_size)
    calls = classify_records(bundle, records, others=installed_inputs(), batching=batching)
    with held_output(output) as out:
        counts = write_calls(out, calls, bundle, with_probabilities=probs)
    run.count(used=counts.known, refused=counts.unknown)
    run.note(flags=counts.flags)
