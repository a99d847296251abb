"""Contact maps as files: `.cool` by the library cooler, or HDF5.

A `.cool` holds the pairs of one map, over all bins of the reference, with the values as `count`; of several maps each
is a group, `FILE::/NAME`. HDF5 has `/bins/{contig,start,end}`, `/pairs/{first,second}` (numbers of bins), `/values`
(N, M) and `/maps/name`.

Shape suffixes: N pairs, M maps.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import IO

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.libraries import optional_library
from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.formats.track_table import Track
from genomai_cli.names import printable

COOL = ".cool"
FORMAT_VERSION = 1
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ContactPairs:
    """Values (N, M) of pairs of a contig's bins, by their numbers on it, the smaller `first`."""

    contig: str
    first: Numbers
    second: Numbers
    values: Values


class ContactMaps:
    """The pairs of a model along a reference; each counts once, however many regions it is in."""

    def __init__(self, maps: Sequence[Track], lengths: Mapping[str, int], size: int) -> None:
        self.maps, self.lengths, self.size = maps, lengths, size
        counts = [-(-length // size) for length in lengths.values()]
        self._begins = dict(zip(lengths, np.cumsum([0, *counts]).tolist(), strict=False))
        self._parts: list[tuple[Numbers, Numbers, Values]] = []

    def add(self, parts: Iterable[ContactPairs]) -> None:
        """Add the values of pairs of bins."""
        for pairs in parts:
            begin = self._begins[pairs.contig]
            self._parts.append((pairs.first + begin, pairs.second + begin, pairs.values))

    def write(self, out: IO[bytes], file_format: str, attributes: Mapping[str, str | int]) -> None:
        """Write all pairs in the format, `.cool` or HDF5; UsageError without cooler."""
        if file_format == COOL:
            self._write_cool(out)
        else:
            self._write_hdf5(out, attributes)

    def _sorted(self) -> tuple[Numbers, Numbers, Values]:
        """The pairs in the order of their bins."""
        if not self._parts:
            empty = np.empty(0, np.int64)
            return empty, empty, np.empty((0, len(self.maps)), np.float32)
        first, second, values = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        unique = np.unique(np.stack([first, second]), axis=1, return_index=True)[1]
        return first[unique], second[unique], values[unique]

    def _bins(self) -> tuple[list[str], Numbers, Numbers]:
        """The contig, first base and end of every bin."""
        contigs, starts, ends = [], [], []
        for name, length in self.lengths.items():
            contig_starts = np.arange(0, length, self.size)
            contigs += [name] * len(contig_starts)
            starts.append(contig_starts)
            ends.append(np.minimum(contig_starts + self.size, length))
        return contigs, np.concatenate(starts), np.concatenate(ends)

    def _write_cool(self, out: IO[bytes]) -> None:
        cooler = optional_library("cooler", "writing .cool", "contacts", "or name it .h5")
        pandas = optional_library("pandas", "writing .cool", "contacts", "or name it .h5")
        contigs, starts, ends = self._bins()
        bins = pandas.DataFrame({"chrom": contigs, "start": starts, "end": ends})
        first, second, values = self._sorted()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "maps.cool"
            for number, track in enumerate(self.maps):
                group = (
                    "" if len(self.maps) == 1 else f"::/{printable(track.name).replace('/', '_')}"
                )
                counts = values[:, number].astype(np.float64)
                pixels = {"bin1_id": first, "bin2_id": second, "count": counts}
                frame, types = pandas.DataFrame(pixels), {"count": np.float64}
                mode = {"mode": "a"} if number else {}
                cooler.create_cooler(
                    f"{file}{group}", bins, frame, dtypes=types, ordered=True, **mode
                )
            with file.open("rb") as stream:
                copyfileobj(stream, out, 1 << 20)

    def _write_hdf5(self, out: IO[bytes], attributes: Mapping[str, str | int]) -> None:
        contigs, starts, ends = self._bins()
        first, second, values = self._sorted()
        text = h5py.string_dtype()
        with spooled_hdf5(out) as file:
            describe(file, "genomai contacts", FORMAT_VERSION, attributes)
            names = [printable(track.name) for track in self.maps]
            file.create_dataset("maps/name", data=names, dtype=text)
            file.create_dataset("bins/contig", data=[printable(c) for c in contigs], dtype=text)
            for name, numbers in (("bins/start", starts), ("bins/end", ends)):
                file.create_dataset(name, data=numbers)
            for name, numbers in (("pairs/first", first), ("pairs/second", second)):
                file.create_dataset(name, data=numbers)
            file.create_dataset("values", data=values)
