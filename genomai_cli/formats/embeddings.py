"""Embeddings as HDF5 and as TSV.

HDF5, one vector a record: `/embeddings` float32 (n, E) and `/ids` UTF-8 (n). One vector a word: `/tokens` float32
(words, E), of which those of record i are `tokens[offsets[i]:offsets[i + 1]]`, `/offsets` int64 (n + 1), and `/ids`.
The root's attributes say which model made them, and how.

Shape suffixes: n records or rows, E numbers of a vector.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli import __version__
from genomai_cli.errors import InputError
from genomai_cli.formats.tables import TableWriter

FORMAT, FORMAT_VERSION = "genomai embeddings", 1
EMBEDDINGS, TOKENS, OFFSETS, IDS = "embeddings", "tokens", "offsets", "ids"
CHUNK_BYTES = 1 << 20
NAMES_AT_ONCE = 1 << 12

Rows = NDArray[np.float32]
Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Size:
    """How many records, rows and numbers in a row a file has; without `per_token` each record has one row."""

    records: int
    rows: int
    width: int
    per_token: bool


class Hdf5Writer:
    """A new HDF5 file of embeddings, of a size that is known before; rows and records are added to it in order."""

    def __init__(self, path: Path, attributes: Attributes, size: Size) -> None:
        self._file = h5py.File(path, "w")
        self._file.attrs["format"] = FORMAT
        self._file.attrs["format_version"] = FORMAT_VERSION
        self._file.attrs["program"] = f"genomai {__version__}"
        for name, value in attributes.items():
            self._file.attrs[name] = value
        self._rows = self._made(
            TOKENS if size.per_token else EMBEDDINGS, np.float32, size.rows, size.width
        )
        self._ids = self._made(IDS, h5py.string_dtype(), size.records)
        self._offsets = None
        if size.per_token:
            self._offsets = self._made(OFFSETS, np.int64, size.records + 1)
        self._filled = {"rows": 0, "records": 0, "counted": 0}

    def _made(self, name: str, kind: Any, length: int, *more: int) -> h5py.Dataset:
        """A dataset of this length that can grow."""
        chunk = min(max(1, length), max(1, CHUNK_BYTES // (8 * max((1, *more)))))
        return self._file.create_dataset(
            name, (length, *more), kind, maxshape=(None, *more), chunks=(chunk, *more)
        )

    def add_rows(self, blocks: Iterable[Rows]) -> None:
        """The next rows (n, E)."""
        for rows in blocks:
            start = self._filled["rows"]
            self._rows[start : start + len(rows)] = rows
            self._filled["rows"] += len(rows)

    def add_records(self, records: Iterable[tuple[str, int]]) -> None:
        """The next records: each one's name, and how many rows it has."""
        held: list[tuple[str, int]] = []
        for record in records:
            held.append(record)
            if len(held) == NAMES_AT_ONCE:
                self._add(held)
                held = []
        if held:
            self._add(held)

    def _add(self, records: list[tuple[str, int]]) -> None:
        start = self._filled["records"]
        end = start + len(records)
        self._ids[start:end] = np.array([stored_name(name) for name, _ in records], object)
        if self._offsets is not None:
            offsets = self._filled["counted"] + np.cumsum([count for _, count in records])
            self._offsets[start + 1 : end + 1] = offsets
            self._filled["counted"] = int(offsets[-1])
        self._filled["records"] = end

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class Hdf5Reader:
    """An HDF5 file of embeddings; InputError if it is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError("cannot be read as HDF5", path=path) from error
        if self._file.attrs.get("format") != FORMAT or IDS not in self._file:
            self._file.close()
            raise InputError("HDF5, but not of embeddings that genomai wrote", path=path)
        self._rows = self._file[TOKENS if TOKENS in self._file else EMBEDDINGS]
        rows, width = self._rows.shape
        self.size = Size(len(self._file[IDS]), rows, width, TOKENS in self._file)

    @property
    def attributes(self) -> dict[str, str | int]:
        """What the embeddings depend on."""
        own = ("format", "format_version", "program")
        found = {name: value for name, value in self._file.attrs.items() if name not in own}
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in found.items()}

    def records(self) -> Iterator[tuple[str, int]]:
        """Every record's name, and how many rows it has."""
        ids = self._file[IDS].asstr()
        for start in range(0, self.size.records, NAMES_AT_ONCE):
            names = ids[start : start + NAMES_AT_ONCE]
            counts = [1] * len(names)
            if self.size.per_token:
                counts = np.diff(self._file[OFFSETS][start : start + len(names) + 1]).tolist()
            yield from zip(names, counts, strict=True)

    def blocks(self) -> Iterator[Rows]:
        """The rows, some megabytes at a time."""
        some = max(1, 16 * CHUNK_BYTES // (4 * self.size.width))
        for start in range(0, self.size.rows, some):
            yield self._rows[start : start + some]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def stored_name(name: str) -> str:
    """The name as HDF5 holds it: bytes that are no UTF-8 are replaced, NUL is left out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")


def write_tsv(
    out: IO[bytes],
    found: Iterable[tuple[str, Rows, bool]],
    width: int,
    *,
    per_token: bool = False,
) -> None:
    """A header, and a line a vector: id, with `per_token` the number of the word, from 0, and e1 to eE.

    `found` are names with some of the record's rows (n, E), and whether they are its last. Numbers are written with
    seven significant digits, which float32 has.
    """
    text = io.TextIOWrapper(out, "utf-8", "surrogateescape", newline="\n", write_through=True)
    numbers = [f"e{number}" for number in range(1, width + 1)]
    table = TableWriter(text, ["id", *(["token"] if per_token else []), *numbers])
    word = 0
    for name, rows, last in found:
        for row in rows.tolist():
            table.write([name, *([word] if per_token else []), *(f"{x:.7g}" for x in row)])
            word += 1
        word = 0 if last else word
    text.detach()
