"""Faults that records have whichever model reads them, told once at the end of a run."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from genomai_cli.records import SequenceRecord
from genomai_cli.sources.observer import Observer


class FindsFaults(Protocol):
    """What an input kind says of records; see `inputs.base.InputKind`."""

    @property
    def row_length(self) -> int | None:
        """How many letters a row has; None for sequences of any length."""

    def faults(self, record: SequenceRecord) -> Iterator[str]:
        """What is wrong with how a record came about."""

    def advice(self, fault: str) -> str:
        """What to tell the user about a fault."""


class Faults:
    """Counts of the faults that an input kind finds in the records that pass, for one warning each at the end; `others`
    are input kinds of other models, whose records may be read too."""

    def __init__(
        self, observer: Observer, kind: FindsFaults, others: Mapping[str, FindsFaults] | None = None
    ) -> None:
        self.observer, self.kind, self.records = observer, kind, 0
        self.others = {} if others is None else others
        self.counts: dict[
            str, tuple[str, int]
        ] = {}  # by fault: the first record with it, and how many

    def add(self, record: SequenceRecord) -> None:
        """Count the faults of a record."""
        self.records += 1
        for fault in self._kind_of(record).faults(record):
            example, count = self.counts.get(fault, (record.name, 0))
            self.counts[fault] = example, count + 1

    def _kind_of(self, record: SequenceRecord) -> FindsFaults:
        length = len(record.sequence)
        if self.kind.row_length in (None, length):
            return self.kind
        return next((kind for kind in self.others.values() if kind.row_length == length), self.kind)

    def warn(self) -> None:
        """A warning for each fault, with the samples that have it and the input kind's advice."""
        for fault, (example, count) in self.counts.items():
            several = f"{count} of {self.records} samples, {example} first"
            samples = example if self.records == 1 else several
            self.observer.console.warn(f"{fault}: {samples}: {self.kind.advice(fault)}")
