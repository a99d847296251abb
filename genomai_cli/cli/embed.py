"""`genomai embed`: sequences and samples as vectors.

Where the vectors of `genomai embed` go: a table, HDF5 on a stream, or an HDF5 file that can be added to.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from genomai_cli.cli.output import held_output
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.embeddings import EmbeddingFile, Rows
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.embed import Embedder
    from genomai_cli.records import SequenceRecord

Records = Iterable["SequenceRecord"]


class Vectors:
    """The vectors of a run's records, counted as they pass."""

    def __init__(self, run: Run, embedder: "Embedder", batching: "Batching") -> None:
        self.run, self.embedder, self.batching = run, embedder, batching
        self.per_token = embedder.settings.per_token

    def of(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        """Names, each with some rows of the record's and whether they are its last."""
        counts = self.run.report.records
        before = counts.refused
        yield from self._words(records) if self.per_token else self._pooled(records)
        empty = counts.refused - before
        if empty:
            what = "no vectors" if self.per_token else "vectors of nan"
            self.run.console.warn(
                f"{empty} records hold nothing that the model can read and have {what}"
            )

    def _pooled(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        for found in self.embedder.embed(records, self.batching):
            self.run.count(used=found.windows > 0, refused=found.windows == 0)
            yield found.name, found.vector[None], True

    def _words(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        rows = 0
        for words in self.embedder.embed_words(records, self.batching):
            rows += len(words.vectors)
            if words.last:
                self.run.count(used=rows > 0, refused=rows == 0)
                rows = 0
            yield words.name, words.vectors, words.last


def write_table(output: Path, vectors: Vectors, records: Records) -> None:
    """Write the vectors of the records as TSV."""
    from genomai_cli.formats.embeddings import write_tsv

    with held_output(output) as out:
        write_tsv(out, vectors.of(records), vectors.embedder.width, per_token=vectors.per_token)


def write_stream(output: Path, vectors: Vectors, records: Records) -> None:
    """Write them as HDF5 by way of a temporary file, because HDF5 seeks and a stream cannot."""
    with held_output(output) as out, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "embeddings.h5"
        with _file(whole, vectors) as file:
            _fill(file, vectors, records)
        with whole.open("rb") as handle:
            shutil.copyfileobj(handle, out, 1 << 20)


def write_file(
    output: Path,
    vectors: Vectors,
    records: Records,
    *,
    append: bool = False,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Write them as an HDF5 file, add them to one, or go on with the interrupted run that was to write it."""
    from genomai_cli.formats.embeddings import Unseen

    say = vectors.run.console.say
    file = _file(output, vectors, append=append, resume=resume, force=force)
    unseen = Unseen(file.names())
    try:
        with file:
            _fill(file, vectors, unseen.of(records))
    except BaseException:
        if file.kept:
            say(f"{file.folder} keeps {file.kept} records: the same command with --resume goes on")
        raise
    if append or resume:
        say(f"{output}: {unseen.skipped} records were there already and are skipped")
    vectors.run.note(skipped=unseen.skipped)


def _file(output: Path, vectors: Vectors, **how: bool) -> "EmbeddingFile":
    from genomai_cli.formats.embeddings import EmbeddingFile

    embedder = vectors.embedder
    return EmbeddingFile(
        output, embedder.attributes, embedder.width, per_token=vectors.per_token, **how
    )


def _fill(file: "EmbeddingFile", vectors: Vectors, records: Records) -> None:
    for name, rows, last in vectors.of(records):
        file.add(name, rows, last)


TABLE_ENDINGS = (".tsv", ".txt", ".tab")


class Target(StrEnum):
    """What is written."""

    TSV = "tsv"
    HDF5 = "hdf5"


class Pooling(StrEnum):
    """How the vectors of tokens become one (the same as `backbones.classifier.POOLS`, which would need torch)."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    POOLER = "pooler"


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
    from genomai_cli.cli import inputs
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.embed import Embedder, Settings

    with Run(context) as run:
        hdf5 = (to or _target(output)) is Target.HDF5
        _check_output(output, hdf5=hdf5, kept=append or resume or force)
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
        settings = Settings(pool.value, layer, strand is Strand.BOTH, per_token, window, stride)
        embedder = Embedder(bundle, settings, inputs.installed_inputs())
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
