"""A VCF or BCF that is read twice, from a pipe as well, and the header and contigs of its first records.

The text is spooled to a temporary file where that is needed.
"""

import io
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

import pysam

from genomai_cli.errors import InputError
from genomai_cli.formats.bcf import read_bcf_header
from genomai_cli.formats.contigs import normal_contig
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input, open_input, peeked, text_of

Reopen = Callable[[], Input]


@contextmanager
def replayable_text(source: Input) -> Iterator[Reopen]:
    """A function that opens the input anew from its beginning, as VCF text; `source` itself is used up and closed.

    Each call invalidates the input of the call before. A regular VCF file is opened again, all else is spooled.
    InputError for what is no VCF.
    """
    if source.kind not in (Kind.VCF, Kind.BCF):
        raise InputError(f"{source.kind.value}, where VCF or BCF is needed", path=source.path)
    with source:
        if source.kind is Kind.VCF and source.file is not None:
            yield lambda: open_input(source.path)
            return
        with tempfile.TemporaryFile() as spool:
            _spool(source, spool)
            yield lambda: _from_start(source, spool)


def _spool(source: Input, spool: IO[bytes]) -> None:
    if source.kind is Kind.VCF:
        shutil.copyfileobj(source.stream, spool, 1 << 20)
        return
    with tempfile.TemporaryDirectory(prefix="genomai-") as folder:
        binary, text = Path(folder) / "binary.bcf", Path(folder) / "text.vcf"
        with binary.open("wb") as handle:
            shutil.copyfileobj(source.stream, handle, 1 << 20)
        _convert(binary, text, source.path)
        with text.open("rb") as handle:
            shutil.copyfileobj(handle, spool, 1 << 20)


def _convert(binary: Path, text: Path, path: str) -> None:
    """BCF to VCF, by htslib."""
    verbosity = pysam.set_verbosity(0)  # it would complain on standard error by itself
    try:
        with (
            pysam.VariantFile(str(binary)) as records,
            pysam.VariantFile(str(text), "w", header=records.header) as out,
        ):
            for record in records:
                out.write(record)
    except (OSError, ValueError) as error:
        raise InputError(f"damaged or truncated BCF ({error})", path=path) from None
    finally:
        pysam.set_verbosity(verbosity)


def _from_start(source: Input, spool: IO[bytes]) -> Input:
    spool.seek(0)
    stream = io.BufferedReader(_Borrowed(spool), 1 << 20)
    return replace(
        source, kind=Kind.VCF, compression="plain", file=None, stream=cast(BinaryIO, stream)
    )


class _Borrowed(io.RawIOBase):
    """A file whose owner closes it."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return self._handle.readinto(buffer)  # type: ignore[attr-defined, no-any-return]


_SIZES = struct.Struct("<IIi")  # of a BCF record: of its two parts, and the contig's number


@dataclass(frozen=True)
class FirstRecords:
    """The header's ## lines and the contigs, by their normal names, of the first records; `complete` if the
    input has no more than these."""

    header: tuple[str, ...]
    contigs: frozenset[str]
    complete: bool


def first_records(source: Input, *, max_bytes: int, file_bytes: int) -> tuple[FirstRecords, Input]:
    """The header and contigs of the first records of a VCF or BCF, and the input with them put back.

    At least one record is waited for, within `max_bytes`; of a file `file_bytes` are read. A damaged header gives
    nothing: the reader after this one reports it.
    """
    min_bytes = file_bytes if source.file is not None else 0
    of_bcf = source.kind is Kind.BCF
    begins_record = _begins_bcf_record if of_bcf else _begins_vcf_record
    has_record = False

    def enough(head: bytearray, searched: int) -> bool:
        nonlocal has_record
        has_record = has_record or begins_record(head, searched)
        return has_record and len(head) >= min_bytes

    head, rewound = peeked(source, enough, max_bytes)
    header, contigs = (_bcf_contigs if of_bcf else _vcf_contigs)(head)
    complete = len(head) < max_bytes and not (has_record and len(head) >= min_bytes)
    return FirstRecords(tuple(header), frozenset(contigs), complete), rewound


_NAMED = re.compile(rb"\n(?!#)[^\n\t]*\t")  # the first column of a record
_LONGEST_NAME = 1024  # of a contig


def _begins_vcf_record(head: bytearray, searched: int) -> bool:
    """Whether a record begins behind so many bytes, which were looked at before: each is looked at about once."""
    line_end = head.rfind(b"\n", max(0, searched - _LONGEST_NAME), searched)
    return _NAMED.search(head, searched if line_end < 0 else line_end) is not None


def _begins_bcf_record(head: bytearray, searched: int) -> bool:
    """Whether the beginning of a record is there, behind the header."""
    del searched
    return len(head) >= 9 + int.from_bytes(head[5:9], "little") + _SIZES.size


def _vcf_contigs(head: bytes) -> tuple[list[str], set[str]]:
    """The ## lines, and the normal names of the contigs."""
    header = [text_of(line) for line in re.findall(rb"^##[^\n]*", head, re.MULTILINE)]
    names = set(re.findall(rb"^(?!#)([^\n\t]*)\t", head, re.MULTILINE))
    return header, {normal_contig(text_of(name)) for name in names}


def _bcf_contigs(head: bytes) -> tuple[list[str], set[str]]:
    stream = io.BytesIO(head)
    try:
        header = read_bcf_header(Input("-", Kind.BCF, "plain", stream))
    except InputError:
        return [], set()
    numbers = set(_contig_numbers(stream))
    names = {header.contigs[number] for number in numbers if number in header.contigs}
    return list(header.lines), {normal_contig(name) for name in names}


def _contig_numbers(stream: BinaryIO) -> Iterator[int]:
    """The contig's number of every BCF record whose beginning is there."""
    while len(fixed := stream.read(_SIZES.size)) == _SIZES.size:
        shared, calls, contig = _SIZES.unpack(fixed)
        yield contig
        stream.seek(shared + calls - 4, io.SEEK_CUR)
