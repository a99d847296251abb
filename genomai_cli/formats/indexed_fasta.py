"""Stretches of a reference genome by contig and position, without the genome in memory.

An index of samtools next to the file (`.fai`, for BGZF `.gzi` too) is used if it is not older; otherwise one is made in
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
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.fasta_index import (
    duplicate_name,
    index_endings,
    starts_with_gzip,
    twice_error,
    usable_index,
)
from genomai_cli.formats.streams import open_bytes

BLOCK = 1 << 16  # letters that are read at once
_MAX_SHOWN = 5  # contigs in a message


class IndexedFasta:
    """A reference's contigs; names are found however they are spelled, chr1 for 1 and the other way round."""

    def __init__(self, path: Path, file: pysam.FastaFile) -> None:
        self.path = path
        self._file = file
        self.lengths = dict(zip(file.references, file.lengths, strict=True))
        self._names = {normal_contig(name): name for name in reversed(file.references)}
        self._block = ("", -1, "")

    def name(self, contig: str) -> str | None:
        """The reference's name of a contig; None if it has no such contig."""
        return contig if contig in self.lengths else self._names.get(normal_contig(contig))

    def contig_list(self) -> str:
        """The contigs, as a message lists them."""
        names = list(self.lengths)
        more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
        return ", ".join(names[:_MAX_SHOWN]) + more

    def fetch(self, name: str, start: int, end: int) -> str:
        """The letters from `start` (from 0) to before `end` of a contig of the reference, upper case, U as T.

        What lies outside of the contig is not there.
        """
        start, end = max(0, start), min(end, self.lengths[name])
        if end - start > BLOCK:
            return self._read(name, start, end)
        block, offset = start // BLOCK, start % BLOCK
        letters = self._block_text(name, block)[offset : offset + end - start]
        if len(letters) < end - start:
            letters += self._block_text(name, block + 1)[: end - start - len(letters)]
        return letters

    def _block_text(self, name: str, number: int) -> str:
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
    """The reference in a FASTA file, plain, BGZF or gzip; InputError if it is none, or has two contigs of one name."""
    if not path.is_file():
        raise InputError("no such file: a reference is a FASTA file", path=path)
    verbosity = pysam.set_verbosity(0)  # htslib would complain on standard error by itself
    try:
        with tempfile.TemporaryDirectory() as folder, _opened(path, Path(folder)) as file:
            yield IndexedFasta(path, file)
    finally:
        pysam.set_verbosity(verbosity)


def _opened(path: Path, folder: Path) -> pysam.FastaFile:
    if (index_files := usable_index(path)) is not None:
        return _fasta(path, path, index_files)
    text = path
    if starts_with_gzip(path) and len(index_endings(path)) == 1:
        text = folder / "reference.fa"
        with open_bytes(path) as compressed, text.open("wb") as plain:
            shutil.copyfileobj(compressed, plain, 1 << 20)
    new_index = [folder / f"reference{end}" for end in index_endings(text)]
    options = ["--fai-idx", str(new_index[0])]
    if len(new_index) > 1:
        options += ["--gzi-idx", str(new_index[1])]
    try:
        pysam.faidx(*options, str(text), catch_stdout=False)
    except pysam.utils.SamtoolsError:
        raise _no_fasta(path) from None
    if name := duplicate_name(text, new_index):
        raise twice_error(name, path)
    return _fasta(path, text, new_index)


def _fasta(path: Path, fasta: Path, index: list[Path]) -> pysam.FastaFile:
    try:
        return pysam.FastaFile(str(fasta), str(index[0]), *(str(other) for other in index[1:]))
    except (OSError, ValueError):
        raise _no_fasta(path) from None


def _no_fasta(path: Path) -> InputError:
    message = "not a FASTA file whose lines have one length within a record and whose last record has letters"
    return InputError(message, path=path)
