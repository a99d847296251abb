"""Values of tracks along regions, written as bigWig or bedGraph (a file a track), HDF5, or means of regions.

Regions come in the order of the reference's contigs, and those of bigWig and bedGraph do not overlap. What is missing
(NaN) has no line there. Next bins of one value are one interval. A folder of bigWig or bedGraph has a `tracks.tsv` that
can be given as `--tracks` again.

Shape suffixes: R bins, T tracks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
from genomai_cli.formats.track_table import DESCRIPTION_COLUMNS, Track
from genomai_cli.names import printable

BIGWIG, BEDGRAPH, HDF5, TSV = "bigwig", "bedgraph", "hdf5", "tsv"
ENDINGS = {BIGWIG: ".bw", BEDGRAPH: ".bedGraph"}
TABLE = "tracks.tsv"
FORMAT_VERSION = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")


@dataclass(frozen=True, eq=False)
class TrackSegment:
    """The values (R, T) of bins of `resolution` bases from `start` of a contig on, up to `end`, where the last bin may
    be cut; `last` for the end of a region."""

    contig: str
    start: int
    end: int
    resolution: int
    values_RT: Values
    region: str = ""
    last: bool = True


class TrackOutput(Protocol):
    """A file or folder that segments are added to, in order."""

    def add(self, segment: TrackSegment) -> None:
        """The next segment."""


@contextmanager
def track_output(
    path: Path,
    file_format: str,
    tracks: Sequence[Track],
    lengths: Mapping[str, int],
    attributes: Mapping[str, str | int],
) -> Iterator[TrackOutput]:
    """An output of that form, which appears when the block ends well: `lengths` are those of the reference's contigs,
    `attributes` are written into HDF5's."""
    if file_format in ENDINGS:
        if path.exists() and not (path / TABLE).is_file():
            raise UsageError(f"{path} exists and is no folder of tracks: it would not be replaced")
        with atomic_folder(path) as folder, ExitStack() as stack:
            yield _Folder(folder, file_format, tracks, lengths, stack)
        return
    with atomic_output(path) as out:
        if file_format == TSV:
            text = text_over(out)
            yield _RegionMeans(
                TableWriter(text, ["region", "contig", "start", "end", *_names(tracks)])
            )
            text.flush()
            text.detach()
            return
        with spooled_hdf5(out) as file:
            values = _Hdf5(file, tracks, attributes)
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


