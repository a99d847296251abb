"""Pages about tracks: what a model predicts along regions, and how well it restores what is masked.

Shape suffixes: R bins, T tracks.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genomai_cli.formats.consensus import Region
from genomai_cli.formats.track_outputs import TrackSegment, base_counts_and_sums
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inference.coverage_evaluation import MODEL, OTHER_TRACKS, TRACK_MEAN, CoverageRow
from genomai_cli.inference.track_evaluation import Row
from genomai_cli.inference.track_picture import MAX_TRACKS, panels_of, size_of
from genomai_cli.reports import drawings
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Notes,
    Picture,
    Section,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.reports.wording import MAX_ROWS, abridged, counted, decimal

BASELINE_TEXTS = {
    "nothing": "of nothing anywhere",
    "rate": "of each track's rate in the training data",
    "other_tracks": "of the share of the other tracks that is seen there",
    "last_seen": "of the track where it was last seen before",
    "next_base": "of the base that most often followed the eight before it",
}
MAX_TILES = 5
OF_EVALUATION = (
    "Values are masked at random, and restored. What is visible tells only that the model passes on what it sees; "
    "what is masked, by itself or as a whole track, is what it knows. Intervals are of 95 %, over windows drawn with "
    "replacement."
)


def evaluation_page(rows: Sequence[Row], threshold: float, facts: Mapping[str, str]) -> Page:
    """The page of restored tokens and tracks, with baselines without a network."""
    columns = [
        Column("part", filtered=True),
        Column("group", filtered=True),
        Column("measure", filtered=True),
        *(Column(name, number=True) for name in ("cases", "model", "low", "high")),
        *(
            Column(name.replace("_", " "), number=True, description=f"the guess {baseline_text}")
            for name, baseline_text in BASELINE_TEXTS.items()
        ),
    ]
    table = [
        (
            row.part,
            row.group,
            row.measure,
            f"{row.n:,}",
            *map(decimal, (row.model, *(row.interval or (np.nan, np.nan)))),
            *(decimal(row.guesses.get(name, np.nan)) for name in BASELINE_TEXTS),
        )
        for row in rows
    ]
    masked = [row for row in rows if "masked" in row.group][:MAX_TILES]
    tiles = [Tile(f"{row.measure}, {row.part}, {row.group}", decimal(row.model)) for row in masked]
    baseline_text = {**facts, "threshold of calls": f"{threshold:.4f}"}
    sections: list[Section] = [
        Tiles(tiles),
        Table("Restored tokens and tracks", columns, table, OF_EVALUATION),
        Facts("How it was made", baseline_text),
    ]
    return Page("Restored tokens and tracks of a genome aside", "", sections)


OF_COVERAGE = (
    "Values are predicted from DNA alone and compared in bins; missing ones count nowhere. A row without a track is "
    "the mean over the tracks of its assay. Intervals are of 95 %, over windows drawn with replacement."
)


def coverage_page(rows: Sequence[CoverageRow], facts: Mapping[str, str]) -> Page:
    """The page of tracks predicted from DNA, with baselines without a network."""
    columns = [
        *(Column(name, filtered=True) for name in ("organism", "assay", "track", "measure")),
        *(Column(name, number=True) for name in ("tracks", "bins", "model", "low", "high")),
        Column(
            "other tracks", number=True, description="the mean of the others measured at the bin"
        ),
        Column("track mean", number=True, description="each track everywhere at its mean"),
    ]
    table = []
    for row in rows[:MAX_ROWS]:
        model_estimate = row.told[MODEL]
        values = (
            model_estimate.value,
            model_estimate.low,
            model_estimate.high,
            row.told[OTHER_TRACKS].value,
            row.told[TRACK_MEAN].value,
        )
        counts = f"{row.tracks:,}", f"{row.bins:,}"
        table.append(
            (row.organism, row.assay, row.track, row.measure, *counts, *map(decimal, values))
        )
    assay_rows = [row for row in rows if not row.track][:MAX_TILES]
    tiles = [
        Tile(f"{row.measure}, {row.organism} {row.assay}", decimal(row.told[MODEL].value))
        for row in assay_rows
    ]
    caption = " ".join((OF_COVERAGE, abridged(len(table), len(rows), "the first")))
    sections: list[Section] = [
        Tiles(tiles),
        Table("Predicted tracks", columns, table, caption),
        Facts("How it was made", facts),
    ]
    return Page("Tracks predicted from the DNA of a genome aside", "", sections)


# --- predict

MAX_DRAWN_REGIONS = 6  # that are drawn
MAX_DRAWN_BINS = 1000  # of a drawn region
MAX_OBSERVED_BASES = 2_000_000  # bases of a region whose observed values are drawn
OF_PREDICTIONS = (
    "Predictions follow from the DNA alone: they are the same in every cell that the model tells of by one track, and "
    "say nothing about one person's cells. Bases beside letters that are none have no value."
)


class _Bins:
    """The means of at most `MAX_DRAWN_BINS` bins of a region, from its stretches as they pass."""

    def __init__(self, region: Region, resolution: int, tracks: int) -> None:
        length = region.end - region.start
        self.region = region
        self.size = resolution * max(1, math.ceil(length / (resolution * MAX_DRAWN_BINS)))
        shape = (math.ceil(length / self.size), tracks)
        self._sums_RT, self._counts_RT = np.zeros(shape), np.zeros(shape)

    def add(self, stretch: TrackSegment) -> None:
        """The next values."""
        starts_R = np.arange(len(stretch.values_RT)) * stretch.resolution
        bins_R = (stretch.start - self.region.start + starts_R) // self.size
        np.add.at(self._sums_RT, bins_R, np.nan_to_num(stretch.values_RT))
        np.add.at(self._counts_RT, bins_R, ~np.isnan(stretch.values_RT))

    @property
    def stretch(self) -> TrackSegment:
        """All of them."""
        known_RT = self._counts_RT > 0
        means_RT = np.where(known_RT, self._sums_RT / np.maximum(self._counts_RT, 1), np.nan)
        region = self.region
        values_RT = means_RT.astype(np.float32)
        return TrackSegment(
            region.contig, region.start, region.end, self.size, values_RT, region.name
        )


class TrackReport:
    """Collects tracks along regions for a page as they pass: figures of each region, and bins of the first regions."""

    def __init__(self, tracks: Sequence[Track], resolution: int) -> None:
        self.tracks, self.resolution = tracks, resolution
        self.regions, self.bases = 0, 0
        self._rows: list[tuple[str, ...]] = []
        self._drawn: list[_Bins] = []

    def watch_region(
        self, region: Region, stretches: Iterable[TrackSegment]
    ) -> Iterator[TrackSegment]:
        """The stretches of a region themselves."""
        is_drawn = 0 < len(self.tracks) <= MAX_TRACKS and len(self._drawn) < MAX_DRAWN_REGIONS
        bins = _Bins(region, self.resolution, len(self.tracks)) if is_drawn else None
        known_2T = np.zeros((2, len(self.tracks)))
        largest_T = np.full(len(self.tracks), -np.inf)
        for stretch in stretches:
            known_2T += base_counts_and_sums(stretch)
            known_RT = np.where(np.isnan(stretch.values_RT), -np.inf, stretch.values_RT)
            largest_T = np.maximum(largest_T, known_RT.max(axis=0, initial=-np.inf))
            if bins is not None:
                bins.add(stretch)
            yield stretch
        self._drawn += [] if bins is None else [bins]
        self.regions += 1
        self.bases += region.end - region.start
        if len(self._rows) < MAX_ROWS:
            self._rows += self._region_rows(region, known_2T, largest_T)

    def _region_rows(
        self, region: Region, known_2T: NDArray[np.float64], largest_T: NDArray[np.float64]
    ) -> Iterator[tuple[str, ...]]:
        length = region.end - region.start
        track_figures = zip(self.tracks, *known_2T.tolist(), largest_T.tolist(), strict=True)
        for track, known, total, largest in track_figures:
            figures = (f"{total / known:.6g}", f"{largest:.6g}") if known else ("", "")
            location = f"{region.contig}:{region.start:,}-{region.end:,}"
            missing_percent = f"{100 * (1 - known / length):.1f}"
            yield location, region.name, f"{length:,}", track.name, *figures, missing_percent

    def page(self, model: str, observed: AlignedTracks | None, facts: Mapping[str, str]) -> Page:
        """The page of all that have passed, with what was observed behind what is drawn."""
        count = self.regions * len(self.tracks)
        tiles = [
            Tile("tracks", f"{len(self.tracks):,}"),
            Tile("regions", f"{self.regions:,}"),
            Tile("bases", f"{self.bases:,}"),
        ]
        columns = [
            Column("region", description="bases from 0, the end not in it"),
            Column("name"),
            Column("bases", number=True),
            Column("track", filtered=len(self.tracks) > 1),
            Column("mean", number=True, description="over the bases that have a value"),
            Column("largest", number=True, description="value of a bin"),
            Column("% without a value", number=True),
        ]
        rows = self._rows[:MAX_ROWS]
        table = Table("Regions", columns, rows, abridged(len(rows), count, "the first"))
        sections: list[Section] = [Tiles(tiles), *self._pictures(observed), table]
        sections += [Facts("How it was made", facts), Notes("Limits", [OF_PREDICTIONS])]
        along = f"{counted(len(self.tracks), 'track')} along {counted(self.regions, 'region')}"
        return Page(f"{along}, predicted by {model}", "", sections)

    def _pictures(self, observed: AlignedTracks | None) -> Iterator[Section]:
        if len(self.tracks) > MAX_TRACKS:
            note = f"At most {MAX_TRACKS} tracks are drawn, not {len(self.tracks)}: --only chooses some."
            yield Notes("Tracks by position", [note])
        for bins in self._drawn:
            region = bins.region
            length = region.end - region.start
            drawn_observed = observed if length <= MAX_OBSERVED_BASES else None
            caption = f"{bins.size:,} bases a bin, by their mean."
            if observed is not None:
                limit_note = (
                    f"What was observed is drawn of regions of up to {MAX_OBSERVED_BASES:,} bases."
                )
                caption += (
                    " Grey is what was observed; shaded, where nothing was."
                    if drawn_observed
                    else f" {limit_note}"
                )
            title = f"{region.contig}:{region.start:,}-{region.end:,}"
            draw = panels_of("", self.tracks, [bins.stretch], drawn_observed)
            yield Picture(title, drawings.drawing(draw, size_of(self.tracks)), caption)
        if self.regions > len(self._drawn) > 0:
            note = f"The first {len(self._drawn)} of {self.regions:,} regions are drawn."
            yield Notes("Further regions", [note])
