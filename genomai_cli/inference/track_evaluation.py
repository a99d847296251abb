"""How well a model restores tokens and tracks, in the form of OmicsFUSION's table, compared with baselines.

Windows lie end to end along the regions, on the forward strand, and are masked by the objective's own settings, all
drawn from a seed: isolated tokens; tracks as a whole; spans of positions over all tracks. The baselines: nothing
anywhere; each track at its rate in the training data; the share of the other tracks that is seen at the position; the
track as it was last seen before the position, the surer the nearer; and for a masked token, whose other bases its
neighbour tells, the base that most often followed the eight before it.
Intervals are those of windows drawn with replacement.

Shape suffixes: B windows, T tokens, C tracks, N cases, S bins of scores, W all windows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import as_letters
from genomai_cli.backbones.omicsfusion import OmicsFusionNetwork
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.samples import Letters
from genomai_cli.inputs.track_baselines import ORDER, OmicsBaselines, kmer_codes
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.metrics.score_histograms import ScoreHistogram
from genomai_cli.objectives.base import NO_TARGET, WINDOW_STARTS, Alphabet
from genomai_cli.objectives.omics import MaskedTracks, Omics, OmicsSettings

BINS = 1200
MAX_LOGIT = 15.0  # scores lie from minus to plus this
WINDOWS_PER_BATCH = 4  # windows
REPEATS = 200
VISIBLE, MASKED_TRACKS, MASKED_POSITIONS = "visible", "masked_tracks", "masked_positions"
MASKED = "masked"  # both of the latter
GROUPS = (VISIBLE, MASKED_TRACKS, MASKED_POSITIONS)
MODEL, NOTHING, RATE, OTHER_TRACKS, LAST_SEEN = (
    "model",
    "nothing",
    "rate",
    "other_tracks",
    "last_seen",
)
BASELINES = (RATE, OTHER_TRACKS, LAST_SEEN)
SCORERS = (MODEL, *BASELINES)
DECAY_LENGTH = 256  # bases, over which what was last seen is worth 1/e


@dataclass(frozen=True)
class Row:
    """A line of the table: a measure of a group of tokens or of values, with its 95 % interval, and the measures of the
    baselines in `guesses`, which is a key of the JSON document."""

    part: str
    group: str
    measure: str
    n: int
    model: float
    interval: tuple[float, float] | None = None
    guesses: Mapping[str, float] = field(default_factory=dict)


@dataclass(eq=False)
class EvaluationCounts:
    """Counts by window: tokens, and those that the model and the baseline have right, by group; histograms of
    scores."""

    tokens: dict[str, list[tuple[int, int, int]]]  # n, right by the model, right by the next base
    scores: dict[tuple[str, str], list[NDArray[np.int32]]]  # (2, S) of negatives and positives


def evaluate_tracks(
    bundle: Bundle,
    reference: IndexedFasta,
    regions: Sequence[Region],
    aligned: AlignedTracks,
    baselines: OmicsBaselines,
    *,
    seed: int = 0,
    threshold: float | None = None,
) -> tuple[list[Row], float]:
    """The table, and the threshold of F1: the one given, or that with the largest F1 of masked values here.

    Raises BundleError for a model of another kind, InputError where the regions hold no window.
    """
    network = bundle.classifier.networks[0]
    if not isinstance(network, OmicsFusionNetwork) or "omics" not in bundle.auxiliary:
        raise BundleError(f"the model {bundle.name!r} restores no tracks")
    settings = OmicsSettings(reverse_complement=0.0)
    counts = EvaluationCounts(
        {VISIBLE: [], MASKED: []}, {(g, s): [] for g in GROUPS for s in SCORERS}
    )
    rng = np.random.default_rng(seed)
    for windows, letters_BL in _batches(reference, regions, aligned, int(network.max_length or 0)):
        omics = Omics(settings, Alphabet(bundle.tokenizer, tracks=windows))
        view_arrays = omics.views(letters_BL, rng) | {WINDOW_STARTS: windows.row_offsets[:, None]}
        views = {name: torch.from_numpy(view) for name, view in view_arrays.items()}
        views["targets_visible"] = _visible(omics, views)
        shown = omics.masked_tracks(views)
        with torch.inference_mode():
            hidden_BTD = network(views["ids"], features=shown.features)
            logits_BTC = network.track_logits(hidden_BTD, shown.features).float().numpy()
            predicted_BT = network.likeliest_tokens(bundle.auxiliary["omics"], hidden_BTD).numpy()
        _count_tokens(counts, views, predicted_BT, letters_BL, baselines)
        _count_scores(counts, shown, logits_BTC, views["masked_tracks"].numpy(), baselines)
    if not counts.tokens[MASKED]:
        raise InputError("the regions hold no window of the model", path=reference.path)
    return _table(counts, np.random.default_rng(seed), threshold)


def _batches(
    reference: IndexedFasta, regions: Sequence[Region], aligned: AlignedTracks, window: int
) -> Iterator[tuple[TrackWindows, Letters]]:
    """Windows end to end, each a row of its own; what is left at a region's end is in none."""
    origins = [
        (region.contig, start)
        for region in regions
        for start in range(region.start, region.end - window + 1, window)
    ]
    for first in range(0, len(origins), WINDOWS_PER_BATCH):
        batch = origins[first : first + WINDOWS_PER_BATCH]
        letters = [
            as_letters(reference.fetch(contig, start, start + window)) for contig, start in batch
        ]
        yield TrackWindows(aligned, np.arange(len(batch)) * window, batch), np.stack(letters)


