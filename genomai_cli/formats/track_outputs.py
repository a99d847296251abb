"""Values of tracks along regions, written as bigWig or bedGraph (a file a track), HDF5, or means of regions.

Regions come in the order of the reference's contigs, and those of bigWig and bedGraph do not overlap. What is missing
(NaN) has no line there. Next bins of one value are one interval. A folder of bigWig or bedGraph has a `tracks.tsv` that
can be given as `--tracks` again.

Shape suffixes: R bins, T tracks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.bigwig import BigWigWriter, Values
from genomai_cli.formats.outputs import atomic_folder, atomic_output, text_over
from genomai_cli.formats.spooled_hdf5 import describe, spooled_hdf5
from genomai_cli.formats.tables import TableWriter
from genomai_cli.formats.track_table import DESCRIBED, Track
from genomai_cli.names import printable

BIGWIG, BEDGRAPH, HDF5, TSV = "bigwig", "bedgraph", "hdf5", "tsv"
ENDINGS = {BIGWIG: ".bw", BEDGRAPH: ".bedGraph"}
TABLE = "tracks.tsv"
FORMAT_VERSION = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, eq=False)
class Stretch:
    """The values (R, T) of bins of `resolution` bases from `start` of a contig on, up to `end`, where the last bin may
    be cut; `last` says that a region ends with them."""

    contig: str
    start: int
    end: int
    resolution: int
    values_RT: Values
    region: str = ""
    last: bool = True

    def only(self, columns: Sequence[int]) -> "Stretch":
        """The same with some of the tracks."""
        return replace(self, values_RT=self.values_RT[:, list(columns)])


class TrackOutput(Protocol):
    """A file or folder that stretches are added to, in order."""

    def add(self, stretch: Stretch) -> None:
        """The next stretch."""


@contextmanager
def track_output(
    path: Path,
    form: str,
    tracks: Sequence[Track],
    lengths: Mapping[str, int],
    about: Mapping[str, str | int],
) -> Iterator[TrackOutput]:
    """An output of that form, which appears when the block ends well: `lengths` are those of the reference's contigs,
    `about` is said in HDF5's attributes."""
    if form in ENDINGS:
        if path.exists() and not (path / TABLE).is_file():
            raise UsageError(f"{path} exists and is no folder of tracks: it would not be replaced")
        with atomic_folder(path) as folder, ExitStack() as stack:
            yield _Folder(folder, form, tracks, lengths, stack)
        return
    with atomic_output(path) as out:
        if form == TSV:
            text = text_over(out)
            yield _RegionMeans(
                TableWriter(text, ["region", "contig", "start", "end", *_names(tracks)])
            )
            text.flush()
            text.detach()
            return
        with spooled_hdf5(out) as file:
            values = _Hdf5(file, tracks, about)
            yield values
            values.close()


def file_names(tracks: Sequence[Track], ending: str) -> list[str]:
    """A name of a file for each track, made of its letters, digits and `.+-`; numbered where two would be the same."""
    found: dict[str, str] = {}
    for track in tracks:
        stem = _UNSAFE.sub("_", track.name).strip("._") or "track"
        name, number = f"{stem}{ending}", 2
        while name.lower() in found:
            name, number = f"{stem}_{number}{ending}", number + 1
        found[name.lower()] = name
    return list(found.values())


