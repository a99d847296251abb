"""FASTA entries as they were written, byte for byte, with the places of their letters: to change a few and keep the
rest.

What is no nucleotide letter is nobody's mistake here: such an entry has no `letters`, and passes as it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.sequences import CLEAN, parts
from genomai_cli.formats.streams import Input, Kind, text_of

_CASE = ord("a") - ord("A")
_BLANK, _FOREIGN = ord("\n"), 0  # what `CLEAN` makes of white space and of letters that are none
_GAPS = np.frombuffer(b"-.", np.uint8)
GAP = ord("-")


@dataclass(frozen=True, eq=False)
class Entry:
    """`title` is the first line without its `>` and line end, `body` all that follows up to the next entry."""

    title: bytes
    body: bytes
    path: str
    line: int
    begun: bool = True  # False for what stands before the first entry
    ended: bool = True  # whether a line end stands between title and body

    @property
    def name(self) -> str:
        words = self.title.split(None, 1)
        return text_of(words[0]) if words else ""

    @property
    def raw(self) -> bytes:
        """The entry's bytes."""
        return (
            (b">" if self.begun else b"") + self.title + (b"\n" if self.ended else b"") + self.body
        )

    def places(self) -> NDArray[np.int64]:
        """Where in the body its letters stand."""
        return np.flatnonzero(_cleaned(self.body) != _BLANK)

    def letters(self) -> NDArray[np.uint8] | None:
        """The letters, upper case, U as T; gaps stay `-`. None if there is one that is no nucleotide letter."""
        clean = _cleaned(self.body)
        if (clean == _FOREIGN).any():
            return None
        given = np.frombuffer(self.body, np.uint8)
        clean[np.isin(given, _GAPS)] = GAP
        letters: NDArray[np.uint8] = clean[clean != _BLANK]
        return letters

    def changed(self, numbers: NDArray[np.int64], letters: NDArray[np.uint8]) -> "Entry":
        """The entry with the letters of these numbers (from 0) replaced; each keeps its case."""
        if not len(numbers):
            return self
        body = np.frombuffer(self.body, np.uint8).copy()
        where = self.places()[numbers]
        lower = (body[where] >= ord("a")) & (body[where] <= ord("z"))
        body[where] = letters + np.where(lower, _CASE, 0).astype(np.uint8)
        return replace(self, body=body.tobytes())


def read_entries(source: Input) -> Iterator[Entry]:
    """The entries of a FASTA input; joined by their `raw`, they are the input. Blank lines before the first are an
    entry of their own, without a name."""
    if source.kind is not Kind.FASTA:
        raise InputError(f"{source.kind.value}, where FASTA or VCF is needed", path=source.path)
    pieces: list[bytes] = []
    begun, line, next_line = False, 0, 0  # a line end stands before the first line
    for begins, text in parts(source.stream):
        if begins:
            # The line end before a `>` belongs to the entry before it.
            entry = _entry(b"".join([*pieces, b"\n"]), source.path, line, begun)
            if entry.raw != b"":
                yield entry
            pieces, begun = [], True
            next_line += 1
            line = next_line
        pieces.append(text)
        next_line += text.count(b"\n")
    yield _entry(b"".join(pieces), source.path, line, begun)


def _entry(text: bytes, path: str, line: int, begun: bool) -> Entry:
    if not begun:  # the first line end is not the input's
        return Entry(b"", text[1:], path, line, begun=False, ended=False)
    title, end, body = text.partition(b"\n")
    return Entry(title, body, path, line, ended=bool(end))


def _cleaned(body: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(body.translate(CLEAN), np.uint8).copy()
