"""Embeddings as HDF5 and as TSV; an HDF5 file that is made, added to, or resumed is complete or not there at all.

HDF5, one vector a record: `/embeddings` float32 (n, E) and `/ids` UTF-8 (n). One vector a token: `/tokens` float32
(tokens, E), of which those of record i are `tokens[offsets[i]:offsets[i + 1]]`, `/offsets` int64 (n + 1), and `/ids`.
The root's attributes say which model made them, and how.

What is computed goes to the folder `FILE.partial` (`formats.row_journal`) every few seconds. When all is there, the
HDF5 file is made from it, after the rows of the existing file where they are added to it, and takes its name; until
then the existing file is left alone. So a run that is killed at any moment leaves the file as it was, and a folder
to go on from.

Shape suffixes: n records or rows, E numbers of a vector.
"""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.outputs import text_over
from genomai_cli.formats.row_journal import RowJournal, partial_folder, read_run, require_same
from genomai_cli.formats.shards import WHOLE, Shard
from genomai_cli.formats.spooled_hdf5 import describe, new_hdf5
from genomai_cli.formats.tables import TableWriter
from genomai_cli.names import printable
from genomai_cli.records import SequenceRecord

FORMAT, FORMAT_VERSION = "genomai embeddings", 1
EMBEDDINGS, TOKENS, OFFSETS, IDS = "embeddings", "tokens", "offsets", "ids"
CHUNK_BYTES = 1 << 20
NAMES_AT_ONCE = 1 << 12
Rows = NDArray[np.float32]
Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Size:
    """How many records, rows and numbers in a row a file has; without `per_token` each record has one row."""

    records: int
    rows: int
    width: int
    per_token: bool


