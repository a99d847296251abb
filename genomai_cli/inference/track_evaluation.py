"""How well a model restores tokens and tracks, in the form of OmicsFUSION's table, beside guesses without a network.

Windows lie end to end along the regions, on the forward strand, and are masked by the objective's own settings, all
drawn from a seed: isolated tokens; tracks as a whole; spans of positions over all tracks. The guesses: nothing
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
from genomai_cli.objectives.base import BEGINS, NO_TARGET, Alphabet
from genomai_cli.objectives.omics import Omics, OmicsSettings, Shown

BINS = 1200
LOGIT = 15.0  # scores lie from minus to plus this
AT_ONCE = 4  # windows
REPEATS = 200
VISIBLE, WHOLE, SPANS = "visible", "masked_tracks", "masked_positions"
MASKED = "masked"  # both of the latter
GROUPS = (VISIBLE, WHOLE, SPANS)
MODEL, NOTHING, RATE, OTHERS, LAST = "model", "nothing", "rate", "other_tracks", "last_seen"
GUESSED = (RATE, OTHERS, LAST)
SCORERS = (MODEL, *GUESSED)
FADES = 256  # bases, over which what was last seen is worth 1/e


@dataclass(frozen=True)
class Row:
    """A line of the table: a measure of a group of tokens or of values, with its 95 % interval and those of guesses,
    None where they have none."""

    part: str
    group: str
    measure: str
    n: int
    model: float
    interval: tuple[float, float] | None = None
    guesses: Mapping[str, float] = field(default_factory=dict)


@dataclass(eq=False)
class Counted:
    """What is counted window by window: right tokens of how many, by group and guess, and histograms of scores."""

    tokens: dict[str, list[tuple[int, int, int]]]  # n, right by the model, right by the next base
    scores: dict[tuple[str, str], list[NDArray[np.int32]]]  # (2, S) of negatives and positives


def evaluate_tracks(
    bundle: Bundle,
    reference: IndexedFasta,
    regions: Sequence[Region],
    aligned: AlignedTracks,
    guesses: OmicsBaselines,
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
    counted = Counted({VISIBLE: [], MASKED: []}, {(g, s): [] for g in GROUPS for s in SCORERS})
    rng = np.random.default_rng(seed)
    for windows, letters_BL in _batches(reference, regions, aligned, int(network.max_length or 0)):
        omics = Omics(settings, Alphabet(bundle.tokenizer, tracks=windows))
        made = omics.views(letters_BL, rng) | {BEGINS: windows.row_offsets[:, None]}
        views = {name: torch.from_numpy(view) for name, view in made.items()}
        views["targets_visible"] = _visible(omics, views)
        shown = omics.shown(views)
        with torch.inference_mode():
            hidden_BTD = network(views["ids"], features=shown.features)
            logits_BTC = network.track_logits(hidden_BTD, shown.features).float().numpy()
            likely_BT = network.likeliest_tokens(bundle.auxiliary["omics"], hidden_BTD).numpy()
        _count_tokens(counted, views, likely_BT, letters_BL, guesses)
        _count_scores(counted, shown, logits_BTC, views["masked_tracks"].numpy(), guesses)
    if not counted.tokens[MASKED]:
        raise InputError("the regions hold no window of the model", path=reference.path)
    return _table(counted, np.random.default_rng(seed), threshold)


def _batches(
    reference: IndexedFasta, regions: Sequence[Region], aligned: AlignedTracks, window: int
) -> Iterator[tuple[TrackWindows, Letters]]:
    """Windows end to end, each a row of its own; what is left at a region's end is in none."""
    places = [
        (region.contig, start)
        for region in regions
        for start in range(region.start, region.end - window + 1, window)
    ]
    for at in range(0, len(places), AT_ONCE):
        some = places[at : at + AT_ONCE]
        letters = [as_letters(reference.fetch(contig, a, a + window)) for contig, a in some]
        yield TrackWindows(aligned, np.arange(len(some)) * window, some), np.stack(letters)


