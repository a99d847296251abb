"""An HDF5 file of embeddings in the making: new, added to, or resumed, and whole or not there at all.

What is computed goes to the folder `FILE.partial` (`formats.row_journal`) every few seconds. When all is there, the
HDF5 file is made from it, after the rows of the existing file where they are added to it, and takes its name; until
then the existing file is left alone. So a run that is killed at any moment leaves the file as it was, and a folder
to go on from.
"""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.embeddings import (
    Attributes,
    Hdf5Reader,
    Hdf5Writer,
    Rows,
    Size,
    stored_name,
)
from genomai_cli.formats.row_journal import RowJournal, read_run
from genomai_cli.records import SequenceRecord

ENDING = ".partial"
WHOLE = "whole.h5"


class EmbeddingFile:
    """The file `target`, to which records are added; as a context manager it is finished if nothing goes wrong.

    With `append` it keeps the rows that it has, with `resume` it goes on where an interrupted run ended, with `force`
    what is left of such a run is thrown away. Raises UsageError where an interrupted run is in the way, InputError
    where what is there was made with other attributes.
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
    ) -> None:
        self.target = Path(os.path.realpath(target))  # a link stays a link
        self.folder = self.target.with_name(self.target.name + ENDING)
        self.attributes = dict(attributes)
        _check_place(self.target, target)
        if force and resume:
            raise UsageError("--force and --resume contradict each other")
        before = self._interrupted(append=append, resume=resume, force=force)
        if before is not None and resume:
            append = bool(before.get("append"))
        size = Size(0, 0, width, per_token)
        self._base = self._existing(size) if append and self.target.exists() else None
        self._size = size if self._base is None else self._base.size
        run = {**self.attributes, "width": width, "per_token": per_token, "append": append}
        self._journal = RowJournal(self.folder, run, width)
        if before is not None:
            _require_same(self.folder, {**before, "append": append}, run)
            self._journal.resume()

    @property
    def there(self) -> int:
        """How many records there are already."""
        return self._size.records + self._journal.record_count

    @property
    def kept(self) -> int:
        """How many records lie in `folder`, where a later run finds them."""
        return self._journal.record_count if self._journal.begun else 0

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
        old, new = self._size, self._journal
        size = replace(old, records=old.records + new.record_count, rows=old.rows + new.row_count)
        whole = self.folder / WHOLE
        writer = Hdf5Writer(whole, self.attributes, size)
        sources: list[Hdf5Reader | RowJournal] = [new]
        if self._base is not None:
            sources.insert(0, self._base)
        writer.add_rows(chain.from_iterable(source.blocks() for source in sources))
        writer.add_records(chain.from_iterable(source.records() for source in sources))
        writer.close()
        if self.target.exists():
            whole.chmod(stat.S_IMODE(self.target.stat().st_mode))
        os.replace(whole, self.target)
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
            elif self._journal.begun:
                with suppress(OSError):  # a full disk was perhaps the error
                    self._journal.flush()
        finally:
            self._journal.close()
            if self._base is not None:
                self._base.close()

    def _interrupted(self, *, append: bool, resume: bool, force: bool) -> dict[str, Any] | None:
        """What the interrupted run was whose rows are there, None if there is none to go on with."""
        if self.folder.exists() and force:
            shutil.rmtree(self.folder)
        if not self.folder.exists():
            return None
        before = read_run(self.folder)
        if not append and not resume:
            raise UsageError(
                f"{self.folder} holds an interrupted run: --resume goes on, --force starts over"
            )
        if append and not resume and not before.get("append") and self.target.exists():
            raise UsageError(
                f"{self.folder} holds an interrupted run that was to replace {self.target.name}: "
                "--resume goes on, --force throws it away"
            )
        return before

    def _existing(self, size: Size) -> Hdf5Reader:
        found = Hdf5Reader(self.target)
        there = {**found.attributes, "width": found.size.width, "per_token": found.size.per_token}
        here = {**self.attributes, "width": size.width, "per_token": size.per_token}
        try:
            _require_same(self.target, there, here)
        except InputError:
            found.close()
            raise
        return found


class Unseen:
    """Passes on the records that are not there yet, by name; a name that is there twice is passed over twice."""

    def __init__(self, names: Iterable[str]) -> None:
        self._there = Counter(map(stored_name, names))
        self.skipped = 0

    def of(self, records: Iterable[SequenceRecord]) -> Iterator[SequenceRecord]:
        """The records that are not there; `skipped` counts the others."""
        for record in records:
            name = stored_name(record.name)
            if self._there[name] > 0:
                self._there[name] -= 1
                self.skipped += 1
            else:
                yield record


def _check_place(target: Path, shown: Path) -> None:
    """Refuse now what could not be written when all is done."""
    if not target.parent.is_dir():
        raise InputError("cannot be written: its folder does not exist", path=shown)
    if not os.access(target.parent, os.W_OK):
        raise InputError("cannot be written (Permission denied)", path=shown)


def _require_same(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    names = sorted(there.keys() | here.keys())
    others = [name for name in names if there.get(name) != here.get(name)]
    if others:
        shown = "; ".join(f"{name} is {there.get(name)}, not {here.get(name)}" for name in others)
        raise InputError(f"was made in another way: {shown}", path=path)
