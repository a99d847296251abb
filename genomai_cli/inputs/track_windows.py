"""The values of tracks in windows of a corpus whose rows are stretches of a reference.

A row is called CONTIG:START-END (from 0, END behind the last base): its name gives its coordinates.

Shape suffixes: B windows, L letters, C tracks, P bins of a window, M contact maps, D distances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.tracks import AlignedTracks, other_strand
from genomai_cli.inputs.samples import Rows


@dataclass(frozen=True, eq=False)
class TrackWindows:
    """The tracks' values in windows of the rows of a corpus. `row_offsets` are where rows begin among all letters, and
    `row_origins` where in the reference (contig, first base); `positive_shares` are the shares of each track's known
    values that are above 0, if they were counted, and `expected` (M, D) is each map's mean contact by distance."""

    aligned: AlignedTracks
    row_offsets: Rows
    row_origins: Sequence[tuple[str, int]]
    positive_shares: Sequence[float] = ()
    expected: Values | None = None

    @classmethod
    def of(
        cls,
        aligned: AlignedTracks,
        names: Sequence[str],
        shares: Sequence[float] = (),
        expected: Values | None = None,
    ) -> "TrackWindows":
        """From the names of the rows, end to end."""
        regions = [parse_row_name(name) for name in names]
        sizes = [end - start for _, start, end in regions]
        begins = np.cumsum([0, *sizes])[:-1]
        return cls(
            aligned, begins, [(contig, start) for contig, start, _ in regions], shares, expected
        )

    def values(self, begins_B: Rows, sizes_B: Rows, flipped_B: Rows, width: int) -> Values:
        """The values (B, `width`, C) of windows that begin there among all letters, of so many letters each, along the
        other strand where `flipped`; NaN where missing, and behind a window's end."""
        tracks = len(self.aligned.tracks)
        values_BLC: Values = np.full((len(begins_B), width, tracks), np.nan, np.float32)
        rows_B = np.searchsorted(self.row_offsets, begins_B, side="right") - 1
        for number, row in enumerate(rows_B.tolist()):
            contig, first = self.row_origins[row]
            start = first + int(begins_B[number] - self.row_offsets[row])
            size = int(sizes_B[number])
            window_LC = self.aligned.values(contig, start, start + size)
            if flipped_B[number]:
                window_LC = other_strand(window_LC, self.partners)
            values_BLC[number, :size] = window_LC
        return values_BLC

    def contacts(self, begins_B: Rows, sizes_B: Rows, flipped_B: Rows, bins: int) -> Values:
        """The contacts (B, P, P, M) of such windows' `bins`, NaN where missing and behind a window's end. Windows begin
        anywhere: a bin has the contacts of that bin of the maps in which its middle is."""
        maps = self.aligned.maps
        contacts_BPPM: Values = np.full((len(begins_B), bins, bins, len(maps)), np.nan, np.float32)
        if not maps:
            return contacts_BPPM
        size = maps[0].file.bin_size
        rows_B = np.searchsorted(self.row_offsets, begins_B, side="right") - 1
        for number, row in enumerate(rows_B.tolist()):
            contig, begin = self.row_origins[row]
            start = begin + int(begins_B[number] - self.row_offsets[row])
            window_bins, first = int(sizes_B[number]) // size, (start + size // 2) // size
            window_PPM = self.aligned.contacts(contig, first, first + window_bins)
            if flipped_B[number]:
                window_PPM = window_PPM[::-1, ::-1]
            contacts_BPPM[number, :window_bins, :window_bins] = window_PPM
        return contacts_BPPM

    def contigs(self, begins_B: Rows) -> list[str]:
        """The contigs of windows that begin there among all letters."""
        rows_B = np.searchsorted(self.row_offsets, begins_B, side="right") - 1
        return [self.row_origins[row][0] for row in rows_B.tolist()]

    @cached_property
    def partners(self) -> list[int]:
        """See `AlignedTracks`."""
        return self.aligned.partners


def parse_row_name(name: str) -> tuple[str, int, int]:
    """The contig, first base and end of a row by its name."""
    contig, _, bounds = name.rpartition(":")
    start, _, end = bounds.partition("-")
    return contig, int(start), int(end)
