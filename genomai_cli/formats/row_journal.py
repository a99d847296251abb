"""Rows of numbers that are safe on disk while a long run goes on, in a folder that is consistent after any kill.

    run.json      what the rows are: the run that resumes them must be the same
    rows.f32      the rows, float32 (little-endian), end to end
    records.tsv   a line a record: how many rows it has, and its name

A record is written after its rows, so what the records do not count (rows of a record that was not finished, half
a line) was lost, and is cut off when the run goes on.

Shape suffixes: n rows, E numbers of a row.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.outputs import atomic_text

Rows = NDArray[np.float32]
ENDING = ".partial"
RUN, ROWS, RECORDS = "run.json", "rows.f32", "records.tsv"
LITTLE_ENDIAN = np.dtype("<f4")
SECONDS_HELD = 5.0  # what a kill may cost, and how short a run may be that never touches the disk
BYTES_HELD = 1 << 22
ROWS_AT_ONCE_BYTES = 1 << 24


class RowJournal:
    """Records of rows (n, E), held in memory for a few seconds and then appended to the folder.

    The folder comes into being with the first rows that are written. Raises InputError if another process has it open.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], width: int) -> None:
        self.folder, self.run, self.width = folder, dict(run), width
        self.record_count = self.row_count = 0  # closed, whether written or held
        self.stored_count = 0  # records that a later run finds
        self._held_rows: list[Rows] = []
        self._held_records: list[bytes] = []
        self._bytes = self._open = 0
        self._written = time.monotonic()
        self._files: tuple[IO[bytes], IO[bytes]] | None = None

    @property
    def has_files(self) -> bool:
        """Whether something lies on disk."""
        return self._files is not None

    def add(self, name: str, rows: Rows, *, last: bool = True) -> None:
        """Rows of the record at hand, which ends with them if they are the `last`."""
        if len(rows):
            self._held_rows.append(rows)
            self._bytes += rows.nbytes
            self._open += len(rows)
        if last:
            self._held_records.append(_line(self._open, name))
            self.record_count += 1
            self.row_count += self._open
            self._open = 0
        if self._bytes >= BYTES_HELD or time.monotonic() - self._written >= SECONDS_HELD:
            self.flush()

    def flush(self) -> None:
        """Put what is held on disk: the rows first, then the records that count them; InputError where it is full."""
        rows, records = self._open_files()
        with self._write_errors():
            for row_block in self._held_rows:
                rows.write(np.ascontiguousarray(row_block, LITTLE_ENDIAN).data)
            _sync(rows)
            records.write(b"".join(self._held_records))
            _sync(records)
        self._held_rows, self._held_records, self._bytes = [], [], 0
        self.stored_count = self.record_count
        self._written = time.monotonic()

    def flush_after_error(self) -> None:
        """After an error, put on disk what can be; a full disk was perhaps the error."""
        if self.has_files:
            with suppress(InputError):
                self.flush()

    def resume(self) -> None:
        """Go on with what the folder holds, without what was not finished."""
        rows, records = self._open_files()
        size = rows.seek(0, os.SEEK_END) // (self.width * LITTLE_ENDIAN.itemsize)
        records.seek(0)
        end = 0
        for line in records:
            count = _count(line)
            if count is None or self.row_count + count > size:
                break
            self.record_count += 1
            self.row_count += count
            end += len(line)
        self.stored_count = self.record_count
        for file, length in (
            (rows, self.row_count * self.width * LITTLE_ENDIAN.itemsize),
            (records, end),
        ):
            file.truncate(length)
            file.seek(length)

    def records(self) -> Iterator[tuple[str, int]]:
        """The name of every record on disk, and how many rows it has."""
        if self.has_files:
            with (self.folder / RECORDS).open("rb") as file:
                for line in file:
                    count, _, name = line.rstrip(b"\n").partition(b"\t")
                    yield name.decode("utf-8", "surrogateescape"), int(count)

    def blocks(self) -> Iterator[Rows]:
        """The rows on disk, some megabytes at a time."""
        if not self.has_files:
            return
        rows_per_block = max(1, ROWS_AT_ONCE_BYTES // (self.width * LITTLE_ENDIAN.itemsize))
        with (self.folder / ROWS).open("rb") as file:
            while len(values := np.fromfile(file, LITTLE_ENDIAN, rows_per_block * self.width)):
                yield values.reshape(-1, self.width)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files or ():
            with self._write_errors():  # what could not be written before is tried again
                file.close()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        """An OSError of a write as an InputError that names the folder."""
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot be written ({error.strerror})", path=self.folder) from None

    def _open_files(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._files is None:
            self.folder.mkdir(exist_ok=True)
            self._files = (_appendable(self.folder / ROWS), _appendable(self.folder / RECORDS))
            try:
                fcntl.flock(self._files[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError("another run is writing there", path=self.folder) from None
            with atomic_text(self.folder / RUN) as file:
                json.dump(self.run, file, indent=2)
        return self._files


def read_run(folder: Path) -> dict[str, Any]:
    """The settings of the run that the folder's rows are of; InputError if it holds none."""
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        run = None
    if not isinstance(run, dict):
        raise InputError("no interrupted run that could be resumed: remove it", path=folder)
    return run


def partial_folder(target: Path) -> Path:
    """The folder of an unfinished run that writes this file; for a link that of the file it leads to."""
    file = Path(os.path.realpath(target))
    return file.with_name(file.name + ENDING)


def require_same(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """InputError unless the stored settings are the expected ones."""
    names = sorted(stored.keys() | expected.keys())
    different = [name for name in names if stored.get(name) != expected.get(name)]
    if different:
        shown = "; ".join(
            f"{name} is {stored.get(name)}, not {expected.get(name)}" for name in different
        )
        raise InputError(f"was made in another way: {shown}", path=path)


def _appendable(path: Path) -> IO[bytes]:
    try:
        path.touch()
        file = path.open("r+b")
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", path=path) from None
    file.seek(0, os.SEEK_END)
    return file


def _line(rows: int, name: str) -> bytes:
    return f"{rows}\t{name}\n".encode("utf-8", "surrogateescape")


def _count(line: bytes) -> int | None:
    """How many rows a line says that its record has; None if the line is not whole."""
    count, tab, _ = line.partition(b"\t")
    return int(count) if tab and line.endswith(b"\n") and count.isdigit() else None


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
