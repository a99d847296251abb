"""`genomai embed`: sequences and samples as vectors, in a table, in HDF5 on a stream, or in an HDF5 file to add to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    ComputeWithoutSeed,
    Inputs,
    Model,
    Output,
    ShardOption,
    Strand,
    StrandOption,
    VariantOptions,
)
from genomai_cli.cli.resuming import ResumeOptions, is_stream
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.embeddings import EmbeddingFile, Hdf5Reader, Rows
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.embed import Embedder, Settings
    from genomai_cli.records import SequenceRecord

Records = Iterable["SequenceRecord"]

TABLE_ENDINGS = (".tsv", ".txt", ".tab")


class Target(StrEnum):
    """The format of the output."""

    TSV = "tsv"
    HDF5 = "hdf5"
    H5AD = "h5ad"
    PARQUET = "parquet"


class Pooling(StrEnum):
    """How the vectors of tokens become one (the same as `backbones.classifier.POOLS`, which would need torch)."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    POOLER = "pooler"


To = Annotated[
    Target | None,
    typer.Option(
        "--to",
        help="A table, HDF5, AnnData for scanpy, or Parquet.  [default: by the name: tsv for standard output, .tsv, "
        ".txt and .tab, also with .gz, h5ad for .h5ad, parquet for .parquet; else hdf5]",
        show_default=False,
    ),
]
Pool = Annotated[
    Pooling,
    typer.Option(
        "--pool",
        help="The mean or the maximum of the tokens' vectors, the first token's ([CLS] where the model has it), or "
        "what the model's own pooler makes of that.",
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
PerToken = Annotated[
    bool,
    typer.Option("--per-token", help="A vector a token instead of one a sequence."),
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


@dataclass(eq=False, repr=False)
class VectorOptions:
    """Which vectors."""

    pool: Pool = Pooling.MEAN
    layer: Layer = -1
    strand: StrandOption = Strand.FORWARD
    per_token: PerToken = False
    window: WindowLetters = None
    stride: StrideLetters = None

    def settings(self) -> "Settings":
        """These options as the embedder reads them."""
        from genomai_cli.inference.embed import Settings

        both_strands = self.strand is Strand.BOTH
        pool = self.pool.value
        return Settings(pool, self.layer, both_strands, self.per_token, self.window, self.stride)


@dataclass(eq=False, repr=False)
class FileOptions(ResumeOptions):
    """Whether vectors are added to those of a file, or to those of an interrupted run."""

    append: Append = False


@command
def embed(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    to: To = None,
    *,
    vectors: VectorOptions,
    file: FileOptions,
    variants: VariantOptions,
    shard: ShardOption = None,
    batch_size: BatchSize = None,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Turn sequences and samples into vectors.

    HDF5 holds embeddings, float32 (n, d), and ids, in input order, and how they were made as attributes; with
    --per-token tokens (tokens, d) and offsets (n + 1). A table has the columns id, e1, e2, ... Long sequences are read
    in overlapping windows, of whose means the vector is the mean weighted by their tokens. The vector of a
    record in which the model can read nothing is nan. Without --model, DNA that no installed model knows is embedded by
    the frequencies of its k-mers (the model kmers).

    \b
    genomai embed -o people.h5 cohort.vcf.gz
    genomai embed -o people.h5ad cohort.vcf.gz
    genomai embed --model my-model --strand both genes.fa > vectors.tsv
    genomai embed --model my-model --append -o genes.h5 more-genes.fa
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.h5ad import write_h5ad
    from genomai_cli.formats.parquet import require_parquet
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.embed import Embedder
    from genomai_cli.sources.installed import DEFAULT_DNA_MODEL
    from genomai_cli.sources.model_choice import InstalledInputs, open_model

    target = to or _target(output)
    if target is Target.PARQUET:
        require_parquet()
    hdf5 = target is Target.HDF5
    if target is Target.H5AD and vectors.per_token:
        raise UsageError("AnnData has a row a sequence: leave --per-token out, or write HDF5")
    if any(vars(file).values()) and (not hdf5 or _is_stream(output)):
        raise UsageError("--append, --resume and --force are for an HDF5 file: name one with -o")
    part = Shard.parsed(shard)
    _, sources = open_run_inputs(run)
    _, bundle, records = open_model(
        run, sources, model, compute, variants=variants, part=part, dna_model=DEFAULT_DNA_MODEL
    )
    embedder = Embedder(bundle, vectors.settings(), InstalledInputs())
    run.note(embedding=embedder.attributes)
    record_vectors = RecordVectors(run, embedder, Batching(windows=batch_size), part)
    records = run.console.progress(records, "embedding")
    if target is Target.TSV:
        write_table(output, record_vectors, records)
    elif target is Target.PARQUET:
        write_parquet(output, record_vectors, records)
    elif target is Target.H5AD:
        write_stream(output, record_vectors, records, write_h5ad)
    elif _is_stream(output):
        write_stream(output, record_vectors, records)
    else:
        write_file(output, record_vectors, records, file)


def _target(output: Path) -> Target:
    """The format of a file of this name."""
    name = output.name.removesuffix(".gz")
    is_table = output == STANDARD_OUTPUT or name.endswith(TABLE_ENDINGS)
    is_device = output.exists() and not output.is_file()
    if output.suffix == ".h5ad":
        return Target.H5AD
    if output.suffix == ".parquet":
        return Target.PARQUET
    return Target.TSV if is_table or is_device else Target.HDF5


def _is_stream(output: Path) -> bool:
    """Whether the output is written from beginning to end, as compressed files are too."""
    return is_stream(output) or output.suffix == ".gz"


class RecordVectors:
    """The vectors of a run's records, counted as they pass."""

    def __init__(self, run: Run, embedder: "Embedder", batching: "Batching", part: "Shard") -> None:
        self.run, self.embedder, self.batching, self.part = run, embedder, batching, part
        self.per_token = embedder.settings.per_token

    def of(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        """Names, each with some rows of the record's and whether they are its last."""
        counts = self.run.report.records
        refused_before = counts.refused
        yield from self._tokens(records) if self.per_token else self._pooled(records)
        empty = counts.refused - refused_before
        if empty:
            description = "no vectors" if self.per_token else "vectors of nan"
            self.run.console.warn(
                f"{empty} records hold nothing that the model can read and have {description}"
            )

    def _pooled(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        for embedded in self.embedder.embed(records, self.batching):
            self.run.count(used=embedded.windows > 0, refused=embedded.windows == 0)
            yield embedded.name, embedded.vector[None], True

    def _tokens(self, records: Records) -> "Iterator[tuple[str, Rows, bool]]":
        rows = 0
        for chunk in self.embedder.embed_tokens(records, self.batching):
            rows += len(chunk.vectors)
            if chunk.last:
                self.run.count(used=rows > 0, refused=rows == 0)
                rows = 0
            yield chunk.name, chunk.vectors, chunk.last


def write_table(output: Path, vectors: RecordVectors, records: Records) -> None:
    """Write the vectors of the records as TSV."""
    from genomai_cli.formats.embeddings import write_tsv
    from genomai_cli.formats.outputs import buffered_output

    with buffered_output(output) as out:
        write_tsv(
            out,
            vectors.of(records),
            vectors.embedder.width,
            per_token=vectors.per_token,
            part=vectors.part,
        )


def write_parquet(output: Path, vectors: RecordVectors, records: Records) -> None:
    """Write them as Parquet."""
    from genomai_cli.formats.outputs import buffered_output
    from genomai_cli.formats.parquet import write_vectors

    embedder = vectors.embedder
    with buffered_output(output) as out:
        write_vectors(
            out,
            vectors.of(records),
            embedder.width,
            embedder.attributes,
            per_token=vectors.per_token,
        )


def write_stream(
    output: Path,
    vectors: RecordVectors,
    records: Records,
    convert: "Callable[[Hdf5Reader, Path], None] | None" = None,
) -> None:
    """Write them as HDF5 by way of a temporary file, because HDF5 seeks and a stream cannot; or in the format to which
    `convert` turns that file."""
    import shutil
    import tempfile

    from genomai_cli.formats.embeddings import Hdf5Reader
    from genomai_cli.formats.outputs import buffered_output

    with buffered_output(output) as out, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.h5"
        with _file(path, vectors) as file:
            _fill(file, vectors, records)
        if convert is not None:
            reader = Hdf5Reader(path)
            path = Path(folder) / "turned.h5"
            convert(reader, path)
            reader.close()
        with path.open("rb") as handle:
            shutil.copyfileobj(handle, out, 1 << 20)


def write_file(
    output: Path, vectors: RecordVectors, records: Records, options: FileOptions
) -> None:
    """Write them as an HDF5 file, add them to one, or go on with the interrupted run that was to write it."""
    from genomai_cli.formats.embeddings import NewRecords

    say = vectors.run.console.say
    file = _file(output, vectors, **asdict(options))
    new_records = NewRecords(file.names())
    try:
        with file:
            _fill(file, vectors, new_records.filter(records))
    except BaseException:
        if file.stored_count:
            say(
                f"{file.folder} keeps {file.stored_count} records: the same command with --resume goes on"
            )
        raise
    if options.append or options.resume:
        say(f"{output}: {new_records.skipped} records were there already and are skipped")
    vectors.run.note(skipped=new_records.skipped)


def _file(output: Path, vectors: RecordVectors, **restart: bool) -> "EmbeddingFile":
    from genomai_cli.formats.embeddings import EmbeddingFile

    embedder = vectors.embedder
    return EmbeddingFile(
        output,
        embedder.attributes,
        embedder.width,
        per_token=vectors.per_token,
        shard=str(vectors.part),
        **restart,
    )


def _fill(file: "EmbeddingFile", vectors: RecordVectors, records: Records) -> None:
    for name, rows, last in vectors.of(records):
        file.add(name, rows, last)
