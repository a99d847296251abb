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
class Pairs:
    """Values (N, M) of pairs of a contig's bins, by their numbers on it, the smaller `first`."""

    contig: str
    first: Numbers
    second: Numbers
    values: Values


class ContactMaps:
    """The pairs of a model along a reference, gathered; each counts once, however many regions it is in."""

    def __init__(self, maps: Sequence[Track], lengths: Mapping[str, int], size: int) -> None:
        self.maps, self.lengths, self.size = maps, lengths, size
        counts = [-(-length // size) for length in lengths.values()]
        self._begins = dict(zip(lengths, np.cumsum([0, *counts]).tolist(), strict=False))
        self._parts: list[tuple[Numbers, Numbers, Values]] = []

    def of(self, pairs: Iterable[Pairs]) -> None:
        """Take in these."""
        for part in pairs:
            begin = self._begins[part.contig]
            self._parts.append((part.first + begin, part.second + begin, part.values))

    def write(self, out: IO[bytes], form: str, about: Mapping[str, str | int]) -> None:
        """Write all as the form, `.cool` or HDF5, has it; UsageError without cooler."""
        if form == COOL:
            self._write_cool(out)
        else:
            self._write_hdf5(out, about)

    def _sorted(self) -> tuple[Numbers, Numbers, Values]:
        """The pairs in the order of their bins."""
        if not self._parts:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, np.empty((0, len(self.maps)), np.float32)
        first, second, values = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        kept = np.unique(np.stack([first, second]), axis=1, return_index=True)[1]
        return first[kept], second[kept], values[kept]

    def _bins(self) -> tuple[list[str], Numbers, Numbers]:
        """The contig, first base and end of every bin."""
        contigs, starts, ends = [], [], []
        for name, length in self.lengths.items():
            own = np.arange(0, length, self.size)
            contigs += [name] * len(own)
            starts.append(own)
            ends.append(np.minimum(own + self.size, length))
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
            with file.open("rb") as made:
                copyfileobj(made, out, 1 << 20)

    def _write_hdf5(self, out: IO[bytes], about: Mapping[str, str | int]) -> None:
        contigs, starts, ends = self._bins()
        first, second, values = self._sorted()
        text = h5py.string_dtype()
        with spooled_hdf5(out) as file:
            describe(file, "genomai contacts", FORMAT_VERSION, about)
            names = [printable(track.name) for track in self.maps]
            file.create_dataset("maps/name", data=names, dtype=text)
            file.create_dataset("bins/contig", data=[printable(c) for c in contigs], dtype=text)
            for name, numbers in (("bins/start", starts), ("bins/end", ends)):
                file.create_dataset(name, data=numbers)
            for name, numbers in (("pairs/first", first), ("pairs/second", second)):
                file.create_dataset(name, data=numbers)
            file.create_dataset("values", data=values)
