"""A number for each base of sequences, as bedGraph or HDF5.

bedGraph: a line a base, `name start end value`, positions from 0; what has no value has no line. HDF5: `/values`
float32 of all sequences end to end, NaN where there is none, of which those of record i are
`values[offsets[i]:offsets[i + 1]]`, and `/ids`; the root's attributes say what the values are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.outputs import atomic_output
from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.names import escaped, printable

BEDGRAPH, HDF5 = (".bedgraph", ".bg"), (".h5", ".hdf5")
FORMAT_VERSION = 1
_CHUNK = 1 << 16  # values


class BaseTrack(Protocol):
    """A file of values, to which they are added in order."""

    def add(self, name: str, values: NDArray[np.float64], *, last: bool) -> None:
        """The next values (n,) of the record at hand, which ends with them if they are the `last`."""


@contextmanager
def base_track(path: Path, attributes: Mapping[str, str | int]) -> Iterator[BaseTrack]:
    """A file that appears when the block ends well: bedGraph or HDF5 by its name; UsageError for another name."""
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in (*BEDGRAPH, *HDF5):
        raise UsageError(f"{path}: name it .bedgraph (or .bg, also with .gz) or .h5")
    with atomic_output(path) as out:
        if ending in BEDGRAPH:
            yield BedGraph(out)
            return
        with spooled_hdf5(out) as file:
            track = _Hdf5(file, attributes)
            yield track
            track.close()


class BedGraph:
    """A line a base that has a value, to a stream."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._start = out, 0

    def add(self, name: str, values: NDArray[np.float64], *, last: bool, first: int = 0) -> None:
        """See `BaseTrack`; `first` is the position of a record's first base."""
        start = first + self._start
        lines = [
            f"{escaped(name)}\t{start + offset}\t{start + offset + 1}\t{values[offset]:.6f}\n"
            for offset in np.flatnonzero(~np.isnan(values)).tolist()
        ]
        self._out.write("".join(lines).encode("utf-8", "surrogateescape"))
        self._start = 0 if last else self._start + len(values)


class _Hdf5:
    def __init__(self, file: h5py.File, attributes: Mapping[str, str | int]) -> None:
        describe(file, "genomai values of bases", FORMAT_VERSION, attributes)
        self._file, self._names, self._offsets = file, list[str](), [0]
        self._values = file.create_dataset("values", (0,), "f4", maxshape=(None,), chunks=(_CHUNK,))

    def add(self, name: str, values: NDArray[np.float64], *, last: bool) -> None:
        length = len(self._values)
        self._values.resize(length + len(values), axis=0)
        self._values[length:] = values
        if last:
            self._names.append(printable(name))
            self._offsets.append(len(self._values))

    def close(self) -> None:
        """Write the names and where the records' values lie."""
        self._file.create_dataset("ids", data=self._names, dtype=h5py.string_dtype())
        self._file.create_dataset("offsets", data=np.array(self._offsets, np.int64))