def _visible(omics: Omics, views: Mapping[str, Tensor]) -> Tensor:
    """Every token that spells DNA and is not masked."""
    ids_BT = views["ids"]
    spelt_BT = torch.from_numpy(omics.alphabet.tokenizer.is_dna(ids_BT.numpy()))
    return torch.where(spelt_BT, ids_BT, NO_TARGET)


def _count_tokens(
    counted: Counted,
    views: Mapping[str, Tensor],
    likely_BT: NDArray[np.int64],
    letters_BL: Letters,
    guesses: OmicsBaselines,
) -> None:
    """Add the windows' tokens."""
    for group, name in ((VISIBLE, "targets_visible"), (MASKED, "targets")):
        targets_BT = views[name].numpy()
        for targets_T, likely_T, letters_L in zip(targets_BT, likely_BT, letters_BL, strict=True):
            chosen = np.flatnonzero(targets_T != NO_TARGET)
            right = int((likely_T[chosen] == targets_T[chosen]).sum())
            guessed = len(chosen)  # a visible token tells itself
            if group == MASKED:
                last = (
                    chosen + len(letters_L) - len(targets_T)
                )  # the base that no other token tells
                words = kmer_codes(letters_L)[np.maximum(last - ORDER, 0)]
                told = (last >= ORDER) & (words >= 0)
                guessed = int((guesses.next_base[words] == targets_T[chosen] % 4)[told].sum())
            counted.tokens[group].append((len(chosen), right, guessed))


def _count_scores(
    counted: Counted,
    shown: Shown,
    logits_BTC: NDArray[np.float32],
    whole_BC: NDArray[np.int64],
    guesses: OmicsBaselines,
) -> None:
    """Add the windows' values."""
    above_BTC = (shown.values > 0).numpy()
    known_BTC, masked_BTC = shown.known.numpy(), shown.masked.numpy()
    seen_BTC = known_BTC & ~masked_BTC
    taken_BTC = (above_BTC & seen_BTC).astype(np.float32)
    sums_BT1, count_BT1 = (part.sum(2, keepdims=True) for part in (taken_BTC, seen_BTC))
    others_BTC = (sums_BT1 - taken_BTC) / np.maximum(count_BT1 - seen_BTC, 1)
    spans_BT1 = masked_BTC.all(axis=2, keepdims=True)
    whole_BTC = np.broadcast_to(whole_BC[:, None] == 1, known_BTC.shape) & ~spans_BT1
    groups = {VISIBLE: seen_BTC, WHOLE: known_BTC & whole_BTC, SPANS: known_BTC & spans_BT1}
    rates_C = np.log(guesses.rates / (1 - guesses.rates))
    bins = {
        MODEL: _bins(logits_BTC),
        RATE: np.broadcast_to(_bins(rates_C), known_BTC.shape),
        OTHERS: _bins_of_shares(others_BTC),
        LAST: _bins_of_shares(last_seen(taken_BTC, seen_BTC)),
    }
    for group, chosen_BTC in groups.items():
        for scorer, bins_BTC in bins.items():
            for row, chosen_TC in enumerate(chosen_BTC):
                words = bins_BTC[row][chosen_TC] + BINS * above_BTC[row][chosen_TC]
                found = np.bincount(words, minlength=2 * BINS).astype(np.int32)
                counted.scores[group, scorer].append(found.reshape(2, BINS))


def last_seen(taken_BTC: NDArray[np.float32], seen_BTC: NDArray[np.bool_]) -> NDArray[np.floating]:
    """What each track was where it was last seen, at the position or before it in the window; 0 where it never was."""
    places_T1 = np.arange(seen_BTC.shape[1])[:, None]
    last_BTC = np.maximum.accumulate(np.where(seen_BTC, places_T1, -1), axis=1)
    value_BTC = np.take_along_axis(taken_BTC, np.maximum(last_BTC, 0), axis=1)
    found: NDArray[np.floating] = value_BTC * np.exp((last_BTC - places_T1) / FADES)
    return found