class Hdf5Writer:
    """A new HDF5 file of embeddings, of a size that is known before; rows and records are added to it in order."""

    def __init__(self, file: h5py.File, attributes: Attributes, size: Size) -> None:
        self._file = file
        describe(self._file, FORMAT, FORMAT_VERSION, attributes)
        self._rows = self._dataset(
            TOKENS if size.per_token else EMBEDDINGS, np.float32, size.rows, size.width
        )
        self._ids = self._dataset(IDS, h5py.string_dtype(), size.records)
        self._offsets = None
        if size.per_token:
            self._offsets = self._dataset(OFFSETS, np.int64, size.records + 1)
        self._filled = {"rows": 0, "records": 0, "counted": 0}

    def _dataset(self, name: str, dtype: Any, length: int, *row_shape: int) -> h5py.Dataset:
        """A dataset of this length that can grow."""
        chunk = min(max(1, length), max(1, CHUNK_BYTES // (8 * max((1, *row_shape)))))
        return self._file.create_dataset(
            name,
            (length, *row_shape),
            dtype,
            maxshape=(None, *row_shape),
            chunks=(chunk, *row_shape),
        )

    def add_rows(self, blocks: Iterable[Rows]) -> None:
        """The next rows (n, E)."""
        for rows in blocks:
            start = self._filled["rows"]
            self._rows[start : start + len(rows)] = rows
            self._filled["rows"] += len(rows)

    def add_records(self, records: Iterable[tuple[str, int]]) -> None:
        """The next records: each one's name, and how many rows it has."""
        batch: list[tuple[str, int]] = []
        for record in records:
            batch.append(record)
            if len(batch) == NAMES_AT_ONCE:
                self._add(batch)
                batch = []
        if batch:
            self._add(batch)

    def _add(self, records: list[tuple[str, int]]) -> None:
        start = self._filled["records"]
        end = start + len(records)
        self._ids[start:end] = np.array([printable(name) for name, _ in records], object)
        if self._offsets is not None:
            offsets = self._filled["counted"] + np.cumsum([count for _, count in records])
            self._offsets[start + 1 : end + 1] = offsets
            self._filled["counted"] = int(offsets[-1])
        self._filled["records"] = end


class Hdf5Reader:
    """An HDF5 file of embeddings; InputError if it is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError("cannot be read as HDF5", path=path) from error
        if self._file.attrs.get("format") != FORMAT or IDS not in self._file:
            self._file.close()
            raise InputError("HDF5, but not of embeddings that genomai wrote", path=path)
        self._rows = self._file[TOKENS if TOKENS in self._file else EMBEDDINGS]
        rows, width = self._rows.shape
        self.size = Size(len(self._file[IDS]), rows, width, TOKENS in self._file)

    @property
    def attributes(self) -> dict[str, str | int]:
        """What the embeddings depend on."""
        format_attributes = ("format", "format_version", "program")
        attributes = {
            name: value for name, value in self._file.attrs.items() if name not in format_attributes
        }
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in attributes.items()}

    def records(self) -> Iterator[tuple[str, int]]:
        """Every record's name, and how many rows it has."""
        ids = self._file[IDS].asstr()
        for start in range(0, self.size.records, NAMES_AT_ONCE):
            names = ids[start : start + NAMES_AT_ONCE]
            counts = [1] * len(names)
            if self.size.per_token:
                counts = np.diff(self._file[OFFSETS][start : start + len(names) + 1]).tolist()
            yield from zip(names, counts, strict=True)

    def blocks(self) -> Iterator[Rows]:
        """The rows, some megabytes at a time."""
        rows_per_block = max(1, 16 * CHUNK_BYTES // (4 * self.size.width))
        for start in range(0, self.size.rows, rows_per_block):
            yield self._rows[start : start + rows_per_block]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def write_tsv(
    out: IO[bytes],
    vectors: Iterable[tuple[str, Rows, bool]],
    width: int,
    *,
    per_token: bool = False,
    part: Shard = WHOLE,
) -> None:
    """A header, and a line a vector: id, with `per_token` the number of the token, from 0, and e1 to eE.

    `vectors` are names with some of the record's rows (n, E), and whether they are its last. Numbers are written with
    seven significant digits, which float32 has. Of parts the first has the header, even if its records have no vectors.
    """
    text = text_over(out)
    numbers = [f"e{number}" for number in range(1, width + 1)]
    columns = ["id", *(["token"] if per_token else []), *numbers]
    table = TableWriter(text, columns, header=part.is_first)
    token = 0
    for name, rows, last in vectors:
        for row in rows.tolist():
            table.write([name, *([token] if per_token else []), *(f"{x:.7g}" for x in row)])
            token += 1
        token = 0 if last else token
    if not part.is_whole:
        table.begin()
    text.detach()


NEW_FILE = "whole.h5"


class EmbeddingFile:
    """The file `target`, to which records are added; as a context manager it is finished if nothing goes wrong.

    `shard` says of which part of the records a run is, which the one that resumes it must be of, too.
    With `append` it keeps the rows that it has, with `resume` it goes on where an interrupted run ended, with `force`
    what is left of such a run is thrown away. Raises UsageError where an interrupted run is in the way, InputError
    where the existing rows were made with other attributes.
    """

    def __init__(
        self,
        target: Path,
        attributes: Attributes,
        width: int,
        *,
        per_token: bool = False,
        append: bool = False,
        resume: bool = False,
        force: bool = False,
        shard: str = "1/1",
    ) -> None:
        self.target = Path(os.path.realpath(target))  # a link stays a link
        self.folder = partial_folder(target)
        self.attributes = dict(attributes)
        _check_writable(self.target, target)
        if force and resume:
            raise UsageError("--force and --resume contradict each other")
        interrupted = self._interrupted(append=append, resume=resume, force=force)
        if interrupted is not None and resume:
            append = bool(interrupted.get("append"))
        size = Size(0, 0, width, per_token)
        self._base = self._existing(size) if append and self.target.exists() else None
        self._size = size if self._base is None else self._base.size
        run = {**self.attributes, "width": width, "per_token": per_token, "append": append}
        run |= {"shard": shard}
        self._journal = RowJournal(self.folder, run, width)
        if interrupted is not None:
            interrupted = {"shard": "1/1", **interrupted, "append": append}
            require_same(self.folder, interrupted, run)
            self._journal.resume()

    @property
    def record_count(self) -> int:
        """How many records the file and the folder have."""
        return self._size.records + self._journal.record_count

    @property
    def stored_count(self) -> int:
        """How many records lie in `folder`, where a later run finds them."""
        return self._journal.stored_count

    def names(self) -> Iterator[str]:
        """The names of the records that were there when the file was opened."""
        if self._base is not None:
            yield from (name for name, _ in self._base.records())
        yield from (name for name, _ in self._journal.records())

    def add(self, name: str, rows: Rows, last: bool = True) -> None:
        """Rows (n, E) of a record; the `last` of them end it."""
        self._journal.add(name, rows, last=last)

    def finish(self) -> None:
        """Make the file, give it its name and clear the folder away."""
        self._journal.flush()
        existing, journal = self._size, self._journal
        size = replace(
            existing,
            records=existing.records + journal.record_count,
            rows=existing.rows + journal.row_count,
        )
        new_file = self.folder / NEW_FILE
        sources: list[Hdf5Reader | RowJournal] = [journal]
        if self._base is not None:
            sources.insert(0, self._base)
        with new_hdf5(new_file) as file:
            writer = Hdf5Writer(file, self.attributes, size)
            writer.add_rows(chain.from_iterable(source.blocks() for source in sources))
            writer.add_records(chain.from_iterable(source.records() for source in sources))
        if self.target.exists():
            new_file.chmod(stat.S_IMODE(self.target.stat().st_mode))
        os.replace(new_file, self.target)
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
            else:
                self._journal.flush_after_error()
        finally:
            self._journal.close()
            if self._base is not None:
                self._base.close()

    def _interrupted(self, *, append: bool, resume: bool, force: bool) -> dict[str, Any] | None:
        """The description of the interrupted run in the folder, None if there is none to go on with."""
        if self.folder.exists() and force:
            shutil.rmtree(self.folder)
        if not self.folder.exists():
            return None
        run = read_run(self.folder)
        if not append and not resume:
            raise UsageError(
                f"{self.folder} holds an interrupted run: --resume goes on, --force starts over"
            )
        if append and not resume and not run.get("append") and self.target.exists():
            raise UsageError(
                f"{self.folder} holds an interrupted run that was to replace {self.target.name}: "
                "--resume goes on, --force throws it away"
            )
        return run

    def _existing(self, size: Size) -> Hdf5Reader:
        reader = Hdf5Reader(self.target)
        stored = {
            **reader.attributes,
            "width": reader.size.width,
            "per_token": reader.size.per_token,
        }
        expected = {**self.attributes, "width": size.width, "per_token": size.per_token}
        try:
            require_same(self.target, stored, expected)
        except InputError:
            reader.close()
            raise
        return reader


class NewRecords:
    """Passes on the records that a file does not have yet, by name; a name that it has twice is passed over twice."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known_names = Counter(map(printable, names))
        self.skipped = 0

    def filter(self, records: Iterable[SequenceRecord]) -> Iterator[SequenceRecord]:
        """The new records; `skipped` counts the others."""
        for record in records:
            name = printable(record.name)
            if self._known_names[name] > 0:
                self._known_names[name] -= 1
                self.skipped += 1
            else:
                yield record


def _check_writable(target: Path, display_name: Path) -> None:
    """InputError for a target that could not be written in the end."""
    if not target.parent.is_dir():
        raise InputError("cannot be written: its folder does not exist", path=display_name)
    if not os.access(target.parent, os.W_OK):
        raise InputError("cannot be written (Permission denied)", path=display_name)
