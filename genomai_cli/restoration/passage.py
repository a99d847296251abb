"""FASTA entries on their way: read as what some model knows, restored in batches, and passed on in their order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from genomai_cli.formats.fasta_entries import Entry
from genomai_cli.restoration.decisions import Proposal

LETTERS_AT_ONCE = 1 << 23
ENTRIES_AT_ONCE = 1024
FIRST, SECOND = "_A", "_B"  # end the names of a person's haplotypes


class Restorer(Protocol):
    """A model's way to read entries and to restore them; `batch` is how many readings it takes at once."""

    name: str
    batch: int

    def read(self, entries: Sequence[Entry]) -> Any | None:
        """What one entry, or two that belong together, are to the model; None if it does not know them."""

    def restore(self, readings: Sequence[Any]) -> list[list[Proposal] | None]:
        """For every reading a proposal an entry; None for one in which nothing is known."""


@dataclass(frozen=True, eq=False)
class Passed:
    """An entry, and what is to be changed in it; without a `model` none knows it, without a proposal nothing in it is
    known."""

    entry: Entry
    model: str | None = None
    proposal: Proposal | None = None

    @property
    def restored(self) -> Entry:
        """The entry as it leaves."""
        if self.proposal is None:
            return self.entry
        return self.entry.changed(self.proposal.numbers, self.proposal.letters)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Entries that are read together, by whom, and what they are to it."""

    entries: list[Entry]
    restorer: Restorer | None = None
    reading: Any = None


def passed(entries: Iterable[Entry], restorers: Sequence[Restorer]) -> Iterator[Passed]:
    """Every entry in its order; the first restorer that knows it restores it."""
    batch: list[_Unit] = []
    letters = 0
    for unit in _units(entries, restorers):
        batch.append(unit)
        letters += sum(len(entry.body) for entry in unit.entries)
        if letters >= LETTERS_AT_ONCE or len(batch) >= ENTRIES_AT_ONCE:
            yield from _restored(batch)
            batch, letters = [], 0
    yield from _restored(batch)


def _units(entries: Iterable[Entry], restorers: Sequence[Restorer]) -> Iterator[_Unit]:
    held: Entry | None = None
    for entry in entries:
        if held is not None:
            both = _read([held, entry], restorers) if _belong(held, entry) else None
            if both is not None and both.restorer is not None:
                yield both
                held = None
                continue
            yield _read([held], restorers)
        held = entry
    if held is not None:
        yield _read([held], restorers)


def _belong(first: Entry, second: Entry) -> bool:
    """Whether the names are those of the two haplotypes of one person."""
    one, other = first.name, second.name
    stem = one.removesuffix(FIRST)
    return stem != one and other == stem + SECOND


def _read(entries: list[Entry], restorers: Sequence[Restorer]) -> _Unit:
    for restorer in restorers:
        reading = restorer.read(entries)
        if reading is not None:
            return _Unit(entries, restorer, reading)
    return _Unit(entries)


def _restored(units: list[_Unit]) -> Iterator[Passed]:
    proposals: dict[int, list[Proposal] | None] = {}
    for restorer in {id(unit.restorer): unit.restorer for unit in units}.values():
        if restorer is None:
            continue
        theirs = [number for number, unit in enumerate(units) if unit.restorer is restorer]
        for at in range(0, len(theirs), restorer.batch):
            some = theirs[at : at + restorer.batch]
            found = restorer.restore([units[number].reading for number in some])
            proposals.update(zip(some, found, strict=True))
    for number, unit in enumerate(units):
        name = unit.restorer.name if unit.restorer else None
        ours = proposals.get(number)
        for place, entry in enumerate(unit.entries):
            yield Passed(entry, name, ours[place] if ours else None)
