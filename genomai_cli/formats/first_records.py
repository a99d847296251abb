"""What the beginning of a VCF or BCF tells, without taking it from those who read it after."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from genomai_cli.errors import InputError
from genomai_cli.formats.bcf import read_bcf_header
from genomai_cli.formats.streams import Input, Kind, peeked, text_of
from genomai_cli.formats.variants import normal_contig

_SIZES = struct.Struct("<IIi")  # of a BCF record: of its two parts, and the contig's number


@dataclass(frozen=True)
class FirstRecords:
    """The header's ## lines and the contigs, by their normal names, of the first records; `complete` if the
    input has no more than these."""

    header: tuple[str, ...]
    contigs: frozenset[str]
    complete: bool


def first_records(source: Input, *, most: int, of_file: int) -> tuple[FirstRecords, Input]:
    """What the first records of a VCF or BCF are about, and the input with them put back.

    At least one record is waited for, within `most` bytes; of a file `of_file` bytes are read. A damaged
    header tells nothing: whoever reads it next says what is wrong.
    """
    least = of_file if source.file is not None else 0
    contigs = _contigs_of_bcf if source.kind is Kind.BCF else _contigs_of_vcf

    def enough(head: bytes) -> bool:
        return len(head) >= least and bool(contigs(head)[1])

    head, again = peeked(source, enough, most)
    header, found = contigs(head)
    complete = len(head) < most and not enough(head)
    return FirstRecords(tuple(header), frozenset(found), complete), again


def _contigs_of_vcf(head: bytes) -> tuple[list[str], set[str]]:
    lines = head.split(b"\n")
    header = [text_of(line) for line in lines if line.startswith(b"##")]
    records = (line for line in lines if b"\t" in line and not line.startswith(b"#"))
    names = {line[: line.index(b"\t")] for line in records}
    return header, {normal_contig(text_of(name)) for name in names}


def _contigs_of_bcf(head: bytes) -> tuple[list[str], set[str]]:
    stream = io.BytesIO(head)
    try:
        header = read_bcf_header(Input("-", Kind.BCF, "plain", stream))
    except InputError:
        return [], set()
    numbers = set(_contig_numbers(stream))
    known = range(len(header.contigs))
    names = {header.contigs[number] for number in numbers if number in known}
    return list(header.lines), {normal_contig(name) for name in names}


def _contig_numbers(stream: BinaryIO) -> Iterator[int]:
    """The contig's number of every BCF record whose beginning is there."""
    while len(fixed := stream.read(_SIZES.size)) == _SIZES.size:
        shared, calls, contig = _SIZES.unpack(fixed)
        yield contig
        stream.seek(shared + calls - 4, io.SEEK_CUR)
