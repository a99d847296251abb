"""How well a model predicts tracks that were measured, from DNA alone, beside guesses without a network.

Windows of 65,536 bases lie end to end along the regions, and values are compared in bins. The guesses: each track
everywhere at its mean in the training data; and the mean of the other tracks at the bin, each in units of its own mean,
which reads what was measured there. Intervals are those of windows drawn with replacement.

Shape suffixes: R bins, C tracks, S sums of a window, W windows, N draws.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.track_table import Track, TrackTable, chosen_tracks
from genomai_cli.formats.tracks import AlignedTracks, binned
from genomai_cli.inference.track_predictions import TrackPredictor
from genomai_cli.inference.track_readers import every_track, track_reader
from genomai_cli.inputs.track_baselines import CoverageMeans, OmicsBaselines
from genomai_cli.metrics.moments import BIN_COUNT, MEASURES, Numbers, bootstrap_sums, window_sums

WINDOW = 1 << 16  # bases
REPEATS = 1000
MODEL, OTHERS, MEAN = "model", "other_tracks", "track_mean"


@dataclass(frozen=True)
class Estimate:
    """A measure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CoverageRow:
    """A measure of a track, or its mean over the tracks of an assay (without a `track`), by who told the values."""

    organism: str
    assay: str
    track: str
    measure: str
    tracks: int
    windows: int
    bins: int
    told: Mapping[str, Estimate]


@dataclass(eq=False)
class Comparison:
    """The sums of windows, by who told the values of these tracks."""

    tracks: Sequence[Track]
    means: Values  # (C,), in units of which values are
    windows: dict[str, list[Numbers]] = field(default_factory=dict)

    def add(self, measured_RC: Values, told: Mapping[str, Values]) -> None:
        """The bins of a window; those that are NaN count nowhere."""
        for name, values_RC in told.items():
            found = window_sums(values_RC / self.means, measured_RC / self.means)
            self.windows.setdefault(name, []).append(found)

    def rows(self, seed: int = 0) -> Iterator[CoverageRow]:
        """The measures of each track that has bins, and behind them those of each assay; draws are of the same windows
        for all."""
        if not self.windows:
            return
        of = {name: np.stack(parts) for name, parts in self.windows.items()}
        first = next(iter(of.values()))
        bins_C = first[:, BIN_COUNT].sum(axis=0).astype(int)
        windows_C = (first[:, BIN_COUNT] > 0).sum(axis=0)
        known = np.flatnonzero(bins_C).tolist()
        groups = [(self.tracks[n].name, [n]) for n in known] + [
            ("", own) for own in self._assays(known)
        ]
        totals = {name: part.sum(axis=0) for name, part in of.items()}
        draws = {
            n: bootstrap_sums(part, REPEATS, np.random.default_rng(seed)) for n, part in of.items()
        }
        for measure, function in MEASURES.items():
            values = {name: function(part) for name, part in totals.items()}
            of_draws = {name: function(part) for name, part in draws.items()}
            for name, own in groups:
                track = self.tracks[own[0]]
                told = {who: _estimate(values[who][own], of_draws[who][:, own]) for who in of}
                counts = len(own), int(windows_C[own].max()), int(bins_C[own].max())
                yield CoverageRow(track.organism, track.assay, name, measure, *counts, told)

    def _assays(self, columns: Sequence[int]) -> list[list[int]]:
        """The columns of each assay."""
        order = sorted(columns, key=lambda n: self.tracks[n].assay)
        return [list(own) for _, own in groupby(order, key=lambda n: self.tracks[n].assay)]