def _visible(omics: Omics, views: Mapping[str, Tensor]) -> Tensor:
    """Every token that spells DNA and is not masked."""
    ids_BT = views["ids"]
    is_dna_BT = torch.from_numpy(omics.alphabet.tokenizer.is_dna(ids_BT.numpy()))
    return torch.where(is_dna_BT, ids_BT, NO_TARGET)


def _count_tokens(
    counts: EvaluationCounts,
    views: Mapping[str, Tensor],
    predicted_BT: NDArray[np.int64],
    letters_BL: Letters,
    baselines: OmicsBaselines,
) -> None:
    """Add the windows' tokens."""
    for group, name in ((VISIBLE, "targets_visible"), (MASKED, "targets")):
        targets_BT = views[name].numpy()
        for targets_T, predicted_T, letters_L in zip(
            targets_BT, predicted_BT, letters_BL, strict=True
        ):
            chosen = np.flatnonzero(targets_T != NO_TARGET)
            model_right = int((predicted_T[chosen] == targets_T[chosen]).sum())
            baseline_right = len(chosen)  # a visible token tells itself
            if group == MASKED:
                last_base = (
                    chosen + len(letters_L) - len(targets_T)
                )  # the base that no other token tells
                kmers = kmer_codes(letters_L)[np.maximum(last_base - ORDER, 0)]
                has_kmer = (last_base >= ORDER) & (kmers >= 0)
                baseline_right = int(
                    (baselines.next_base[kmers] == targets_T[chosen] % 4)[has_kmer].sum()
                )
            counts.tokens[group].append((len(chosen), model_right, baseline_right))


def _count_scores(
    counts: EvaluationCounts,
    shown: MaskedTracks,
    logits_BTC: NDArray[np.float32],
    masked_tracks_BC: NDArray[np.int64],
    baselines: OmicsBaselines,
) -> None:
    """Add the windows' values."""
    positive_BTC = (shown.values > 0).numpy()
    known_BTC, masked_BTC = shown.known.numpy(), shown.masked.numpy()
    visible_BTC = known_BTC & ~masked_BTC
    seen_positive_BTC = (positive_BTC & visible_BTC).astype(np.float32)
    sums_BT1, count_BT1 = (part.sum(2, keepdims=True) for part in (seen_positive_BTC, visible_BTC))
    others_BTC = (sums_BT1 - seen_positive_BTC) / np.maximum(count_BT1 - visible_BTC, 1)
    spans_BT1 = masked_BTC.all(axis=2, keepdims=True)
    in_masked_track_BTC = (
        np.broadcast_to(masked_tracks_BC[:, None] == 1, known_BTC.shape) & ~spans_BT1
    )
    groups = {
        VISIBLE: visible_BTC,
        MASKED_TRACKS: known_BTC & in_masked_track_BTC,
        MASKED_POSITIONS: known_BTC & spans_BT1,
    }
    rates_C = np.log(baselines.rates / (1 - baselines.rates))
    bins = {
        MODEL: _bins(logits_BTC),
        RATE: np.broadcast_to(_bins(rates_C), known_BTC.shape),
        OTHER_TRACKS: _bins_of_shares(others_BTC),
        LAST_SEEN: _bins_of_shares(last_seen(seen_positive_BTC, visible_BTC)),
    }
    for group, chosen_BTC in groups.items():
        for scorer, bins_BTC in bins.items():
            for row, chosen_TC in enumerate(chosen_BTC):
                flat_bins = bins_BTC[row][chosen_TC] + BINS * positive_BTC[row][chosen_TC]
                flat_counts = np.bincount(flat_bins, minlength=2 * BINS).astype(np.int32)
                counts.scores[group, scorer].append(flat_counts.reshape(2, BINS))


