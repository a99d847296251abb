"""The index of a FASTA file (`.fai` of samtools, for BGZF `.gzi` too): whether it is that of the file, and names that
the file has twice.

Of several records of one name htslib's index has the first, and passes over the others in silence; their titles lie
between the records that it has. The format: faidx(5) and bgzip(1) of htslib.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from genomai_cli.errors import InputError
from genomai_cli.formats.bgzf import is_bgzf
from genomai_cli.formats.streams import text_of
from genomai_cli.formats.tabix import Blocks
from genomai_cli.names import first_duplicate

_LINE_END = 2  # bytes, which the last line may have or not
_GZIP = b"\x1f\x8b"
_DAMAGE_ERRORS = (OSError, ValueError, IndexError, ZeroDivisionError)

Lines = Callable[[int, int | None], Iterator[bytes]]
"""The lines that begin between two offsets of the text; None is its end."""


class _Entry(NamedTuple):
    """A record of the index: its letters begin and end at these offsets of the text."""

    name: bytes
    begin: int | None  # None of no record, after the last one
    end: int


def index_endings(fasta: Path) -> list[str]:
    """What a FASTA file's index is called beyond its name: BGZF has one of the blocks too."""
    with fasta.open("rb") as file:
        return [".fai", ".gzi"] if is_bgzf(file.read(18)) else [".fai"]


def usable_index(fasta: Path) -> list[Path] | None:
    """The index files beside a FASTA file; None where one is missing or older, or they are not of the whole file, or
    leave out a contig whose name another one has."""
    files = [fasta.with_name(fasta.name + ending) for ending in index_endings(fasta)]
    age = fasta.stat().st_mtime
    is_new = all(file.is_file() and file.stat().st_mtime >= age for file in files)
    return (
        files
        if is_new and index_covers(files[0], fasta) and duplicate_name(fasta, files) is None
        else None
    )


def index_covers(index: Path, fasta: Path) -> bool:
    """Whether a .fai is that of the whole file, which ends where the last sequence does; a BGZF file only has to be
    whole."""
    if starts_with_gzip(fasta):
        with fasta.open("rb") as file:
            return Blocks(file).is_complete
    try:
        ends = [entry.end for entry in _entries(index)]
    except _DAMAGE_ERRORS:
        return False
    return bool(ends) and abs(fasta.stat().st_size - max(ends)) <= _LINE_END


def duplicate_name(fasta: Path, index_files: Sequence[Path]) -> str | None:
    """A name that several records of an indexed file have; None if all differ, or the index is damaged."""
    try:
        entries = sorted(_entries(index_files[0]), key=lambda entry: entry.end)
        with fasta.open("rb") as file:
            lines = _lines_of_blocks(file, *index_files[1:]) if index_files[1:] else _lines_of(file)
            names = chain((entry.name for entry in entries), _left_out(entries, lines))
            return first_duplicate(map(text_of, names))
    except _DAMAGE_ERRORS:
        return None


def twice_error(name: str, path: str | Path, line: int | None = None) -> InputError:
    """The error for a reference with two contigs of one name."""
    return InputError(f"the contig {name} is there twice", path=path, line=line)


def starts_with_gzip(path: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _entries(index: Path) -> list[_Entry]:
    """The records of an index; one of `_DAMAGE_ERRORS` for what is none."""
    entries = []
    for line in index.read_bytes().splitlines():
        name, *numbers = line.split(b"\t")
        size, begin, bases, width = map(int, numbers[:4])
        entries.append(_Entry(name, begin, begin + size // bases * width + size % bases))
    return entries


def _left_out(entries: Sequence[_Entry], lines: Lines) -> Iterator[bytes]:
    """The names of the index whose titles lie between its records and are not theirs."""
    names = {entry.name for entry in entries}
    before = 0
    for own, begin, end in [*entries, _Entry(b"", None, 0)]:
        is_own_title_read = False
        for line in lines(before, begin):
            name = line[1:].split(maxsplit=1)[:1] if line.startswith(b">") else []
            if name == [own] and not is_own_title_read:
                is_own_title_read = True
            elif name and name[0] in names:
                yield name[0]
        before = end


def _lines_of(file: BinaryIO) -> Lines:
    """The lines of plain text."""

    def lines(begin: int, end: int | None) -> Iterator[bytes]:
        file.seek(begin)
        while (end is None or begin < end) and (line := file.readline()):
            yield line
            begin += len(line)

    return lines


def _lines_of_blocks(file: BinaryIO, gzi: Path) -> Lines:
    """The lines of BGZF, by the offsets at which its blocks begin."""
    blocks = Blocks(file)
    numbers = np.frombuffer(gzi.read_bytes(), "<u8").astype(np.int64)
    compressed, text = ([0, *numbers[first::2].tolist()] for first in (1, 2))

    def virtual(offset: int) -> int:
        block = bisect_right(text, offset) - 1
        return int(compressed[block] << 16 | offset - text[block])

    def lines(begin: int, end: int | None) -> Iterator[bytes]:
        return blocks.lines(virtual(begin), blocks.size << 16 if end is None else virtual(end))

    return lines
