"""Along which strands, and in which windows, a record is read to be embedded.

A sequence has one strand or, with its reverse complement, two; a barcode is one, or its two haplotypes. Windows are
made when they are asked for, so that a chromosome needs little more memory than its letters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Protocol

import numpy as np

from genomai_cli.augmentations import reverse_complement
from genomai_cli.inference.pieces import Reader
from genomai_cli.inference.windows import Windows
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids


@dataclass(frozen=True, slots=True)
class Window:
    """Some words of a strand: `words` from the `start`-th of the record's `total`, in reverse order if `flipped`."""

    strand: int
    strands: int
    words: int
    start: int = 0
    total: int = 0
    flipped: bool = False


class Strands(Protocol):
    """How a model's records are read; a record in which nothing can be read has no windows."""

    def known(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """The windows that have a known word, strand by strand; together they hold every letter."""

    def ordered(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """All windows in the order of `start`, whatever their strand; together they hold every whole word."""


@dataclass(frozen=True)
class SequenceStrands:
    """Reads plain DNA; with `both` the reverse complement as well, with `first` a strand's first window only."""

    tokenizer: Tokenizer
    windows: Windows
    both: bool = False
    first: bool = False

    def known(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`. Where the last window does not fit the grid of the words it has words of its own."""
        unknown = self.tokenizer.unk_id
        if unknown is None:
            unknown = self.tokenizer.mask_id
        for strand in range(1 + self.both):
            for start in self.windows.starts(len(record.sequence)):
                ids = self._window(record.sequence, start, backward=strand == 1)
                if (ids != unknown).any():
                    yield Window(strand, 1 + self.both, len(ids)), ids
                    if self.first:
                        break

    def ordered(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        letters = self.windows.span(len(record.sequence))
        whole = letters == len(record.sequence)
        sequence = record.sequence if whole else record.sequence[:letters]
        strands = [self._strand(sequence, strand) for strand in range(1 + self.both)]
        return merge(*strands, key=lambda entry: entry[0].start)

    def _strand(self, sequence: str, strand: int) -> Iterator[tuple[Window, Ids]]:
        """A strand's windows by their first word on the forward strand; the sequence has whole words only."""
        total = self.tokenizer.length(len(sequence))
        for start in self.windows.starts(len(sequence), backward=strand == 1):
            ids = self._window(sequence, start, backward=strand == 1)
            first, words = start // self.windows.step, len(ids)
            if strand == 1:
                first = total - first - words
            yield Window(strand, 1 + self.both, words, first, total, strand == 1), ids

    def _window(self, sequence: str, start: int, *, backward: bool) -> Ids:
        """The words of the window that begins at `start` of the sequence, or of its reverse complement."""
        width = self.windows.width(len(sequence))
        if not backward:
            return self.tokenizer.encode(sequence[start : start + width])
        end = len(sequence) - start
        letters = np.frombuffer(sequence[end - width : end].encode("ascii"), np.uint8)
        return self.tokenizer.encode(reverse_complement(letters).tobytes().decode("ascii"))


@dataclass(frozen=True)
class ReadStrands:
    """What a reader of barcodes or anchored genomes makes of a record: its pieces are the strands."""

    read: Reader

    def known(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        reading = self.read(record)
        pieces = reading.pieces if reading.letters else []
        for strand, ids in enumerate(pieces):
            yield Window(strand, len(pieces), len(ids), total=len(ids)), ids

    def ordered(self, record: SequenceRecord) -> Iterator[tuple[Window, Ids]]:
        """See `Strands`."""
        return self.known(record)
