"""Effects of alleles: how log-likelihoods and log odds of labels change from the reference's allele to another.

Both alleles are read in the same surroundings: a window of the reference that has as many letters on one side of the
change as on the other, together with the longer allele at most as long as asked. At a contig's end the window is moved
inward; nothing is filled up. Of a masked model only the bases of the allele and some around it are scored
(pseudo-likelihood), of a next-token model all of the window.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from genomai_cli.alphabet import BASES
from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.reference_regions import checked_contig
from genomai_cli.formats.variant_alleles import (
    AlleleRecord,
    Change,
    is_sequence,
    normalised,
    reference_allele,
    reference_mismatch,
)
from genomai_cli.inference.label_odds import Odds
from genomai_cli.inference.likelihood import (
    MASKED,
    STRETCHES_PER_BATCH,
    Likelihood,
    Stretch,
    chunks,
)
from genomai_cli.inference.score import Score

NO_ALLELE, SYMBOLIC, TOO_LONG, MISMATCH, SHORT = (
    "no alternate allele",
    "symbolic, ambiguous, * or breakend",
    "longer than the window",
    "not as in the reference",
    "on a contig shorter than what the model reads",
)


@dataclass(frozen=True, eq=False)
class AlleleReading:
    """A model's predictions for one allele: the log-likelihood, NaN without one, and the log odds (labels,)."""

    score: Score
    odds: Odds


@dataclass(frozen=True, eq=False)
class Comparison:
    """A change, the window of the reference around it (from 0), and a model's predictions for it with either allele;
    `locations` are where values of `Contrasts` were taken."""

    change: Change
    window: tuple[int, int]
    ref: AlleleReading
    alt: AlleleReading
    locations: Sequence[str] = ()

    @property
    def delta(self) -> float:
        """How much the log-likelihood changes, in nats."""
        return self.alt.score.total - self.ref.score.total

    @property
    def delta_per_base(self) -> float:
        """How much the mean over the scored bases changes."""
        return self.alt.score.per_base - self.ref.score.per_base

    @property
    def odds(self) -> Odds:
        """How much the log odds (labels,) change."""
        return self.alt.odds - self.ref.odds


@dataclass(frozen=True, eq=False)
class Effect:
    """An allele of the record with this `number` and its effect; `skipped` says why there is none."""

    number: int
    record: AlleleRecord
    alt: str
    comparison: Comparison | None = None
    skipped: str = ""


class SequencePredictor(Protocol):
    """A model's predictions for sequences besides a likelihood: log odds of labels, numbers, or values of tracks."""

    @property
    def labels(self) -> list[str]:
        """Their names."""

    @property
    def both_strands(self) -> bool:
        """Whether values are of both strands together."""

    def of_stretches(self, stretches: Sequence[Stretch]) -> Odds:
        """The values (N, labels) of stretches."""


@dataclass(frozen=True, eq=False)
class AllelePair:
    """The windows with the reference's allele, which begins at `begin` of the contig, and with the other, and the
    letters at which the change begins in each."""

    change: Change
    begin: int
    ref: Stretch
    alt: Stretch
    ref_at: int
    alt_at: int


@dataclass(frozen=True, eq=False)
class LocatedValues:
    """The values (labels,) of either allele, each at one location, and the locations in words."""

    ref: Odds
    alt: Odds
    locations: Sequence[str]


class Contrasts(Protocol):
    """Predictions that need both alleles at once, as they are taken where the two differ most."""

    @property
    def labels(self) -> list[str]:
        """The names of the values."""

    @property
    def location_names(self) -> list[str]:
        """The names of the columns of locations."""

    @property
    def description(self) -> str:
        """What they are, and how they are read, in words."""

    def of(self, pair: AllelePair) -> LocatedValues:
        """The values of two alleles."""