def intervals(stretch: Stretch, column: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
    """Starts, ends and values of a track's known bins; next ones of one value are one."""
    values_R = stretch.values_RT[:, column]
    starts = stretch.start + np.arange(len(values_R)) * stretch.resolution
    ends = np.minimum(starts + stretch.resolution, stretch.end)
    known = ~np.isnan(values_R)
    begins = known.copy()
    begins[1:] &= ~(known[:-1] & (values_R[1:] == values_R[:-1]))
    last = known.copy()
    last[:-1] &= ~known[1:] | begins[1:]
    return starts[begins], ends[last], values_R[begins]


def _names(tracks: Sequence[Track]) -> list[str]:
    return [printable(track.name) for track in tracks]


class _Folder:
    """A bigWig or bedGraph a track, and the table that names them."""

    def __init__(
        self,
        folder: Path,
        form: str,
        tracks: Sequence[Track],
        lengths: Mapping[str, int],
        stack: ExitStack,
    ) -> None:
        names = file_names(tracks, ENDINGS[form])
        with (folder / TABLE).open("w", encoding="utf-8") as file:
            writer = TableWriter(file, ["name", "file", *DESCRIBED])
            for track, name in zip(tracks, names, strict=True):
                told = [getattr(track, column) or "." for column in DESCRIBED]
                writer.write([track.name, name, *told])
        kind = BigWigWriter if form == BIGWIG else _BedGraph
        self._files = [kind(folder / name, lengths) for name in names]
        for track_file in self._files:
            stack.callback(track_file.close)
        self._at: tuple[int, int] = (-1, 0)
        self._order = {name: number for number, name in enumerate(lengths)}

    def add(self, stretch: Stretch) -> None:
        """See `TrackOutput`; UsageError for a stretch that comes before the end of another."""
        place = (self._order[stretch.contig], stretch.start)
        if place < self._at:
            raise UsageError(
                f"{stretch.contig}:{stretch.start}-{stretch.end} overlaps a region or comes before one: "
                "bigWig and bedGraph need regions in the reference's order"
            )
        self._at = (place[0], stretch.end)
        for column, file in enumerate(self._files):
            file.add(stretch.contig, *intervals(stretch, column))


class _BedGraph:
    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        del lengths
        self._file: IO[str] = path.open("w", encoding="utf-8")

    def add(self, contig: str, begins_I: Any, ends_I: Any, values_I: Any) -> None:
        rows = zip(begins_I.tolist(), ends_I.tolist(), values_I, strict=True)
        self._file.writelines(
            f"{contig}\t{begin}\t{end}\t{value!s}\n" for begin, end, value in rows
        )

    def close(self) -> None:
        self._file.close()


class _RegionMeans:
    """A row a region: the mean of each track over the known bases of its bins, `.` where none is."""

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer
        self._parts: list[Stretch] = []

    def add(self, stretch: Stretch) -> None:
        """See `TrackOutput`."""
        self._parts.append(stretch)
        if not stretch.last:
            return
        total = sum(weighed(part) for part in self._parts)
        count_T, sum_T = np.asarray(total)
        means = [f"{s / n:.6g}" if n else "." for n, s in zip(count_T, sum_T, strict=True)]
        first = self._parts[0]
        self._writer.write([first.region, first.contig, first.start, stretch.end, *means])
        self._parts = []


def weighed(stretch: Stretch) -> NDArray[np.float64]:
    """How many bases (T,) are known, and the sum (T,) of their values."""
    starts = stretch.start + np.arange(len(stretch.values_RT)) * stretch.resolution
    bases_R = np.minimum(starts + stretch.resolution, stretch.end) - starts
    known_RT = ~np.isnan(stretch.values_RT)
    sums_T = bases_R @ np.where(known_RT, stretch.values_RT, 0).astype(np.float64)
    return np.stack([bases_R @ known_RT, sums_T])


class _Hdf5:
    """`/values` (R, T) of all regions end to end; `/regions/{name,contig,start,end,offset}`; `/tracks/{name,...}`."""

    def __init__(
        self, file: h5py.File, tracks: Sequence[Track], about: Mapping[str, str | int]
    ) -> None:
        describe(file, "genomai tracks", FORMAT_VERSION, about)
        text = h5py.string_dtype()
        file.create_dataset("tracks/name", data=_names(tracks), dtype=text)
        for column in DESCRIBED:
            told = [printable(getattr(track, column)) for track in tracks]
            file.create_dataset(f"tracks/{column}", data=told, dtype=text)
        shape, count = (0, len(tracks)), len(tracks)
        chunks = (max(1, (1 << 16) // count), count)
        self._file = file
        self._values = file.create_dataset(
            "values", shape, "f4", maxshape=(None, count), chunks=chunks
        )
        self._rows: list[tuple[str, str, int, int, int, int]] = []
        self._open: tuple[int, int] | None = None

    def add(self, stretch: Stretch) -> None:
        """See `TrackOutput`."""
        before = len(self._values)
        begin, offset = self._open or (stretch.start, before)
        self._values.resize(before + len(stretch.values_RT), axis=0)
        self._values[before:] = stretch.values_RT
        self._open = None if stretch.last else (begin, offset)
        if stretch.last:
            names = printable(stretch.region), printable(stretch.contig)
            self._rows.append((*names, begin, stretch.end, offset, stretch.resolution))

    def close(self) -> None:
        """Write where the regions lie."""
        names, contigs, *numbers = zip(*self._rows, strict=True) if self._rows else [()] * 6
        for name, texts in (("name", names), ("contig", contigs)):
            self._file.create_dataset(
                f"regions/{name}", data=list(texts), dtype=h5py.string_dtype()
            )
        for name, column in zip(("start", "end", "offset", "resolution"), numbers, strict=True):
            self._file.create_dataset(f"regions/{name}", data=np.array(column, np.int64))