def intervals(
    segment: TrackSegment, column: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
    """Starts, ends and values of a track's known bins; next ones of one value are one."""
    values_R = segment.values_RT[:, column]
    starts = segment.start + np.arange(len(values_R)) * segment.resolution
    ends = np.minimum(starts + segment.resolution, segment.end)
    has_value = ~np.isnan(values_R)
    is_start = has_value.copy()
    is_start[1:] &= ~(has_value[:-1] & (values_R[1:] == values_R[:-1]))
    is_end = has_value.copy()
    is_end[:-1] &= ~has_value[1:] | is_start[1:]
    return starts[is_start], ends[is_end], values_R[is_start]


def _names(tracks: Sequence[Track]) -> list[str]:
    return [printable(track.name) for track in tracks]


class _Folder:
    """A bigWig or bedGraph a track, and the table that names them."""

    def __init__(
        self,
        folder: Path,
        file_format: str,
        tracks: Sequence[Track],
        lengths: Mapping[str, int],
        stack: ExitStack,
    ) -> None:
        names = file_names(tracks, ENDINGS[file_format])
        with (folder / TABLE).open("w", encoding="utf-8") as file:
            writer = TableWriter(file, ["name", "file", *DESCRIPTION_COLUMNS])
            for track, name in zip(tracks, names, strict=True):
                description = [getattr(track, column) or "." for column in DESCRIPTION_COLUMNS]
                writer.write([track.name, name, *description])
        kind = BigWigWriter if file_format == BIGWIG else _BedGraph
        self._files = [kind(folder / name, lengths) for name in names]
        for track_file in self._files:
            stack.callback(track_file.close)
        self._last_position: tuple[int, int] = (-1, 0)
        self._order = {name: number for number, name in enumerate(lengths)}

    def add(self, segment: TrackSegment) -> None:
        """See `TrackOutput`; UsageError for a segment that comes before the end of another."""
        position = (self._order[segment.contig], segment.start)
        if position < self._last_position:
            raise UsageError(
                f"{segment.contig}:{segment.start}-{segment.end} overlaps a region or comes before one: "
                "bigWig and bedGraph need regions in the reference's order"
            )
        self._last_position = (position[0], segment.end)
        for column, file in enumerate(self._files):
            file.add(segment.contig, *intervals(segment, column))


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
        self._parts: list[TrackSegment] = []

    def add(self, segment: TrackSegment) -> None:
        """See `TrackOutput`."""
        self._parts.append(segment)
        if not segment.last:
            return
        total = sum(base_counts_and_sums(segment_part) for segment_part in self._parts)
        count_T, sum_T = np.asarray(total)
        means = [f"{s / n:.6g}" if n else "." for n, s in zip(count_T, sum_T, strict=True)]
        first = self._parts[0]
        self._writer.write([first.region, first.contig, first.start, segment.end, *means])
        self._parts = []


def base_counts_and_sums(segment: TrackSegment) -> NDArray[np.float64]:
    """How many bases (T,) are known, and the sum (T,) of their values."""
    starts = segment.start + np.arange(len(segment.values_RT)) * segment.resolution
    bases_R = np.minimum(starts + segment.resolution, segment.end) - starts
    has_value_RT = ~np.isnan(segment.values_RT)
    sums_T = bases_R @ np.where(has_value_RT, segment.values_RT, 0).astype(np.float64)
    return np.stack([bases_R @ has_value_RT, sums_T])


class _Hdf5:
    """`/values` (R, T) of all regions end to end; `/regions/{name,contig,start,end,offset}`; `/tracks/{name,...}`."""

    def __init__(
        self, file: h5py.File, tracks: Sequence[Track], attributes: Mapping[str, str | int]
    ) -> None:
        describe(file, "genomai tracks", FORMAT_VERSION, attributes)
        text = h5py.string_dtype()
        file.create_dataset("tracks/name", data=_names(tracks), dtype=text)
        for column in DESCRIPTION_COLUMNS:
            descriptions = [printable(getattr(track, column)) for track in tracks]
            file.create_dataset(f"tracks/{column}", data=descriptions, dtype=text)
        shape, count = (0, len(tracks)), len(tracks)
        chunks = (max(1, (1 << 16) // count), count)
        self._file = file
        self._values = file.create_dataset(
            "values", shape, "f4", maxshape=(None, count), chunks=chunks
        )
        self._rows: list[tuple[str, str, int, int, int, int]] = []
        self._open: tuple[int, int] | None = None

    def add(self, segment: TrackSegment) -> None:
        """See `TrackOutput`."""
        length = len(self._values)
        begin, offset = self._open or (segment.start, length)
        self._values.resize(length + len(segment.values_RT), axis=0)
        self._values[length:] = segment.values_RT
        self._open = None if segment.last else (begin, offset)
        if segment.last:
            names = printable(segment.region), printable(segment.contig)
            self._rows.append((*names, begin, segment.end, offset, segment.resolution))

    def close(self) -> None:
        """Write where the regions lie."""
        names, contigs, *numbers = zip(*self._rows, strict=True) if self._rows else [()] * 6
        for name, texts in (("name", names), ("contig", contigs)):
            self._file.create_dataset(
                f"regions/{name}", data=list(texts), dtype=h5py.string_dtype()
            )
        for name, column in zip(("start", "end", "offset", "resolution"), numbers, strict=True):
            self._file.create_dataset(f"regions/{name}", data=np.array(column, np.int64))