class Scorer:
    """Scores alleles by a model: by a likelihood, log odds of labels, or both, or means of tracks and contrasts;
    `window` in letters, `flank` in letters on each side of a change that a masked model, or one of tracks, scores
    besides it. With a `step` texts are multiples of it: the window's length, whatever the allele's. `organism` is that
    whose weights are read, of a model that has those of several."""

    def __init__(
        self,
        likelihood: Likelihood | None,
        odds: SequencePredictor | None,
        *,
        window: int,
        flank: int,
        step: int = 1,
        contrasts: Contrasts | None = None,
        organism: str = "",
    ) -> None:
        if likelihood is None and odds is None and contrasts is None:
            raise BundleError("the model has neither a likelihood nor heads")
        self.likelihood, self.odds, self.contrasts = likelihood, odds, contrasts
        self.window, self.flank, self.step = window, flank, step
        self.organism = organism

    @property
    def labels(self) -> list[str]:
        """The names of the numbers besides a likelihood: of log odds HEAD:LABEL."""
        of_odds = [] if self.odds is None else self.odds.labels
        return of_odds + ([] if self.contrasts is None else self.contrasts.labels)

    @property
    def location_names(self) -> list[str]:
        """The names of the columns of locations; none without contrasts."""
        return [] if self.contrasts is None else self.contrasts.location_names

    def compare(
        self, window: tuple[int, int], pair: AllelePair, ref: AlleleReading, alt: AlleleReading
    ) -> Comparison:
        """The comparison of two alleles, with the values of contrasts."""
        if self.contrasts is None:
            return Comparison(pair.change, window, ref, alt)
        located = self.contrasts.of(pair)
        ref, alt = (
            replace(reading, odds=np.concatenate([reading.odds, extra_odds]))
            for reading, extra_odds in ((ref, located.ref), (alt, located.alt))
        )
        return Comparison(pair.change, window, ref, alt, located.locations)

    def readings(self, stretches: Sequence[Stretch]) -> list[AlleleReading]:
        """The model's predictions for each."""
        scores = [Score(math.nan, math.nan)] * len(stretches)
        odds = np.empty((len(stretches), 0))
        if self.likelihood is not None:
            scores = [Score.of(logs_SL) for logs_SL in self._scored(stretches)]
        if self.odds is not None:
            odds = self.odds.of_stretches(stretches)
        return [AlleleReading(*pair) for pair in zip(scores, odds, strict=True)]

    def _scored(self, stretches: Sequence[Stretch]) -> Iterator[Odds]:
        assert self.likelihood is not None
        full_window = self.likelihood.method != MASKED
        return self.likelihood.letters(Stretch(s.text) if full_window else s for s in stretches)


@dataclass(frozen=True)
class ReferenceLookup:
    """The reference that alleles are looked up in, and what becomes of a record that disagrees with it: with
    `on_mismatch`, which gets a message, it is left out; else it is an error."""

    reference: IndexedFasta
    on_mismatch: Callable[[str], None] | None = None

    def checked_contig(self, record: AlleleRecord) -> str | None:
        """The reference's name of the record's contig; None for a record to be left out, InputError for one that is
        not to."""
        contig = self.reference.name(record.contig)
        if contig is None:
            contigs = self.reference.contig_list()
            problem = (
                f"contig {record.contig} is not in {self.reference.path} (which has {contigs})"
            )
        else:
            problem = reference_mismatch(record, contig, self.reference)
        if not problem:
            return contig
        if self.on_mismatch is None:
            raise InputError(f"{record.label}: {problem}", path=record.path, line=record.line)
        self.on_mismatch(f"{record.label}: {problem}")
        return None


def effects(
    records: Iterable[AlleleRecord], site: ReferenceLookup, scorer: Scorer
) -> Iterator[Effect]:
    """The effect of every allele of every record, in order; a record without alleles has one that is skipped."""
    planned_effects = (
        allele
        for number, record in enumerate(records)
        for allele in _alleles(number, record, site, scorer)
    )
    for batch in chunks(planned_effects, STRETCHES_PER_BATCH):
        pairs = [
            _allele_pair(*placed, site.reference, scorer) if placed else None for _, placed in batch
        ]
        unique_stretches = list(
            dict.fromkeys(text for pair in pairs if pair for text in (pair.ref, pair.alt))
        )
        readings = dict(zip(unique_stretches, scorer.readings(unique_stretches), strict=True))
        for (effect, placed), pair in zip(batch, pairs, strict=True):
            if placed and pair:
                allele_readings = readings[pair.ref], readings[pair.alt]
                effect = replace(
                    effect, comparison=scorer.compare(placed[1], pair, *allele_readings)
                )
            yield effect


