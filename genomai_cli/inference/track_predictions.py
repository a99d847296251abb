"""The tracks of a model along regions of a reference, from DNA alone or from DNA and the tracks that are known.

A network that reads from the left knows little at a window's beginning, so each of its windows begins `overlap` bases
before the first base that is taken from it, with what stands there in the genome; only a contig's first bases have less
before them. Of a network that looks both ways the middle of a window is taken, with `overlap` bases or more on each
side; at a contig's ends the window is moved inward, and on a shorter contig it is shorter. Nothing is filled up: what
cannot be read has no value (NaN). With both strands a base has the mean of the strands that give it one.

Shape suffixes: C tracks, L bases.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from genomai_cli.alphabet import complement
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.track_outputs import TrackSegment
from genomai_cli.formats.tracks import AlignedTracks, binned, other_strand
from genomai_cli.inference.track_readers import (
    Window,
    columns_along,
    require_partners,
    track_reader,
    window_for,
)

CHUNK_BASES = 1 << 16  # bases whose values are held at once, or more where a window has more
LETTERS_PER_BATCH = 1 << 14


@dataclass(frozen=True)
class PredictionOptions:
    """How regions are read: windows of so many bases, by default as many as the model reads, with `overlap` bases of
    context, by default a quarter of the window; along both strands; bins of `resolution` bases by their `aggregation`.
    `only` chooses tracks by name, assay or tissue, `organism` the weights of a model that has those of several."""

    overlap: int | None = None
    both_strands: bool = False
    resolution: int = 1
    aggregation: str = "mean"
    window: int | None = None
    only: Sequence[str] = ()
    organism: str | None = None


@dataclass(frozen=True)
class _CoreWindow:
    """A window: its letters from `begin` to `end` of a strand, of which those from `core_start` to `core_end` get its
    values."""

    begin: int
    end: int
    core_start: int
    core_end: int


class TrackPredictor:
    """Predicts tracks along regions; BundleError for a model without tracks, UsageError for settings that do not fit
    it."""

    def __init__(self, bundle: Bundle, reference: IndexedFasta, options: PredictionOptions) -> None:
        self.reader = track_reader(bundle, options.only, options.organism)
        self.reference, self.options = reference, options
        self.columns, self.map_columns = columns_along(self.reader, options.only)
        self.tracks = [self.reader.tracks[column] for column in self.columns]
        self.window = window_for(self.reader, options.window)
        self.overlap = self.window // 4 if options.overlap is None else options.overlap
        if self.reader.is_bidirectional:  # nothing is taken from the letters that have no value
            self.overlap = max(self.overlap, self.reader.tail)
        self._check()

    def _check(self) -> None:
        reader, window = self.reader, self.window
        if not self.columns and not self.map_columns:
            raise UsageError("--only chooses junctions alone, which have no place along a genome")
        sides = 2 * self.overlap if reader.is_bidirectional else self.overlap + reader.tail
        if sides >= window:
            raise UsageError(f"--overlap {self.overlap}: the model reads windows of {window}")
        if self.options.both_strands:
            require_partners(reader, self.columns)

    @property
    def rules(self) -> str:
        """How regions are cut into windows, in words."""
        window_rule = (
            f"that begin {self.overlap} before what is taken (fewer at a contig's beginning)"
        )
        if self.reader.is_bidirectional:
            window_rule = f"whose middle is taken, {self.overlap} or more from either end (but at a contig's ends)"
        return f"windows of {self.window} bases {window_rule}; nothing is filled up: {self.reader.remarks}"

    def known(self, aligned: AlignedTracks | None) -> AlignedTracks | None:
        """The tracks that are known; BundleError for any if the model reads DNA alone."""
        if aligned is not None and not self.reader.reads_tracks:
            raise BundleError(
                "the model reads DNA alone: it fills no tracks by others (`genomai predict`)"
            )
        return aligned

    def stretches(
        self, region: Region, known: AlignedTracks | None = None, *, fill: bool = False
    ) -> Iterator[TrackSegment]:
        """The values of the region's bins, some at a time. `known` are values that the network reads besides DNA; with
        `fill` these stay where they are, and only what is missing is predicted."""
        resolution = self.options.resolution
        size = max(1, max(CHUNK_BASES, self.window - 2 * self.overlap) // resolution) * resolution
        for start in range(region.start, region.end, size):
            end = min(region.end, start + size)
            predicted_LC = self.values(region.contig, start, end, known)
            if fill and known is not None:
                known_LC = known.values(region.contig, start, end)[:, self.columns]
                predicted_LC = np.where(np.isnan(known_LC), predicted_LC, known_LC)
            bins_RC = binned(predicted_LC, resolution, self.options.aggregation)
            last = end == region.end
            yield TrackSegment(region.contig, start, end, resolution, bins_RC, region.name, last)

    def values(
        self, contig: str, start: int, end: int, known: AlignedTracks | None = None
    ) -> Values:
        """The values (L, C) of the bases from `start` to before `end`."""
        length = self.reference.lengths[contig]
        partners = self.reader.partners

        def forward(begin: int, stop: int) -> Window:
            known_values = known.values(contig, begin, stop) if known else None
            return self.reference.fetch(contig, begin, stop), known_values

        def backward(begin: int, stop: int) -> Window:
            text, known_values = forward(length - stop, length - begin)
            flipped = None if known_values is None else other_strand(known_values, partners)
            return complement(text)[::-1], flipped

        values_LC = self._strand(forward, self.columns, start, end, length)
        if self.options.both_strands:
            partner_columns = [partners[column] for column in self.columns]
            other_LC = self._strand(backward, partner_columns, length - end, length - start, length)
            strand_values = np.stack([values_LC, other_LC[::-1]])
            count_LC = (~np.isnan(strand_values)).sum(axis=0)
            sums_LC = np.nansum(strand_values, axis=0)
            values_LC = np.where(count_LC > 0, sums_LC / np.maximum(count_LC, 1), np.nan).astype(
                np.float32
            )
        return values_LC

    def _strand(
        self,
        read: Callable[[int, int], Window],
        columns: Sequence[int],
        start: int,
        end: int,
        length: int,
    ) -> Values:
        values_LC: Values = np.full((end - start, len(columns)), np.nan, np.float32)
        if not columns:
            return values_LC
        windows_of = (
            self._bidirectional_windows
            if self.reader.is_bidirectional
            else self._left_context_windows
        )
        windows = list(windows_of(start, end, length))
        windows_per_batch = max(1, LETTERS_PER_BATCH // self.window)
        for first in range(0, len(windows), windows_per_batch):
            batch = windows[first : first + windows_per_batch]
            inputs = [read(window.begin, window.end) for window in batch]
            blocks = self.reader.read(inputs, columns, self.options.resolution)
            for number, window in enumerate(batch):
                core = slice(window.core_start - window.begin, window.core_end - window.begin)
                for block in blocks:
                    base_values = np.repeat(block.values[number], block.bases, axis=0)
                    output = slice(window.core_start - start, window.core_end - start)
                    values_LC[output, list(block.columns)] = base_values[core]
        return values_LC

    def _left_context_windows(self, start: int, end: int, length: int) -> Iterator[_CoreWindow]:
        """The windows of a stretch of a strand; bases without a whole token are in none."""
        end = min(end, length - self.reader.tail)
        first = start
        while first < end:
            begin = max(0, first - self.overlap)
            stop = min(length, begin + self.window)
            last = min(end, stop - self.reader.tail)
            yield _CoreWindow(begin, stop, first, last)
            first = last

    def _bidirectional_windows(self, start: int, end: int, length: int) -> Iterator[_CoreWindow]:
        """The same of a network that looks both ways, none on a contig shorter than the shortest window."""
        size = min(self.window, length // self.reader.step * self.reader.step)
        overlap = min(self.overlap, size // 4) if size < self.window else self.overlap
        first = start
        while size and first < end:
            last = min(end, first + size - 2 * overlap)
            begin = max(0, min((first + last - size) // 2, length - size))
            if begin == 0:
                last = min(end, size - overlap) if size < length else end
            elif begin == length - size:
                last = end
            yield _CoreWindow(begin, begin + size, first, last)
            first = last
