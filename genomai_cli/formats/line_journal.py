"""The lines that records become, safe on disk while a long run goes on: a run that was killed goes on after them.

They lie beside the output, in the folder `FILE.partial` (`formats.row_journal`): a record's name is, in JSON, its key
in the input, and its lines; its rows are values of its letters, if there are any, each the two
halves of a float64. The output itself is written by the run that comes to the end, from these and its own.

Shape suffix: n letters.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.row_journal import RowJournal, partial_folder, read_run, require_same

Record = TypeVar("Record")
Values = NDArray[np.float64]
HALVES = 2  # of a float64
NO_ROWS = np.empty((0, HALVES), np.float32)


class LineJournal:
    """What the runs that were to write `target` have done, with `resume` those before this one as well.

    With `force` what an interrupted run left is thrown away. As a context manager it is cleared away if nothing goes
    wrong. Raises UsageError where an interrupted run is in the way, InputError where that was another `run`.
    """

    def __init__(
        self, target: Path, run: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        self.folder = partial_folder(target)
        if force and resume:
            raise UsageError("--force and --resume contradict each other")
        if self.folder.exists() and force:
            shutil.rmtree(self.folder)
        self._journal = RowJournal(self.folder, run, HALVES)
        if self.folder.exists():
            if not resume:
                raise UsageError(
                    f"{self.folder} holds an interrupted run: --resume goes on, --force starts over"
                )
            require_same(self.folder, read_run(self.folder), dict(run))
            self._journal.resume()
        self.finished_count = self._journal.record_count

    @property
    def stored_count(self) -> int:
        """How many records lie in `folder`, where a later run finds them."""
        return self._journal.stored_count

    def unfinished(
        self, records: Iterable[Record], key_of: Callable[[Record], str]
    ) -> Iterator[Record]:
        """The records after the finished ones; InputError where the input does not begin with these."""
        remaining = iter(records)
        for name, _ in islice(self._journal.records(), self.finished_count):
            expected = json.loads(name)[0]
            record = next(remaining, None)
            if record is None or key_of(record) != expected:
                raise InputError(f"the input has no {expected} where it had one", path=self.folder)
        yield from remaining

    def lines(self) -> Iterator[bytes]:
        """The lines of each finished record."""
        for name, _ in islice(self._journal.records(), self.finished_count):
            yield json.loads(name)[1].encode("utf-8", "surrogateescape")

    def values(self) -> Iterator[tuple[str, Values, bool]]:
        """The key of each finished record, with some of its values (n,), and whether they are its last."""
        blocks = self._journal.blocks()
        rows = NO_ROWS
        for name, count in islice(self._journal.records(), self.finished_count):
            key = json.loads(name)[0]
            while count > len(rows):
                yield key, _from_halves(rows), False
                count -= len(rows)
                rows = next(blocks)
            yield key, _from_halves(rows[:count]), True
            rows = rows[count:]

    def add_values(self, values: Values) -> None:
        """Values (n,) of the record at hand."""
        rows = np.ascontiguousarray(values, "<f8").view("<f4").reshape(-1, HALVES)
        self._journal.add("", rows, last=False)

    def add(self, key: str, lines: bytes) -> None:
        """The lines of the record at hand, which ends with them."""
        text = lines.decode("utf-8", "surrogateescape")
        self._journal.add(json.dumps([key, text]), NO_ROWS)

    def write(
        self, out: IO[bytes], header: bytes, lines_by_key: Iterable[tuple[str, bytes]]
    ) -> None:
        """Write the header, which waits for the first lines, the finished lines, and new lines by their records' keys,
        which are added here."""
        for lines in self.lines():
            out.write(header + lines)
            header = b""
        for key, lines in lines_by_key:
            self.add(key, lines)
            out.write(header + lines)
            header = b""
        out.write(header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._journal.flush_after_error()
        self._journal.close()
        if error is None and self.folder.exists():
            shutil.rmtree(self.folder)


class NoJournal(LineJournal):
    """For an output that cannot be resumed: nothing is finished, and nothing is stored."""

    def __init__(self) -> None:
        self.finished_count = 0

    @property
    def stored_count(self) -> int:
        """None."""
        return 0

    def unfinished(
        self, records: Iterable[Record], key_of: Callable[[Record], str]
    ) -> Iterator[Record]:
        """All of them."""
        del key_of
        yield from records

    def lines(self) -> Iterator[bytes]:
        """None."""
        return iter(())

    def values(self) -> Iterator[tuple[str, Values, bool]]:
        """None."""
        return iter(())

    def add_values(self, values: Values) -> None:
        """Nothing happens."""

    def add(self, key: str, lines: bytes) -> None:
        """Nothing happens."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def _from_halves(rows: NDArray[np.float32]) -> Values:
    """The float64 of their halves."""
    found: Values = np.ascontiguousarray(rows, "<f4").view("<f8")[:, 0].astype(np.float64)
    return found
