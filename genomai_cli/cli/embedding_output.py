"""Where the vectors of `genomai embed` go: a table, HDF5 on a stream, or an HDF5 file that can be added to."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.held_output import held_output
from genomai_cli.cli.run import Run

if TYPE_CHECKING:
    from genomai_cli.formats.embedding_file import EmbeddingFile
    from genomai_cli.formats.embeddings import Rows
    from genomai_cli.inference.embed import Embedder
    from genomai_cli.inference.engine import Batching
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
    from genomai_cli.formats.embedding_file import Unseen

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
    from genomai_cli.formats.embedding_file import EmbeddingFile

    embedder = vectors.embedder
    return EmbeddingFile(
        output, embedder.attributes, embedder.width, per_token=vectors.per_token, **how
    )


def _fill(file: "EmbeddingFile", vectors: Vectors, records: Records) -> None:
    for name, rows, last in vectors.of(records):
        file.add(name, rows, last)
