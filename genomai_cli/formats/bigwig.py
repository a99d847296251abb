"""bigWig: the values of bases of a region, read from disk, and intervals written.

The layout: Kent et al. 2010, Bioinformatics 26:2204, supplement. It is read here, since both libraries for it end the
program at a damaged file (pyBigWig 0.3.29 with a segmentation fault, pybigtools 0.3 with an abort); blocks have
checksums of zlib's, and everything else is bounded before it is used. pyBigWig writes.

Shape suffixes: L bases, I intervals.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.libraries import optional_library
from genomai_cli.formats.streams import text_of

MAGIC, CONTIGS_MAGIC, INDEX_MAGIC = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_HEADER = "IHHQQQHHQQIQ"
_MAX_DEPTH = 32  # levels of a tree
_MAX_BLOCK_BYTES = 1 << 26  # bytes of a block
_BEDGRAPH, _VARIABLE, _FIXED = 1, 2, 3  # types of blocks
Values = NDArray[np.float32]
Positions = NDArray[np.int64]


def is_bigwig(head: bytes) -> bool:
    """Whether a file with these first bytes is one, in either order of bytes."""
    return head[:4] in (struct.pack("<I", MAGIC), struct.pack(">I", MAGIC))


class BigWig:
    """An open bigWig: `contigs` has the length of each; InputError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._order = "<" if self._data[:4] == struct.pack("<I", MAGIC) else ">"
        try:
            _, _, zooms, contigs, _, self._index, *_, self._compressed, _ = self._unpack(_HEADER, 0)
            numbers_and_sizes = dict(self._contigs(contigs))
            for index in (
                self._index,
                *(self._unpack("IIQQ", 64 + 24 * n)[3] for n in range(zooms)),
            ):
                self._require(self._unpack("I", index)[0] == INDEX_MAGIC)
        except (struct.error, ValueError, RecursionError) as error:
            raise self._damaged() from error
        self.contigs: Mapping[str, int] = {
            name: size for name, (_, size) in numbers_and_sizes.items()
        }
        self._ids = {name: number for name, (number, _) in numbers_and_sizes.items()}

    def values(self, contig: str, start: int, end: int) -> Values:
        """The values (L,) of the bases from `start` (from 0) to before `end`; NaN where the file has none."""
        found_L: Values = np.full(end - start, np.nan, np.float32)
        try:
            for offset, size in self._blocks((self._ids[contig], start, end)):
                number, starts_I, ends_I, values_I = self._block(offset, size)
                if number == self._ids[contig]:
                    fill_intervals(found_L[:, None], starts_I - start, ends_I - start, values_I)
        except (struct.error, ValueError, zlib.error, RecursionError) as error:
            raise self._damaged(f" at {contig}:{start}-{end}") from error
        return found_L

    def _damaged(self, where: str = "") -> InputError:
        return InputError(f"a bigWig that is damaged or cut off{where}", path=self.path)

    def _require(self, sound: bool) -> None:
        if not sound:
            raise ValueError("not as the layout has it")

    def _unpack(self, kinds: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack_from(self._order + kinds, self._data, offset)

    def _rows(self, kinds: list[tuple[str, str]], count: int, offset: int) -> NDArray[Any]:
        """So many records that lie there, or ValueError."""
        kind = np.dtype(
            [(name, code if code[0] == "S" else self._order + code) for name, code in kinds]
        )
        return np.frombuffer(self._data, kind, count, offset)

    def _contigs(self, offset: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """Names with numbers and lengths, from the tree of names."""
        magic, _, key, value, _, _ = self._unpack("IIIIQQ", offset)
        self._require(magic == CONTIGS_MAGIC and value == 8 and 0 < key < 1 << 16)
        for record in self._leaves(
            offset + 32, [("name", f"S{key}")], [("id", "u4"), ("size", "u4")]
        ):
            yield text_of(bytes(record["name"])), (int(record["id"]), int(record["size"]))

    def _leaves(
        self, offset: int, key: list[tuple[str, str]], value: list[tuple[str, str]], depth: int = 0
    ) -> Iterator[NDArray[Any]]:
        self._require(depth < _MAX_DEPTH)
        is_leaf, _, count = self._unpack("BBH", offset)
        if is_leaf:
            yield from self._rows(key + value, count, offset + 4)
            return
        for record in self._rows([*key, ("child", "u8")], count, offset + 4):
            self._require(int(record["child"]) > offset)
            yield from self._leaves(int(record["child"]), key, value, depth + 1)

    def _blocks(self, region: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
        """Where blocks lie that may overlap a region (number of the contig, start, end), and their sizes."""
        yield from self._blocks_below(self._index + 48, region, 0)

    def _blocks_below(
        self, offset: int, region: tuple[int, int, int], depth: int
    ) -> Iterator[tuple[int, int]]:
        self._require(depth < _MAX_DEPTH)
        is_leaf, _, count = self._unpack("BBH", offset)
        bounds = [("c0", "u4"), ("b0", "u4"), ("c1", "u4"), ("b1", "u4"), ("at", "u8")]
        rows = self._rows(bounds + ([("size", "u8")] if is_leaf else []), count, offset + 4)
        contig, start, end = region
        before = (rows["c1"] < contig) | ((rows["c1"] == contig) & (rows["b1"] <= start))
        after = (rows["c0"] > contig) | ((rows["c0"] == contig) & (rows["b0"] >= end))
        for row in rows[~before & ~after]:
            if is_leaf:
                yield int(row["at"]), int(row["size"])
            else:
                self._require(int(row["at"]) > offset)
                yield from self._blocks_below(int(row["at"]), region, depth + 1)

    def _block(self, offset: int, size: int) -> tuple[int, Positions, Positions, Values]:
        """The number of a block's contig, and its intervals."""
        self._require(size > 0 and offset + size <= len(self._data))
        data = self._data[offset : offset + size]
        if self._compressed:
            decompressor = zlib.decompressobj()
            data = decompressor.decompress(data, _MAX_BLOCK_BYTES)
            self._require(decompressor.eof)
        number, start, _, step, span, kind, _, count = struct.unpack_from(
            self._order + "IIIIIBBH", data
        )
        columns = {_BEDGRAPH: 3, _VARIABLE: 2, _FIXED: 1}.get(kind, 0)
        self._require(columns > 0 and len(data) >= 24 + 4 * columns * count)
        words = np.frombuffer(data, self._order + "u4", columns * count, 24).reshape(count, columns)
        values_I: Values = words[:, -1].view(self._order + "f4").astype(np.float32)
        fixed_I = start + np.arange(count, dtype=np.int64) * step
        starts_I = fixed_I if kind == _FIXED else words[:, 0].astype(np.int64)
        ends_I = words[:, 1].astype(np.int64) if kind == _BEDGRAPH else starts_I + span
        return number, starts_I, ends_I, values_I


def fill_intervals(
    out_LN: NDArray[np.float32],
    starts_I: Positions,
    ends_I: Positions,
    values_I: Values,
    columns_I: NDArray[np.int32] | None = None,
) -> None:
    """Write the intervals' values into those of the bases, cut at both ends; later intervals over earlier ones.

    `columns_I` says into which track each goes, by default the first.
    """
    starts_I, ends_I = np.maximum(starts_I, 0), np.minimum(ends_I, len(out_LN))
    nonempty = ends_I > starts_I
    starts_I, lengths_I = starts_I[nonempty], (ends_I - starts_I)[nonempty]
    offsets = np.arange(int(lengths_I.sum())) - np.repeat(
        np.cumsum(lengths_I) - lengths_I, lengths_I
    )
    columns = 0 if columns_I is None else np.repeat(columns_I[nonempty], lengths_I)
    out_LN[np.repeat(starts_I, lengths_I) + offsets, columns] = np.repeat(
        values_I[nonempty], lengths_I
    )


class BigWigWriter:
    """A new bigWig over the contigs, whose intervals come in their order; UsageError without pyBigWig."""

    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        library = optional_library("pyBigWig", "writing bigWig", "tracks", "or write bedGraph")
        self._file = library.open(str(path), "w")
        self._file.addHeader(list(lengths.items()))

    def add(self, contig: str, starts_I: Positions, ends_I: Positions, values_I: Values) -> None:
        """The next intervals, of one contig."""
        if len(starts_I):
            self._file.addEntries(
                [contig] * len(starts_I),
                starts_I.tolist(),
                ends=ends_I.tolist(),
                values=values_I.astype(np.float64).tolist(),
            )

    def close(self) -> None:
        """Write the index."""
        self._file.close()
