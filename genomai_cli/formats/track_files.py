"""The values of track files at the bases of a region: bigWig, bedGraph, BED and narrowPeak.

bigWig is read from disk by region. Intervals of text files are held in memory, 16 bytes each; never the values of a
chromosome. What a file does not cover is missing (NaN) in bigWig and bedGraph, and zero on the contigs that a BED or
narrowPeak file of peaks names: a contig without any line was perhaps never looked at, and is missing. A line of peaks
is worth its score / 1000, at most 1, and 1 where there is no score; where peaks overlap, the largest counts.

Shape suffixes: L bases, N tracks of a file, I intervals.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.bigwig import BigWig, Values, fill_intervals, is_bigwig
from genomai_cli.formats.streams import open_bytes, text_of
from genomai_cli.formats.track_table import MISSING, SKIPPED_LINES, ZERO

MAX_SCORE = 1000.0
TEXT_FORMATS = (".bedgraph", ".bg", ".bed", ".narrowpeak")


class TrackFile(Protocol):
    """A file with the values of one or several tracks."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def contigs(self) -> Mapping[str, int]:
        """The contigs, each with its length or, of a file that tells none, the last end of its lines."""

    @property
    def has_lengths(self) -> bool:
        """Whether those are the contigs' lengths."""

    def values(self, contig: str, start: int, end: int) -> Values:
        """The values (L, N) of the bases from `start` (from 0) to before `end`; NaN where missing."""


def open_track_file(path: Path, names: Sequence[str] | None, absent: str = "") -> TrackFile:
    """The file's tracks: one, or with `names` those whose names its fourth column has; `absent` as in a track table.

    Raises InputError for a file that is none of these, and for a damaged one.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if is_bigwig(head):
        if names is not None:
            raise InputError("a bigWig holds one track, and several are to be in it", path=path)
        return BigWigTrack(BigWig(path), absent == ZERO)
    ending = Path(path.name.removesuffix(".gz").removesuffix(".bgz")).suffix.lower()
    if ending not in TEXT_FORMATS:
        message = "no bigWig; text is bedGraph, BED or narrowPeak by its name (.bedgraph, .bg, .bed, .narrowPeak)"
        raise InputError(message, path=path)
    return Intervals.read(path, names, absent, peaks=ending in (".bed", ".narrowpeak"))


@dataclass(frozen=True, eq=False)
class BigWigTrack:
    """A bigWig; with `zero` the bases that it does not cover are that."""

    file: BigWig
    zero: bool = False
    has_lengths = True

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def contigs(self) -> Mapping[str, int]:
        """See `TrackFile`."""
        return self.file.contigs

    def values(self, contig: str, start: int, end: int) -> Values:
        """See `TrackFile`."""
        found_L = self.file.values(contig, start, end)
        return (np.nan_to_num(found_L, nan=0.0) if self.zero else found_L)[:, None]


@dataclass(frozen=True, eq=False)
class ContigIntervals:
    """Intervals of a contig by their start, the length of the `longest`, and how far any line reaches."""

    starts_I: NDArray[np.int32]
    ends_I: NDArray[np.int32]
    tracks_I: NDArray[np.int32]
    values_I: Values
    longest: int
    reach: int

    def fill(self, out_LN: Values, start: int) -> None:
        """Write the intervals' values into those of the bases from `start` on; of several the largest stays."""
        end = start + len(out_LN)
        first = np.searchsorted(self.starts_I, start - self.longest, side="left")
        last = np.searchsorted(self.starts_I, end, side="left")
        overlapping = slice(first, last)
        order = np.argsort(self.values_I[overlapping], kind="stable")
        starts, ends = (
            part[overlapping][order].astype(np.int64) - start
            for part in (self.starts_I, self.ends_I)
        )
        fill_intervals(
            out_LN,
            starts,
            ends,
            self.values_I[overlapping][order],
            self.tracks_I[overlapping][order],
        )


