"""How well a model predicts tracks that were measured, from DNA alone, compared with baselines without a network.

Windows of 65,536 bases lie end to end along the regions, and values are compared in bins. The baselines: each track
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
from genomai_cli.inference.track_readers import all_tracks, track_reader
from genomai_cli.inputs.track_baselines import CoverageMeans, OmicsBaselines
from genomai_cli.metrics.moments import BIN_COUNT, MEASURES, Numbers, bootstrap_sums, window_sums

WINDOW = 1 << 16  # bases
REPEATS = 1000
MODEL, OTHER_TRACKS, TRACK_MEAN = "model", "other_tracks", "track_mean"


@dataclass(frozen=True)
class Estimate:
    """A measure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CoverageRow:
    """A measure of a track, or its mean over the tracks of an assay (without a `track`): its estimate by the model and
    by each baseline in `told`, which is a key of the JSON document."""

    organism: str
    assay: str
    track: str
    measure: str
    tracks: int
    windows: int
    bins: int
    told: Mapping[str, Estimate]


@dataclass(eq=False)
class CoverageComparison:
    """The sums of windows, by the source of the predictions: the model, or a baseline."""

    tracks: Sequence[Track]
    means: Values  # (C,), in units of which values are
    window_sums: dict[str, list[Numbers]] = field(default_factory=dict)

    def add(self, measured_RC: Values, predictions: Mapping[str, Values]) -> None:
        """The bins of a window; those that are NaN count nowhere."""
        for name, values_RC in predictions.items():
            sums = window_sums(values_RC / self.means, measured_RC / self.means)
            self.window_sums.setdefault(name, []).append(sums)

    def rows(self, seed: int = 0) -> Iterator[CoverageRow]:
        """The measures of each track that has bins, and behind them those of each assay; draws are of the same windows
        for all."""
        if not self.window_sums:
            return
        sums_by_source = {name: np.stack(parts) for name, parts in self.window_sums.items()}
        first_sums = next(iter(sums_by_source.values()))
        bins_C = first_sums[:, BIN_COUNT].sum(axis=0).astype(int)
        windows_C = (first_sums[:, BIN_COUNT] > 0).sum(axis=0)
        known = np.flatnonzero(bins_C).tolist()
        groups = [(self.tracks[n].name, [n]) for n in known] + [
            ("", columns) for columns in self._assays(known)
        ]
        totals = {name: part.sum(axis=0) for name, part in sums_by_source.items()}
        draws = {
            n: bootstrap_sums(part, REPEATS, np.random.default_rng(seed))
            for n, part in sums_by_source.items()
        }
        for measure, function in MEASURES.items():
            values = {name: function(part) for name, part in totals.items()}
            draw_values = {name: function(part) for name, part in draws.items()}
            for name, columns in groups:
                track = self.tracks[columns[0]]
                estimates = {
                    source: _estimate(values[source][columns], draw_values[source][:, columns])
                    for source in sums_by_source
                }
                counts = len(columns), int(windows_C[columns].max()), int(bins_C[columns].max())
                yield CoverageRow(track.organism, track.assay, name, measure, *counts, estimates)

    def _assays(self, columns: Sequence[int]) -> list[list[int]]:
        """The columns of each assay."""
        order = sorted(columns, key=lambda n: self.tracks[n].assay)
        return [list(group) for _, group in groupby(order, key=lambda n: self.tracks[n].assay)]