def _bins_of_shares(shares: NDArray[np.floating]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.minimum(shares * BINS, BINS - 1).astype(np.int64)
    return found


def _bins(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    scaled = (logits.clip(-LOGIT, LOGIT) + LOGIT) / (2 * LOGIT) * BINS
    return np.minimum(scaled, BINS - 1).astype(np.int64)


def _table(
    counted: Counted, rng: np.random.Generator, threshold: float | None
) -> tuple[list[Row], float]:
    rows = [
        Row("tokens", group, "accuracy", *_token_accuracy(np.array(of), rng))
        for group, of in counted.tokens.items()
    ]
    histograms = {
        (group, scorer): _histogram([counted.scores[name, scorer] for name in names])
        for group, names in {**{g: (g,) for g in GROUPS}, MASKED: (WHOLE, SPANS)}.items()
        for scorer in SCORERS
    }
    masked = histograms[MASKED, MODEL].total().f1()
    cut = (
        int(masked.argmax())
        if threshold is None
        else int(_bins(np.log(np.array(threshold / (1 - threshold)))))
    )
    for group in (VISIBLE, MASKED, WHOLE, SPANS):
        rows += _track_rows({s: histograms[group, s] for s in SCORERS}, group, cut, rng)
    return rows, 1 / (1 + float(np.exp(LOGIT - cut * 2 * LOGIT / BINS)))


def _token_accuracy(
    counts_W3: NDArray[np.int64], rng: np.random.Generator
) -> tuple[int, float, tuple[float, float], dict[str, float]]:
    n, right, guessed = counts_W3.sum(axis=0)
    draws = (
        rng.multinomial(len(counts_W3), np.full(len(counts_W3), 1 / len(counts_W3)), REPEATS)
        @ counts_W3
    )
    low, high = np.percentile(draws[:, 1] / np.maximum(draws[:, 0], 1), [2.5, 97.5])
    of = max(int(n), 1)
    return int(n), right / of, (float(low), float(high)), {"next_base": guessed / of}


def _histogram(parts: Sequence[Sequence[NDArray[np.int32]]]) -> ScoreHistogram:
    counts_W2S = sum(np.stack(part).astype(np.int64) for part in parts)
    assert isinstance(counts_W2S, np.ndarray)
    return ScoreHistogram(counts_W2S[:, 0], counts_W2S[:, 1])


def _track_rows(
    of: Mapping[str, ScoreHistogram], group: str, cut: int, rng: np.random.Generator
) -> Iterator[Row]:
    """The measures of a group of values."""
    totals = {scorer: histogram.total() for scorer, histogram in of.items()}
    model = totals[MODEL]
    positives, cases = (
        int(model.positives.sum()),
        int(model.positives.sum() + model.negatives.sum()),
    )
    windows = len(of[MODEL].positives)
    weights = rng.multinomial(windows, np.full(windows, 1 / windows), REPEATS)
    drawn = [of[MODEL].total(weight) for weight in weights]
    nothing = 1 - positives / max(cases, 1)

    def interval(values: list[float]) -> tuple[float, float]:
        low, high = np.nanpercentile(values, [2.5, 97.5]) if positives else (np.nan, np.nan)
        return float(low), float(high)

    def row(measure: str, value: float, within: tuple[float, float], **guesses: float) -> Row:
        return Row("tracks", group, measure, cases, value, within, guesses)

    yield row(
        "accuracy",
        float(model.accuracy(cut)),
        interval([float(d.accuracy(cut)) for d in drawn]),
        nothing=nothing,
    )
    best = {s: float(totals[s].f1().max()) for s in GUESSED}
    yield row(
        "f1",
        float(model.f1()[cut]),
        interval([float(d.f1()[cut]) for d in drawn]),
        nothing=0.0,
        **best,
    )
    areas = {s: float(totals[s].auc()) for s in GUESSED}
    yield row(
        "auc", float(model.auc()), interval([float(d.auc()) for d in drawn]), nothing=0.5, **areas
    )
    precisions = {s: float(totals[s].average_precision()) for s in GUESSED}
    yield row(
        "auprc",
        float(model.average_precision()),
        interval([float(d.average_precision()) for d in drawn]),
        nothing=1 - nothing,
        **precisions,
    )