def last_seen(
    seen_positive_BTC: NDArray[np.float32], visible_BTC: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """What each track was where it was last seen, at the position or before it in the window; 0 where it never was."""
    positions_T1 = np.arange(visible_BTC.shape[1])[:, None]
    last_BTC = np.maximum.accumulate(np.where(visible_BTC, positions_T1, -1), axis=1)
    value_BTC = np.take_along_axis(seen_positive_BTC, np.maximum(last_BTC, 0), axis=1)
    decayed: NDArray[np.floating] = value_BTC * np.exp((last_BTC - positions_T1) / DECAY_LENGTH)
    return decayed


def _bins_of_shares(shares: NDArray[np.floating]) -> NDArray[np.int64]:
    bins: NDArray[np.int64] = np.minimum(shares * BINS, BINS - 1).astype(np.int64)
    return bins


def _bins(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    scaled = (logits.clip(-MAX_LOGIT, MAX_LOGIT) + MAX_LOGIT) / (2 * MAX_LOGIT) * BINS
    return np.minimum(scaled, BINS - 1).astype(np.int64)


def _table(
    counts: EvaluationCounts, rng: np.random.Generator, threshold: float | None
) -> tuple[list[Row], float]:
    rows = [
        Row("tokens", group, "accuracy", *_token_accuracy(np.array(token_counts), rng))
        for group, token_counts in counts.tokens.items()
    ]
    histograms = {
        (group, scorer): _histogram([counts.scores[name, scorer] for name in names])
        for group, names in {
            **{g: (g,) for g in GROUPS},
            MASKED: (MASKED_TRACKS, MASKED_POSITIONS),
        }.items()
        for scorer in SCORERS
    }
    masked = histograms[MASKED, MODEL].total().f1()
    threshold_bin = (
        int(masked.argmax())
        if threshold is None
        else int(_bins(np.log(np.array(threshold / (1 - threshold)))))
    )
    for group in (VISIBLE, MASKED, MASKED_TRACKS, MASKED_POSITIONS):
        rows += _track_rows({s: histograms[group, s] for s in SCORERS}, group, threshold_bin, rng)
    return rows, 1 / (1 + float(np.exp(MAX_LOGIT - threshold_bin * 2 * MAX_LOGIT / BINS)))


def _token_accuracy(
    counts_W3: NDArray[np.int64], rng: np.random.Generator
) -> tuple[int, float, tuple[float, float], dict[str, float]]:
    n, right, baseline_right = counts_W3.sum(axis=0)
    draws = (
        rng.multinomial(len(counts_W3), np.full(len(counts_W3), 1 / len(counts_W3)), REPEATS)
        @ counts_W3
    )
    low, high = np.percentile(draws[:, 1] / np.maximum(draws[:, 0], 1), [2.5, 97.5])
    total = max(int(n), 1)
    return int(n), right / total, (float(low), float(high)), {"next_base": baseline_right / total}


def _histogram(parts: Sequence[Sequence[NDArray[np.int32]]]) -> ScoreHistogram:
    counts_W2S = sum(np.stack(part).astype(np.int64) for part in parts)
    assert isinstance(counts_W2S, np.ndarray)
    return ScoreHistogram(counts_W2S[:, 0], counts_W2S[:, 1])


def _track_rows(
    histograms: Mapping[str, ScoreHistogram],
    group: str,
    threshold_bin: int,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """The measures of a group of values."""
    totals = {scorer: histogram.total() for scorer, histogram in histograms.items()}
    model = totals[MODEL]
    positives, cases = (
        int(model.positives.sum()),
        int(model.positives.sum() + model.negatives.sum()),
    )
    windows = len(histograms[MODEL].positives)
    weights = rng.multinomial(windows, np.full(windows, 1 / windows), REPEATS)
    resampled = [histograms[MODEL].total(weight) for weight in weights]
    nothing_accuracy = 1 - positives / max(cases, 1)

    def interval(values: list[float]) -> tuple[float, float]:
        low, high = np.nanpercentile(values, [2.5, 97.5]) if positives else (np.nan, np.nan)
        return float(low), float(high)

    def row(measure: str, value: float, bounds: tuple[float, float], **guesses: float) -> Row:
        return Row("tracks", group, measure, cases, value, bounds, guesses)

    yield row(
        "accuracy",
        float(model.accuracy(threshold_bin)),
        interval([float(d.accuracy(threshold_bin)) for d in resampled]),
        nothing=nothing_accuracy,
    )
    best = {s: float(totals[s].f1().max()) for s in BASELINES}
    yield row(
        "f1",
        float(model.f1()[threshold_bin]),
        interval([float(d.f1()[threshold_bin]) for d in resampled]),
        nothing=0.0,
        **best,
    )
    areas = {s: float(totals[s].auc()) for s in BASELINES}
    yield row(
        "auc",
        float(model.auc()),
        interval([float(d.auc()) for d in resampled]),
        nothing=0.5,
        **areas,
    )
    precisions = {s: float(totals[s].average_precision()) for s in BASELINES}
    yield row(
        "auprc",
        float(model.average_precision()),
        interval([float(d.average_precision()) for d in resampled]),
        nothing=1 - nothing_accuracy,
        **precisions,
    )