def _estimate(values_C: Numbers, draws_NC: Numbers) -> Estimate:
    """The mean of tracks, of those that have the measure."""
    if np.isnan(values_C).all():
        return Estimate(np.nan, np.nan, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # draws without a window of the track
        low, high = np.nanpercentile(np.nanmean(draws_NC, axis=1), [2.5, 97.5])
    return Estimate(float(np.nanmean(values_C)), float(low), float(high))


def measured_tracks(
    bundle: Bundle, table: TrackTable, only: Sequence[str] = (), organism: str | None = None
) -> dict[str | None, list[str]]:
    """The names of the model's tracks along the genome that the table has, of those with one of the texts `only` as
    name, assay or tissue, and of the `organism`, by the organism whose weights predict them; None where organisms have
    no weights of their own.

    Raises InputError where there is none, UsageError for a text that no track has, and an organism that the model does
    not know.
    """
    if organism is not None:
        track_reader(bundle, (), organism)
    model_tracks = all_tracks(bundle)
    measured_names = set(table.names)
    names_by_organism: dict[str | None, list[str]] = {}
    for column in chosen_tracks(model_tracks.tracks, only):
        track = model_tracks.tracks[column]
        is_requested = organism in (None, track.organism)
        if is_requested and track.name in measured_names and column in model_tracks.along:
            weights_organism = track.organism if model_tracks.of_organisms else None
            names_by_organism.setdefault(weights_organism, []).append(track.name)
    if not names_by_organism:
        table.selected(model_tracks.tracks)
        message = "none of the tracks chosen that lie along the genome is in it (contact maps and junctions do not)"
        raise InputError(message, path=table.path)
    return names_by_organism


def means_of(data: bytes, path: str, bundle: Bundle, tracks: Sequence[Track]) -> Values:
    """The means of some of the model's tracks (C,) in its training data, as its bundle has them; of peaks their
    rates."""
    names = [track.name for track in bundle.input.tracks]
    columns = [names.index(track.name) for track in tracks]
    if bundle.classifier.networks[0].predicts_tracks:
        return CoverageMeans.from_bytes(data, path).overall[columns]
    return OmicsBaselines.from_bytes(data, path).rates[columns]


def compare_coverage(
    predictor: TrackPredictor,
    aligned: AlignedTracks,
    regions: Sequence[Region],
    means: Values | None = None,
) -> CoverageComparison:
    """The predictions for the regions compared with what was measured there: `aligned` has the tracks of the reader, of
    which those chosen are compared, and `means` (C,) are those of the chosen in the training data, by default those of
    the measured values. Windows in which none was measured are left out.
    """
    columns = predictor.columns
    windows = [window for region in regions for window in windows_of(region)]
    resolution = predictor.options.resolution

    def measured(window: Region) -> Values:
        values_LC = aligned.values(window.contig, window.start, window.end)[:, columns]
        return binned(predictor.reader.to_model_scale(values_LC), resolution)

    if means is None:
        means = _track_means(map(measured, windows))
    comparison = CoverageComparison(predictor.tracks, means)
    for window in windows:
        measured_RC = measured(window)
        if np.isnan(measured_RC).all():
            continue
        predicted = [stretch.values_RT for stretch in predictor.stretches(window)]
        predicted_RC = np.concatenate(predicted)
        measured_RC = np.where(np.isnan(predicted_RC), np.nan, measured_RC)
        comparison.add(
            measured_RC, {MODEL: predicted_RC} | baseline_predictions(measured_RC, comparison.means)
        )
    return comparison


def windows_of(region: Region) -> Iterator[Region]:
    """A region's windows, of which the last may be shorter."""
    for start in range(region.start, region.end, WINDOW):
        yield replace(region, start=start, end=min(region.end, start + WINDOW))


def baseline_predictions(measured_RC: Values, means_C: Values) -> dict[str, Values]:
    """Baselines: each track's mean, and the mean of the other tracks at the bin, in its units; NaN where no other is
    known."""
    known_RC = ~np.isnan(measured_RC)
    relative_RC = np.where(known_RC, measured_RC / means_C, 0)
    count_RC = known_RC.sum(axis=1, keepdims=True) - known_RC
    others_RC = (relative_RC.sum(axis=1, keepdims=True) - relative_RC) / np.maximum(count_RC, 1)
    return {
        OTHER_TRACKS: np.where(count_RC > 0, others_RC * means_C, np.nan),
        TRACK_MEAN: np.broadcast_to(means_C, measured_RC.shape),
    }


def _track_means(parts: Iterable[Values]) -> Values:
    """The mean of each track over bins (C,), 1 where nothing is known or all is 0."""
    total, count = np.zeros(1), np.zeros(1)
    for part_RC in parts:
        total = total + np.nansum(part_RC, axis=0, dtype=np.float64)
        count = count + (~np.isnan(part_RC)).sum(axis=0)
    means = total / np.maximum(count, 1)
    return np.where(means > 0, means, 1).astype(np.float32)
