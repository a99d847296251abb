"""How a model scores: by its likelihood, its labels' log odds, or both, with defaults for options that are not set."""

from collections.abc import Sequence
from dataclasses import dataclass

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import to_single_precision
from genomai_cli.errors import UsageError
from genomai_cli.formats.track_table import chosen_tracks
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching
from genomai_cli.inference.label_odds import LabelOdds
from genomai_cli.inference.likelihood import (
    MASKED,
    Likelihood,
    Settings,
    has_likelihood,
    likelihood_of,
    window_letters,
)
from genomai_cli.inference.splice_effects import DEFAULT_REACH, SpliceEffects
from genomai_cli.inference.track_effects import MEAN, TrackMeans
from genomai_cli.inference.track_readers import has_tracks, window_for
from genomai_cli.inference.variant_effects import Scorer

DEFAULT_WINDOW = 1024  # letters around a variant, or of a masked model, if it can read so many
DEFAULT_FLANK = 8  # letters on each side of a variant that a masked model scores
TRACK_FLANK = DEFAULT_REACH  # and over which the mean of a track is


@dataclass(frozen=True)
class ScoringOptions:
    """How the model is to read: so many letters at once, and of masked models so many on each side of a variant, every
    so-manieth base masked at once; None for what `docs/commands.md` says."""

    window: int | None = None
    flank: int | None = None
    mask_every: int | None = None
    both_strands: bool = False
    only: Sequence[str] = ()  # of the tracks, by name, assay or tissue
    organism: str | None = None  # whose tracks
    aggregation: str = MEAN  # of a track over the bases that count


def likelihood_for(
    bundle: Bundle,
    reading: ScoringOptions,
    batching: Batching = DEFAULT_BATCHING,
    *,
    of_variants: bool = False,
) -> Likelihood:
    """The model's likelihood, by default in windows as long as it can read, of masked models and of variants of at most
    1,024 letters. BundleError for a model that has none, UsageError for settings that are not for sequences."""
    if not of_variants:
        _require_settings_of_sequences(reading)
    window = reading.window
    if window is None and (of_variants or likelihood_of(bundle)[0] == MASKED):
        window = min(DEFAULT_WINDOW, window_letters(bundle, None) or DEFAULT_WINDOW)
    settings = Settings(
        window,
        reading.both_strands,
        reading.mask_every,
        only_bases=of_variants,
        window_by_window=of_variants and reads_window_by_window(bundle),
    )
    return Likelihood(bundle, settings, batching)


def _require_settings_of_sequences(reading: ScoringOptions) -> None:
    set_options = {"flank": reading.flank is not None, **_track_options(reading)}
    if names := [name for name, is_set in set_options.items() if is_set]:
        raise UsageError(f"--{names[0]} is for variants: every letter of a sequence counts")


def _track_options(reading: ScoringOptions) -> dict[str, bool]:
    """The settings that are about tracks, and which of them are set."""
    return {
        "only": bool(reading.only),
        "organism": reading.organism is not None,
        "aggregation": reading.aggregation != MEAN,
    }


def reads_window_by_window(bundle: Bundle) -> bool:
    """Whether variants are read window by window, so that single precision gives the same rows in any batch."""
    on_cpu = next(bundle.classifier.parameters()).device.type == "cpu"
    return on_cpu and not bundle.heads


def scorer_for(
    bundle: Bundle, reading: ScoringOptions, batching: Batching = DEFAULT_BATCHING
) -> Scorer:
    """The scorer of variants by the model; one that is read window by window is in single precision from then on.

    Raises UsageError for settings that are not for this model, BundleError where it can say nothing.
    """
    both_strands = reading.both_strands
    if has_tracks(bundle):
        return _track_scorer(bundle, reading)
    if names := [name for name, is_set in _track_options(reading).items() if is_set]:
        raise UsageError(f"--{names[0]}: the model {bundle.name!r} has no tracks")
    has_heads = bool(bundle.heads or bundle.numbers)
    odds = LabelOdds(bundle, both_strands=both_strands, batching=batching) if has_heads else None
    likelihood = None
    if reads_window_by_window(bundle):
        to_single_precision([bundle.classifier, *bundle.auxiliary.values()])
    if odds is None or has_likelihood(bundle):
        likelihood = likelihood_for(bundle, reading, batching, of_variants=True)
    elif reading.mask_every is not None:
        raise UsageError(f"--mask-every: the model {bundle.name!r} has no likelihood")
    if reading.flank is not None and (likelihood is None or likelihood.method != MASKED):
        raise UsageError("--flank is for the likelihood of masked models")
    window = likelihood.window if likelihood else reading.window
    window = window or min(DEFAULT_WINDOW, window_letters(bundle, None) or DEFAULT_WINDOW)
    flank = DEFAULT_FLANK if reading.flank is None else reading.flank
    return Scorer(likelihood, odds, window=window, flank=flank)


def _track_scorer(bundle: Bundle, reading: ScoringOptions) -> Scorer:
    """The scorer by the means of the model's tracks around variants, and by changes of splicing."""
    if reading.mask_every is not None:
        raise UsageError(f"--mask-every: the model {bundle.name!r} has no likelihood")
    to_single_precision([bundle.classifier])
    tracks = TrackMeans(
        bundle,
        reading.only,
        both_strands=reading.both_strands,
        organism=reading.organism,
        aggregation=reading.aggregation,
        splicing=False,
    )
    reader = tracks.reader
    splicing = [n for n in chosen_tracks(reader.tracks, reading.only) if n in reader.splicing_heads]
    contrasts = None
    if splicing:
        contrasts = SpliceEffects(
            reader, splicing, both_strands=reading.both_strands, reach=reading.flank
        )
    return Scorer(
        None,
        tracks if tracks.labels else None,
        window=window_for(reader, reading.window),
        flank=TRACK_FLANK if reading.flank is None else reading.flank,
        step=tracks.step,
        contrasts=contrasts,
        organism=reader.organism,
    )
