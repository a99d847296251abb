"""`genomai embed`: sequences and samples as vectors."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
    Threads,
    UnusedSeed,
    Verbose,
)
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

TABLE_ENDINGS = (".tsv", ".txt", ".tab")


class Target(StrEnum):
    """What is written."""

    TSV = "tsv"
    HDF5 = "hdf5"


class Pooling(StrEnum):
    """How the vectors of words become one (the same as `nets.vectors.POOLS`, which would need torch)."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"


class Strand(StrEnum):
    """Along which strand a sequence is read."""

    FORWARD = "forward"
    BOTH = "both"


To = Annotated[
    Target | None,
    typer.Option(
        "--to",
        help="A table or HDF5.  [default: tsv for standard output and for names in .tsv, .txt or .tab, "
        "also with .gz; else hdf5]",
        show_default=False,
    ),
]

Pool = Annotated[
    Pooling,
    typer.Option(
        "--pool",
        help="The mean or the maximum of the vectors of words, or the first word's (there is no word [CLS]).",
    ),
]

Layer = Annotated[
    int,
    typer.Option(
        "--layer",
        metavar="N",
        help="After which layer: 0 the embeddings, 1 the first layer, ..., or from the end, -1 the last.",
    ),
]

StrandOption = Annotated[
    Strand,
    typer.Option("--strand", help="With both, the mean with the reverse complement's vector."),
]

PerToken = Annotated[
    bool,
    typer.Option("--per-token", help="A vector a word instead of one a sequence."),
]

WindowLetters = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        min=1,
        help="Letters of the windows in which long sequences are read.  [default: as many as the model can]",
        show_default=False,
    ),
]

StrideLetters = Annotated[
    int | None,
    typer.Option(
        "--stride",
        metavar="N",
        min=1,
        help="Letters from one window's start to the next one's.  [default: half a window]",
        show_default=False,
    ),
]

Append = Annotated[
    bool,
    typer.Option(
        "--append",
        help="Add to an HDF5 file of the same model and options; records that it has, by name, are skipped.",
    ),
]

Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with an interrupted run, whose rows are in FILE.partial."),
]

Force = Annotated[bool, typer.Option("--force", help="Throw the rows of an interrupted run away.")]


def embed(
    context: typer.Context,
    inputs: Inputs = None,
    model: Model = None,
    to: To = None,
    pool: Pool = Pooling.MEAN,
    layer: Layer = -1,
    strand: StrandOption = Strand.FORWARD,
    per_token: PerToken = False,
    window: WindowLetters = None,
    stride: StrideLetters = None,
    append: Append = False,
    resume: Resume = False,
    force: Force = False,
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
    """Turn sequences and samples into vectors, the model's view of them.

    HDF5 holds embeddings, float32 (n, d), and ids, in input order, and how they were made as attributes; with
    --per-token tokens (words, d) and offsets (n + 1). A table has the columns id, e1, e2, ... Long sequences are read
    in overlapping windows, of whose means the vector is the mean weighted by their words. The vector of a
    record in which the model can read nothing is nan.

    \b
    genomai embed -o people.h5 cohort.vcf.gz
    genomai embed --model my-model --strand both genes.fa > vectors.tsv
    genomai embed --model my-model --append -o genes.h5 more-genes.fa
    """
    from genomai_cli import device as devices
    from genomai_cli.bundles import bundle as bundles
    from genomai_cli.cli import model_choice, reading
    from genomai_cli.cli.embedding_output import Vectors, write_file, write_stream, write_table
    from genomai_cli.inference.embed import Embedder, Settings
    from genomai_cli.inference.engine import Batching

    with Run(context) as run:
        hdf5 = (to or _target(output)) is Target.HDF5
        _check_output(output, hdf5=hdf5, kept=append or resume or force)
        name, records = model_choice.records_and_model(
            run, model, lambda: reading.places_of(bundle), absent_is_ref=absent_is_ref
        )
        devices.use_threads(threads)
        chosen = devices.choose(device)
        bundle = bundles.load(name, chosen, devices.exact_precision(chosen))
        run.used_model(bundle.name, bundle.version, bundle.weights_sha256)
        run.used_device(chosen)
        settings = Settings(pool.value, layer, strand is Strand.BOTH, per_token, window, stride)
        embedder = Embedder(bundle, settings, model_choice.installed_panels())
        run.note(embedding=embedder.attributes)
        vectors = Vectors(run, embedder, Batching(pieces=batch_size))
        records = run.console.progress(records, "embedding")
        if not hdf5:
            write_table(output, vectors, records)
        elif _is_stream(output):
            write_stream(output, vectors, records)
        else:
            write_file(output, vectors, records, append=append, resume=resume, force=force)


def _target(output: Path) -> Target:
    """What a file of this name is to be."""
    name = output.name.removesuffix(".gz")
    table = output == STANDARD_OUTPUT or name.endswith(TABLE_ENDINGS)
    device = output.exists() and not output.is_file()
    return Target.TSV if table or device else Target.HDF5


def _is_stream(output: Path) -> bool:
    """Whether the output is written from beginning to end, as compressed files are too."""
    device = output.exists() and not output.is_file() and not output.is_dir()
    return output == STANDARD_OUTPUT or output.suffix == ".gz" or device


def _check_output(output: Path, *, hdf5: bool, kept: bool) -> None:
    if kept and (not hdf5 or _is_stream(output)):
        raise UsageError("--append, --resume and --force are for an HDF5 file: name one with -o")