WindowedChange = tuple[Change, tuple[int, int]]  # a change and its window


def _alleles(
    number: int, record: AlleleRecord, site: ReferenceLookup, scorer: Scorer
) -> Iterator[tuple[Effect, WindowedChange | None]]:
    """The alleles of a record, not yet scored, each with what is to be scored."""
    if not record.alts:
        yield Effect(number, record, "", skipped=NO_ALLELE), None
        return
    contig = site.checked_contig(record) if any(map(is_sequence, record.alts)) else None
    for alt in record.alts:
        if not is_sequence(alt):
            yield Effect(number, record, alt, skipped=SYMBOLIC), None
        elif contig is None:
            yield Effect(number, record, alt, skipped=MISMATCH), None
        else:
            ref = reference_allele(record, contig, site.reference)
            change = normalised(contig, record.position, ref, alt, site.reference)
            length = site.reference.lengths[contig]
            if scorer.step > 1:
                window = fixed_window_of(change, length, scorer.window, scorer.step)
            else:
                window = window_of(change, length, scorer.window)
            skipped = "" if window else SHORT if length < 2 * scorer.step else TOO_LONG
            yield Effect(number, record, alt, skipped=skipped), window and (change, window)


def window_of(change: Change, length: int, window: int) -> tuple[int, int] | None:
    """The part of a contig of so many letters around a change, moved inward at the ends; None if no letter of it would
    be beside the longer allele."""
    flank = (window - max(len(change.ref), len(change.alt))) // 2
    if flank < 1:
        return None
    before = min(flank, change.start) + max(0, flank - (length - change.end))
    after = min(flank, length - change.end) + max(0, flank - change.start)
    return max(0, change.start - before), min(length, change.end + after)


def fixed_window_of(change: Change, length: int, window: int, step: int) -> tuple[int, int] | None:
    """The window around a change for networks that read multiples of `step` letters: so many, or as many as the contig
    has with either allele. None where the longer allele has more than half of them."""
    shorter_length = length - max(0, len(change.ref) - len(change.alt))
    size = min(window, shorter_length // step * step)
    if 2 * max(len(change.ref), len(change.alt)) > size:
        return None
    begin = (change.start + change.end - size) // 2
    begin = max(0, min(begin, length - size))
    return begin, begin + size


def _allele_pair(
    change: Change, window: tuple[int, int], reference: IndexedFasta, scorer: Scorer
) -> AllelePair:
    """The window with the reference's allele and with the other, of which that of networks that read multiples is as
    long: its end moves, and its beginning where the contig, or what lies behind the change, ends."""
    length = reference.lengths[change.contig]

    def stretch(allele: str) -> tuple[Stretch, int]:
        begin, end = window
        if scorer.step > 1:
            size = end - begin
            end = min(max(change.end, end + len(change.ref) - len(allele)), length)
            begin = change.start - (size - len(allele) - (end - change.end))
        before = reference.fetch(change.contig, begin, change.start)
        text = before + allele + reference.fetch(change.contig, change.end, end)
        first, last = len(before), min(len(text), len(before) + len(allele) + scorer.flank)
        return Stretch(text, max(0, first - scorer.flank), last), first

    (ref, ref_at), (alt, alt_at) = stretch(change.ref), stretch(change.alt)
    return AllelePair(change, change.start - ref_at, ref, alt, ref_at, alt_at)


def all_substitutions(
    regions: Iterable[Region], reference: IndexedFasta, path: str
) -> Iterator[AlleleRecord]:
    """A record with three alleles for each base of the regions of a BED file; ambiguous letters have none."""
    for region in regions:
        contig = checked_contig(region, reference, path)
        for offset, base in enumerate(reference.fetch(contig, region.start, region.end)):
            if base in BASES:
                alts = tuple(other for other in BASES if other != base)
                position = region.start + offset + 1
                yield AlleleRecord(region.contig, position, base, alts, path, region.line)