@dataclass(frozen=True, eq=False)
class Intervals:
    """The intervals of a text file; `outside` is what the other bases of its contigs have, `unnamed` those of contigs
    that it does not name."""

    path: Path
    by_contig: Mapping[str, ContigIntervals]
    columns: int
    outside: float
    unnamed: float
    has_lengths = False

    @classmethod
    def read(
        cls, path: Path, names: Sequence[str] | None, absent: str, *, peaks: bool
    ) -> "Intervals":
        """Those of BED or narrowPeak (`peaks`), or of bedGraph; InputError at the first bad line."""
        reader = _LineReader(
            path, None if names is None else {n: i for i, n in enumerate(names)}, peaks
        )
        zero = absent == ZERO or (peaks and absent != MISSING)
        by_contig = reader.by_contig()
        unnamed = 0.0 if absent == ZERO else np.nan
        return cls(path, by_contig, len(names or [""]), 0.0 if zero else np.nan, unnamed)

    @property
    def contigs(self) -> Mapping[str, int]:
        """See `TrackFile`."""
        return {name: intervals.reach for name, intervals in self.by_contig.items()}

    def values(self, contig: str, start: int, end: int) -> Values:
        """See `TrackFile`."""
        intervals = self.by_contig.get(contig)
        empty = self.unnamed if intervals is None else self.outside
        found_LN: Values = np.full((end - start, self.columns), empty, np.float32)
        if intervals is not None:
            intervals.fill(found_LN, start)
        return found_LN


class _LineReader:
    """Reads the lines of a text file."""

    def __init__(self, path: Path, columns: Mapping[str, int] | None, peaks: bool) -> None:
        self._path, self._columns, self._peaks = path, columns, peaks
        self._by_contig: dict[str, _IntervalColumns] = {}

    def by_contig(self) -> dict[str, ContigIntervals]:
        """The intervals of each contig; those that only lines of other tracks name have none."""
        with open_bytes(self._path) as stream:
            for line, raw in enumerate(stream, start=1):
                text = text_of(raw).rstrip("\r\n")
                if text.strip() and not text.startswith(SKIPPED_LINES):
                    self._add_line(text.split("\t") if "\t" in text else text.split(), line)
        if not self._by_contig:
            raise InputError("no interval", path=self._path)
        return {contig: self._ordered(rows) for contig, rows in self._by_contig.items()}

    def _add_line(self, fields: list[str], line: int) -> None:
        if len(fields) < 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise self._error("a line needs a contig, a start and an end", line)
        start, end = int(fields[1]), int(fields[2])
        if not start < end < 1 << 31:
            raise self._error(f"no interval: {start} to {end}", line)
        value = self._score(fields, line) if self._peaks else self._number(fields, 3, line)
        intervals = self._by_contig.setdefault(fields[0], _IntervalColumns())
        intervals.reach = max(intervals.reach, end)
        column: int | None = 0
        if self._columns is not None:
            column = self._columns.get(fields[3].strip() if len(fields) > 3 else "")
        if column is not None:
            intervals.add(start, end, column, line, value)

    def _score(self, fields: list[str], line: int) -> float:
        if len(fields) < 5 or fields[4].strip() == ".":
            return 1.0
        score = self._number(fields, 4, line)
        if score < 0:
            raise self._error(f"a score below 0: {fields[4]}", line)
        return min(1.0, score / MAX_SCORE)

    def _number(self, fields: list[str], column: int, line: int) -> float:
        try:
            value = float(fields[column])
        except (IndexError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise self._error(f"no number in column {column + 1}", line)
        return value

    def _ordered(self, rows: "_IntervalColumns") -> ContigIntervals:
        starts, ends, columns, lines = (np.array(part, np.int32) for part in rows.integers)
        order = np.argsort(starts, kind="stable")
        starts, ends, lines = starts[order], ends[order], lines[order]
        overlaps = np.flatnonzero(starts[1:] < ends[:-1])
        if not self._peaks and len(overlaps):
            first, second = sorted(lines[overlaps[0] : overlaps[0] + 2].tolist())
            message = f"overlaps line {first}: a base of a bedGraph has one value"
            raise self._error(message, second)
        values = np.array(rows.values, np.float32)[order]
        longest = int((ends - starts).max(initial=0))
        return ContigIntervals(starts, ends, columns[order], values, longest, rows.reach)

    def _error(self, message: str, line: int) -> InputError:
        return InputError(message, path=self._path, line=line)


class _IntervalColumns:
    """Starts, ends, columns and lines of intervals in file order, their values, and how far any line reaches."""

    def __init__(self) -> None:
        self.integers = tuple(array("i") for _ in range(4))
        self.values = array("f")
        self.reach = 0

    def add(self, start: int, end: int, column: int, line: int, value: float) -> None:
        """Append an interval."""
        for numbers, number in zip(self.integers, (start, end, column, line), strict=True):
            numbers.append(number)
        self.values.append(value)
