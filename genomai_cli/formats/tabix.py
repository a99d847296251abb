"""The index of a bgzipped VCF (.tbi or .csi), and the lines that it leads to.

It is read here and not by htslib, which takes a damaged or truncated file for one without more lines. An index counts
only if its chunks, end to end, are all records of the file: one of another file, or of a file that was cut, is none.

The formats: tabix.pdf and CSIv1.pdf of samtools/hts-specs. A virtual offset is that of a block in the file, times 2^16,
plus an offset within the block's content.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from genomai_cli.formats.bgzf import END_MARKER, is_bgzf
from genomai_cli.formats.streams import open_bytes, text_of

_MAX_INDEX_BYTES = 1 << 28  # that of a full genome has some megabytes
_MAX_DEPTH = 12  # levels of bins
Chunk = tuple[int, int]  # virtual offsets


@dataclass(frozen=True)
class Contig:
    """The chunks of records by bin, and where the records of every 16,384 positions begin (TBI only)."""

    bins: Mapping[int, list[Chunk]]
    begins: tuple[int, ...] = ()


@dataclass(frozen=True)
class Index:
    """The content of a .tbi or .csi; `shift` and `depth` are those of its bins."""

    contigs: Mapping[str, Contig]
    shift: int
    depth: int

    def chunks(self, name: str, first: int, last: int) -> list[Chunk]:
        """The chunks of lines that may overlap these positions (from 1), in the file's order."""
        contig, begin = self.contigs[name], first - 1
        window = begin >> self.shift
        min_offset = contig.begins[min(window, len(contig.begins) - 1)] if contig.begins else 0
        bins = self._bins(contig.bins, begin, last)
        return sorted(
            chunk for number in bins for chunk in contig.bins[number] if chunk[1] > min_offset
        )

    def _bins(self, numbers: Mapping[int, object], begin: int, end: int) -> Iterator[int]:
        shift, level_first = self.shift + 3 * self.depth, 0
        for level in range(self.depth + 1):
            low, high = level_first + (begin >> shift), level_first + ((end - 1) >> shift)
            if high - low < len(numbers):
                yield from (number for number in range(low, high + 1) if number in numbers)
            else:
                yield from (number for number in numbers if low <= number <= high)
            shift, level_first = shift - 3, level_first + (1 << 3 * level)

    def covers(self, blocks: "Blocks") -> bool:
        """Whether the chunks are all records of the file, from the first to the end of a file that is whole."""
        if not blocks.is_complete:
            return False
        end_of_chunks = blocks.records_begin()
        spans = [
            chunk for contig in self.contigs.values() for c in contig.bins.values() for chunk in c
        ]
        for begin, end in sorted(spans):
            if begin > end_of_chunks and blocks.next_byte(begin) != blocks.next_byte(end_of_chunks):
                return False
            end_of_chunks = max(end_of_chunks, end)
        return blocks.next_byte(end_of_chunks) == blocks.next_byte(blocks.size << 16)


class Blocks:
    """The content of a BGZF file from any virtual offset on; ValueError where it is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._cached_block: tuple[int, bytes, int] = (-1, b"", 0)

    @property
    def is_complete(self) -> bool:
        """Whether the file has its end-of-file marker."""
        self._file.seek(max(0, self.size - len(END_MARKER)))
        return self._file.read() == END_MARKER

    def records_begin(self) -> int:
        """The virtual offset behind the header."""
        return next(
            (at for at, line in self._lines_with_offsets(0) if not line.startswith(b"#")),
            self.size << 16,
        )

    def next_byte(self, offset: int) -> int:
        """The offset of the byte that is read there: that of the next block at the end of one."""
        block_start, within = offset >> 16, offset & 0xFFFF
        while block_start < self.size:
            data, next_start = self._block(block_start)
            if within > len(data):
                raise ValueError("an offset beyond its block")
            if within < len(data):
                return block_start << 16 | within
            block_start, within = next_start, 0
        return block_start << 16 | within

    def lines(self, begin: int, end: int) -> Iterator[bytes]:
        """The lines that begin between two offsets."""
        for at, line in self._lines_with_offsets(begin):
            if at >= end:
                return
            yield line

    def _lines_with_offsets(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """The lines from an offset on, each with its own."""
        parts: list[bytes] = []
        block_start, within = offset >> 16, offset & 0xFFFF
        while block_start < self.size:
            data, next_start = self._block(block_start)
            while (end := data.find(b"\n", within) + 1) > 0:
                line = b"".join([*parts, data[within:end]])
                yield (offset if parts else block_start << 16 | within), line
                parts, within = [], end
            if within < len(data):
                offset = offset if parts else block_start << 16 | within
                parts.append(data[within:])
            block_start, within = next_start, 0
        if parts:
            yield offset, b"".join(parts)

    def _block(self, start: int) -> tuple[bytes, int]:
        """The content of the block that begins there, and where the next one does."""
        if self._cached_block[0] != start:
            self._file.seek(start)
            head = self._file.read(18)
            if not is_bgzf(head):
                raise ValueError("no block begins there")
            size = int.from_bytes(head[16:18], "little") + 1
            body = self._file.read(size - 18)
            self._cached_block = start, _inflated(body), start + size
        return self._cached_block[1:]


def _inflated(body: bytes) -> bytes:
    try:
        data = zlib.decompress(body[:-8], -15)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if struct.pack("<II", zlib.crc32(data), len(data)) != body[-8:]:
        raise ValueError("the checksum of a block differs")
    return data


def read_index(path: Path) -> Index:
    """The index in a file; ValueError or InputError for what is none."""
    with open_bytes(path) as stream:
        data = stream.read(_MAX_INDEX_BYTES)
    return _Parser(data).index()


class _Parser:
    """Takes numbers and names off the content of an index."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 4

    def index(self) -> Index:
        magic = self._data[:4]
        if magic == b"TBI\1":
            contigs = self._number("<i")
            names = self._names()
            shift, depth, is_csi = 14, 5, False
        elif magic == b"CSI\1":
            shift, depth, _ = (self._number("<i") for _ in range(3))
            names = self._names()
            contigs, is_csi = self._number("<i"), True
        else:
            raise ValueError("neither TBI nor CSI")
        if contigs != len(names) or not (0 <= depth <= _MAX_DEPTH and 0 < shift < 32):
            raise ValueError("the header of the index is damaged")
        metadata = ((1 << 3 * (depth + 1)) - 1) // 7 + 1
        return Index({name: self._contig(metadata, is_csi) for name in names}, shift, depth)

    def _names(self) -> list[str]:
        self._unpack("<6i")
        size = self._number("<i")
        names = self._data[self._position : self._position + size]
        self._position += size
        return [text_of(name) for name in names.split(b"\0")[:-1]]

    def _contig(self, metadata: int, is_csi: bool) -> Contig:
        bins = {}
        for _ in range(self._number("<i")):
            number = self._number("<I")
            if is_csi:
                self._unpack("<Q")
            count = self._number("<i")
            offsets = self._unpack(f"<{2 * count}Q")
            if number != metadata:
                bins[number] = list(zip(offsets[::2], offsets[1::2], strict=True))
        begins = () if is_csi else self._unpack(f"<{self._number('<i')}Q")
        return Contig(bins, begins)

    def _number(self, kind: str) -> int:
        return int(self._unpack(kind)[0])

    def _unpack(self, kinds: str) -> tuple[int, ...]:
        try:
            found: tuple[int, ...] = struct.unpack_from(kinds, self._data, self._position)
        except struct.error as error:
            raise ValueError(f"the index is damaged: {error}") from None
        self._position += struct.calcsize(kinds)
        return found