def _estimate(values_C: Numbers, draws_NC: Numbers) -> Estimate:
    """The mean of tracks, of those that have the measure."""
    if np.isnan(values_C).all():
        return Estimate(np.nan, np.nan, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # draws without a window of the track
        low, high = np.nanpercentile(np.nanmean(draws_NC, axis=1), [2.5, 97.5])
    return Estimate(float(np.nanmean(values_C)), float(low), float(high))


def measured_here(
    bundle: Bundle, table: TrackTable, only: Sequence[str] = (), organism: str | None = None
) -> dict[str | None, list[str]]:
    """The names of the model's tracks along the genome that the table has, of those with one of the texts `only` as
    name, assay or tissue, and of the `organism`, by that whose weights tell them; None for a model without such.

    Raises InputError where there is none, UsageError for a text that no track has, and an organism that the model does
    not know.
    """
    if organism is not None:
        track_reader(bundle, (), organism)
    every = every_track(bundle)
    here = set(table.names)
    found: dict[str | None, list[str]] = {}
    for column in chosen_tracks(every.tracks, only):
        track = every.tracks[column]
        own = organism in (None, track.organism)
        if own and track.name in here and column in every.along:
            whose = track.organism if every.of_organisms else None
            found.setdefault(whose, []).append(track.name)
    if not found:
        table.selected(every.tracks)
        message = "none of the tracks chosen that lie along the genome is in it (contact maps and junctions do not)"
        raise InputError(message, path=table.path)
    return found


def means_of(data: bytes, path: str, bundle: Bundle, tracks: Sequence[Track]) -> Values:
    """Those of some of the model's tracks (C,) in its training data, as its bundle keeps them; of peaks their rates."""
    names = [track.name for track in bundle.input.tracks]
    own = [names.index(track.name) for track in tracks]
    if bundle.classifier.networks[0].predicts_tracks:
        return CoverageMeans.from_bytes(data, path).overall[own]
    return OmicsBaselines.from_bytes(data, path).rates[own]


def compared(
    predictor: TrackPredictor,
    aligned: AlignedTracks,
    regions: Sequence[Region],
    means: Values | None = None,
) -> Comparison:
    """What the predictor says of the regions beside what was measured there: `aligned` has the tracks of the reader, of
    which those chosen are compared, and `means` (C,) those of the chosen in the training data, by default those of what
    was measured. Windows in which none was measured are left out.
    """
    columns = predictor.columns
    places = [window for region in regions for window in windows_of(region)]
    resolution = predictor.reading.resolution

    def measured(place: Region) -> Values:
        values_LC = aligned.values(place.contig, place.start, place.end)[:, columns]
        return binned(predictor.reader.as_told(values_LC), resolution)

    if means is None:
        means = _means(map(measured, places))
    found = Comparison(predictor.tracks, means)
    for place in places:
        measured_RC = measured(place)
        if np.isnan(measured_RC).all():
            continue
        parts = [stretch.values_RT for stretch in predictor.stretches(place)]
        told_RC = np.concatenate(parts)
        measured_RC = np.where(np.isnan(told_RC), np.nan, measured_RC)
        found.add(measured_RC, {MODEL: told_RC} | guesses(measured_RC, found.means))
    return found


def windows_of(region: Region) -> Iterator[Region]:
    """A region's windows, of which the last may be shorter."""
    for start in range(region.start, region.end, WINDOW):
        yield replace(region, start=start, end=min(region.end, start + WINDOW))


def guesses(measured_RC: Values, means_C: Values) -> dict[str, Values]:
    """Each track's mean, and the mean of the others at the bin, in its units; NaN where no other is known."""
    known_RC = ~np.isnan(measured_RC)
    units_RC = np.where(known_RC, measured_RC / means_C, 0)
    count_RC = known_RC.sum(axis=1, keepdims=True) - known_RC
    others_RC = (units_RC.sum(axis=1, keepdims=True) - units_RC) / np.maximum(count_RC, 1)
    return {
        OTHERS: np.where(count_RC > 0, others_RC * means_C, np.nan),
        MEAN: np.broadcast_to(means_C, measured_RC.shape),
    }


def _means(parts: Iterable[Values]) -> Values:
    """Those of each track over bins (C,), 1 where nothing is known or all is 0."""
    total, count = np.zeros(1), np.zeros(1)
    for part_RC in parts:
        total = total + np.nansum(part_RC, axis=0, dtype=np.float64)
        count = count + (~np.isnan(part_RC)).sum(axis=0)
    means = total / np.maximum(count, 1)
    return np.where(means > 0, means, 1).astype(np.float32)
