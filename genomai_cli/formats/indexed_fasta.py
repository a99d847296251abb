"""Stretches of a reference genome by contig and position, without the genome in memory.

An index of samtools beside the file (`.fai`, for BGZF `.gzi` too) is used if it is not older; otherwise one is made in
a temporary folder, where the text of a gzip file that cannot be read from the middle goes too.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pysam
import pysam.utils

from genomai_cli.errors import InputError
from genomai_cli.formats.bgzf import is_bgzf
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.streams import open_bytes
from genomai_cli.formats.tabix import Blocks

BLOCK = 1 << 16  # letters that are read at once
_LINE_END = 2  # bytes, which the last line may have or not
_GZIP = b"\x1f\x8b"
_SHOWN = 5  # contigs in a message


class IndexedFasta:
    """A reference's contigs; names are found however they are spelled, chr1 for 1 and the other way round."""

    def __init__(self, path: Path, file: pysam.FastaFile) -> None:
        self.path = path
        self._file = file
        self.lengths = dict(zip(file.references, file.lengths, strict=True))
        self._names = {normal_contig(name): name for name in reversed(file.references)}
        self._block = ("", -1, "")

    def name(self, contig: str) -> str | None:
        """What the reference calls a contig; None if it has none of the name."""
        return contig if contig in self.lengths else self._names.get(normal_contig(contig))

    def known(self) -> str:
        """The contigs, as a message lists them."""
        names = list(self.lengths)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(names[:_SHOWN]) + more

    def fetch(self, name: str, start: int, end: int) -> str:
        """The letters from `start` (from 0) to before `end` of a contig of the reference, upper case, U as T.

        What lies outside of the contig is not there.
        """
        start, end = max(0, start), min(end, self.lengths[name])
        if end - start > BLOCK:
            return self._read(name, start, end)
        block, at = start // BLOCK, start % BLOCK
        found = self._of_block(name, block)[at : at + end - start]
        if len(found) < end - start:
            found += self._of_block(name, block + 1)[: end - start - len(found)]
        return found

    def _of_block(self, name: str, number: int) -> str:
        if self._block[:2] != (name, number):
            text = self._read(name, number * BLOCK, (number + 1) * BLOCK)
            self._block = (name, number, text)
        return self._block[2]

    def _read(self, name: str, start: int, end: int) -> str:
        try:
            return self._file.fetch(name, start, end).upper().replace("U", "T")
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot be read at {name}:{start + 1} ({error})", path=self.path
            ) from None


@contextmanager
def open_reference(path: Path) -> Iterator[IndexedFasta]:
    """The reference in a FASTA file, plain, BGZF or gzip; InputError if it is none."""
    if not path.is_file():
        raise InputError("no such file: a reference is a FASTA file", path=path)
    before = pysam.set_verbosity(0)  # htslib would complain on standard error by itself
    try:
        with tempfile.TemporaryDirectory() as folder, _opened(path, Path(folder)) as file:
            yield IndexedFasta(path, file)
    finally:
        pysam.set_verbosity(before)


def _opened(path: Path, folder: Path) -> pysam.FastaFile:
    beside = [path.with_name(path.name + end) for end in _index_endings(path)]
    if all(_is_newer(index, path) for index in beside) and index_covers(beside[0], path):
        return _fasta(path, path, beside)
    text = path
    if _begins(path, _GZIP) and len(beside) == 1:
        text = folder / "reference.fa"
        with open_bytes(path) as packed, text.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    made = [folder / f"reference{end}" for end in _index_endings(text)]
    options = ["--fai-idx", str(made[0])]
    if len(made) > 1:
        options += ["--gzi-idx", str(made[1])]
    try:
        pysam.faidx(*options, str(text), catch_stdout=False)
    except pysam.utils.SamtoolsError:
        raise _no_fasta(path) from None
    return _fasta(path, text, made)


def index_covers(index: Path, fasta: Path) -> bool:
    """Whether a .fai is that of the whole file, which ends where the last sequence does; a BGZF file only has to be
    whole."""
    if _begins(fasta, _GZIP):
        with fasta.open("rb") as file:
            return Blocks(file).are_whole
    try:
        rows = [line.split("\t") for line in index.read_text().splitlines()]
        numbers = [tuple(map(int, row[1:5])) for row in rows]
        ends = [at + size // bases * width + size % bases for size, at, bases, width in numbers]
    except (OSError, ValueError, ZeroDivisionError):
        return False
    return bool(ends) and abs(fasta.stat().st_size - max(ends)) <= _LINE_END


def _fasta(shown: Path, text: Path, index: list[Path]) -> pysam.FastaFile:
    try:
        return pysam.FastaFile(str(text), str(index[0]), *(str(other) for other in index[1:]))
    except (OSError, ValueError):
        raise _no_fasta(shown) from None


def _no_fasta(path: Path) -> InputError:
    return InputError("not a FASTA file whose lines have one length within a record", path=path)


def _index_endings(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [".fai", ".gzi"] if is_bgzf(file.read(18)) else [".fai"]


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _is_newer(index: Path, path: Path) -> bool:
    return index.is_file() and index.stat().st_mtime >= path.stat().st_mtime
