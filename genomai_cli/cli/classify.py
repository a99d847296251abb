"""`genomai classify`: which labels the samples have, with calibrated probabilities."""

from typing import Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    AbsentIsRef,
    BatchSize,
    Device,
    Inputs,
    Model,
    Output,
    Quiet,
    ReportJson,
    Threads,
    UnusedSeed,
    Verbose,
)
from genomai_cli.cli.run import Run

Probabilities = Annotated[
    bool, typer.Option("--probs", help="Add a column HEAD:LABEL with every label's probability.")
]


def classify(
    context: typer.Context,
    inputs: Inputs = None,
    model: Model = None,
    probs: Probabilities = False,
    absent_is_ref: AbsentIsRef = False,
    batch_size: BatchSize = None,
    seed: UnusedSeed = 0,
    device: Device = "auto",
    threads: Threads = None,
    output: Output = STANDARD_OUTPUT,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
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
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli import inputs
    from genomai_cli.cli.output import held_output
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.classify import classify_records, write_calls

    with Run(context) as run:
        name, records = inputs.records_and_model(
            run,
            model,
            lambda: bundle.coordinates,
            absent_is_ref=absent_is_ref,
            tokenizer=lambda: bundle.tokenizer,
        )
        devices.use_threads(threads)
        chosen = devices.choose(device)
        bundle = bundles.load(name, chosen, devices.exact_precision(chosen))
        run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
        run.used_device(chosen)
        batching = Batching(pieces=batch_size)
        others = inputs.installed_inputs()
        calls = classify_records(bundle, records, others=others, batching=batching)
        with held_output(output) as out:
            used, unknown = write_calls(out, calls, bundle, with_probabilities=probs)
        run.count(used=used, refused=unknown)
