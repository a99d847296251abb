"""The table of `genomai denoise --changes`, and how many changes there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from genomai_cli.restoration.passage import Passed

COLUMNS = ("sample", "place", "from", "to", "probability")
MISSING = ord("N")


class Changes:
    """Writes a row a change if there is a file for it, and counts in any case."""

    def __init__(self, handle: IO[str] | None) -> None:
        self._handle, self.wanted = handle, handle is not None
        self.counts = {"missing": 0, "restored": 0, "corrected": 0}
        if handle is not None:
            handle.write("\t".join(COLUMNS) + "\n")

    def count(self, **more: int) -> None:
        """Add to the counts."""
        for name, number in more.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def write(self, sample: str, place: str, before: str, after: str, probability: float) -> None:
        """One change."""
        if self._handle is not None:
            self._handle.write(f"{sample}\t{place}\t{before}\t{after}\t{probability:.4f}\n")

    def of_entry(self, item: "Passed") -> None:
        """The changes of a FASTA entry; places count its letters from 1."""
        found, letters = item.proposal, item.entry.letters()
        if found is None or letters is None:
            return
        before = letters[found.numbers]
        restored = int((before == MISSING).sum())
        self.count(missing=found.missing, restored=restored, corrected=len(before) - restored)
        if self._handle is None:
            return
        rows = (found.numbers.tolist(), before.tolist(), found.letters.tolist())
        for number, old, new, p in zip(*rows, found.probabilities.tolist(), strict=True):
            self.write(item.entry.name, str(number + 1), chr(old), chr(new), p)


@contextmanager
def changes_table(path: Path | None) -> Iterator[Changes]:
    """Takes changes; the file appears whole or not at all."""
    if path is None:
        yield Changes(None)
        return
    from genomai_cli.formats.outputs import atomic_text

    with atomic_text(path) as handle:
        yield Changes(handle)
