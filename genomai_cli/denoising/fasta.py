"""FASTA entries in a stream: read by the first model that can, restored in batches, and passed on in their order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from genomai_cli.denoising.base import Denoiser, Proposal
from genomai_cli.formats.fasta import Entry

LETTERS_PER_BATCH = 1 << 23
ENTRIES_PER_BATCH = 1024
FIRST, SECOND = "_A", "_B"  # end the names of the two haplotypes of a sample


@dataclass(frozen=True, eq=False)
class DenoisedEntry:
    """An entry and the proposed changes; without a `model` no model can read it, without a proposal nothing in it is
    known."""

    entry: Entry
    model: str | None = None
    proposal: Proposal | None = None

    @property
    def restored(self) -> Entry:
        """The entry as it leaves."""
        if self.proposal is None:
            return self.entry
        return self.entry.changed(self.proposal.positions, self.proposal.letters)


@dataclass(frozen=True, eq=False)
class _Unit:
    """Entries that are read together, the denoiser that reads them, and its input made of them."""

    entries: list[Entry]
    denoiser: Denoiser | None = None
    reading: Any = None


def entries_of_samples(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries that are read together: one, or by their names the two haplotypes of one sample."""
    pending: list[Entry] = []
    for entry in entries:
        if pending and _haplotypes(pending[0], entry):
            yield [*pending, entry]
            pending = []
            continue
        if pending:
            yield pending
        pending = [entry]
    if pending:
        yield pending


def denoise_entries(
    samples: Iterable[list[Entry]], denoisers: Sequence[Denoiser]
) -> Iterator[DenoisedEntry]:
    """Every entry of the samples in its order; the first denoiser that can read it restores it."""
    batch: list[_Unit] = []
    letters = 0
    for unit in _units(samples, denoisers):
        batch.append(unit)
        letters += sum(len(entry.body) for entry in unit.entries)
        if letters >= LETTERS_PER_BATCH or len(batch) >= ENTRIES_PER_BATCH:
            yield from _restored(batch)
            batch, letters = [], 0
    yield from _restored(batch)


def _units(samples: Iterable[list[Entry]], denoisers: Sequence[Denoiser]) -> Iterator[_Unit]:
    for entries in samples:
        unit = _read(entries, denoisers)
        if len(entries) == 1 or unit.denoiser is not None:
            yield unit
        else:
            yield from (_read([entry], denoisers) for entry in entries)


def _haplotypes(first: Entry, second: Entry) -> bool:
    """Whether the names are those of the two haplotypes of one sample."""
    one, other = first.name, second.name
    stem = one.removesuffix(FIRST)
    return stem != one and other == stem + SECOND


def _read(entries: list[Entry], denoisers: Sequence[Denoiser]) -> _Unit:
    for denoiser in denoisers:
        reading = denoiser.read(entries)
        if reading is not None:
            return _Unit(entries, denoiser, reading)
    return _Unit(entries)


def _restored(units: list[_Unit]) -> Iterator[DenoisedEntry]:
    proposals: dict[int, list[Proposal] | None] = {}
    for denoiser in {id(unit.denoiser): unit.denoiser for unit in units}.values():
        if denoiser is None:
            continue
        indices = [number for number, unit in enumerate(units) if unit.denoiser is denoiser]
        for start in range(0, len(indices), denoiser.batch_size):
            batch = indices[start : start + denoiser.batch_size]
            restored = denoiser.restore([units[number].reading for number in batch])
            proposals.update(zip(batch, restored, strict=True))
    for number, unit in enumerate(units):
        name = unit.denoiser.name if unit.denoiser else None
        of_unit = proposals.get(number)
        for index, entry in enumerate(unit.entries):
            yield DenoisedEntry(entry, name, of_unit[index] if of_unit else None)
