"""Inputs from Python, as those of commands: files, open files, and records in memory."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Protocol, Self, cast, runtime_checkable

from genomai_cli.errors import GenomaiWarning, InputError, UsageError
from genomai_cli.formats.call_quality import CallRules
from genomai_cli.formats.streams import Input, in_memory, open_inputs, open_stream
from genomai_cli.records import SequenceRecord

RECORDS_PATH = "<records>"  # in messages, with the record's number as its line
MAX_WARNINGS = 10  # warnings of one kind
Progress = Callable[[str], object]
"""Called with a line of text now and then: which model reads, what a file holds, how a training goes."""


@runtime_checkable
class NamedSequence(Protocol):
    """A record of another library, as Biopython's SeqRecord."""

    @property
    def id(self) -> str | None:
        """Its name."""

    @property
    def seq(self) -> object:
        """Its sequence; `str` of it is the text."""


File = str | os.PathLike[str]
Item = str | os.PathLike[str] | SequenceRecord | NamedSequence | tuple[str, str]
Records = File | IO[bytes] | IO[str] | SequenceRecord | NamedSequence | Iterable[Item]
"""A file's name, an open file, a record; or several: records, (name, sequence) pairs, plain sequences, or paths.

A `str` by itself is the name of a file, among several it is a sequence. A mapping goes from names to sequences.
"""


@dataclass(frozen=True)
class VcfReading:
    """Which calls of a VCF count: those of at least this genotype quality and depth; with `absent_is_ref` the file
    lists variants only, and a site that it lacks is homozygous reference."""

    absent_is_ref: bool = False
    min_gq: int | None = None
    min_dp: int | None = None

    @property
    def rules(self) -> CallRules:
        """The rules of calls for readers of VCFs."""
        return CallRules(self.min_gq, self.min_dp)


AS_WRITTEN = VcfReading()


@dataclass(frozen=True)
class Compute:
    """The device of a model: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; with so many CPU threads (None: all)."""

    device: str = "auto"
    threads: int | None = None


class Listener:
    """Observes a run: its warnings become Python's, its other messages go to the caller's `progress`."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress

    @property
    def console(self) -> Self:
        """Itself."""
        return self

    def say(self, message: str) -> None:
        """Pass the message to `progress`, if there is one."""
        if self._progress is not None:
            self._progress(message)

    def warn(self, message: str) -> None:
        """As a `GenomaiWarning`."""
        warnings.warn(message, GenomaiWarning, stacklevel=2)

    def repeated_warning(self, summary: str) -> Callable[[str], object]:
        """Warns of the first few records only; the last of them says so."""
        del summary
        count = 0

        def warn(message: str) -> None:
            nonlocal count
            count += 1
            if count < MAX_WARNINGS:
                self.warn(message)
            elif count == MAX_WARNINGS:
                self.warn(f"{message}; further such warnings are not told")

        return warn

    def count(self, *, read: int = 0, used: int = 0, refused: int = 0) -> None:
        """Results say it."""

    def note(self, **facts: object) -> None:
        """Results say it."""

    def used_model(self, name: str, version: str, sha256: str) -> None:
        """Results say it."""

    def used_device(self, device: object) -> None:
        """The caller chose it."""


def inputs_of(records: Records) -> Iterator[Input]:
    """The inputs, each opened when its turn comes.

    Raises InputError for a file that is not there, UsageError for what is no record.
    """
    if isinstance(records, str | os.PathLike):
        return open_inputs([_file(os.fspath(records))])
    if hasattr(records, "read"):
        name = getattr(records, "name", None)
        return iter(
            [open_stream(cast(IO[bytes], records), name if isinstance(name, str) else "<stream>")]
        )
    if isinstance(records, SequenceRecord | NamedSequence):
        return iter([in_memory([_record(1, records)], RECORDS_PATH)])
    if isinstance(records, Mapping):
        return iter([in_memory(_records(records.items()), RECORDS_PATH)])
    if hasattr(records, "columns") or not isinstance(records, Iterable):
        message = f"{type(records).__name__}: neither a file nor records"
        raise UsageError(f"{message}; of a data frame, give the column of sequences")
    return _several_inputs(records)


def _file(name: str) -> str:
    """The name of a file; UsageError for what is no file but reads like DNA."""
    if name and set(name.upper()) <= set("ACGTUN") and not os.path.exists(name):
        raise UsageError(f"{name:.40}: no such file; a sequence is given in a list")
    return name


def _several_inputs(items: Iterable[Item]) -> Iterator[Input]:
    iterator = iter(items)
    first = next(iterator, None)
    if isinstance(first, os.PathLike):
        return open_inputs([Path(first), *map(_path, iterator)])
    if isinstance(first, str) and os.path.isfile(first):
        raise UsageError(f"{first:.80} is a file: among several, files are given as pathlib.Path")
    records = () if first is None else chain([first], iterator)
    return iter([in_memory(_records(records), RECORDS_PATH)])


def _path(item: Item) -> Path:
    if isinstance(item, os.PathLike):
        return Path(item)
    raise UsageError(f"among paths, {item!r:.80} is none")


def _records(items: Iterable[Item]) -> Iterator[SequenceRecord]:
    return (_record(number, item) for number, item in enumerate(items, start=1))


def _record(number: int, item: Item) -> SequenceRecord:
    if isinstance(item, SequenceRecord):
        return item
    if isinstance(item, str):
        return SequenceRecord(str(number), str(item))
    if isinstance(item, NamedSequence):
        return SequenceRecord(str(item.id), str(item.seq))
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(t, str) for t in item):
        return SequenceRecord(str(item[0]), str(item[1]))
    message = f"{item!r:.80} is no record: give a sequence, (name, sequence), or a SequenceRecord"
    raise InputError(message, path=RECORDS_PATH, line=number)
