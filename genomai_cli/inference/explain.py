"""Which letters drove a call: for every base of a sequence what it adds to the log odds of the label, or to a number.

The attribution of a letter is the label's log odds minus their mean over the three sequences with another base in its
place (as Alipanahi et al. 2015, Nat Biotechnol 33:831, draw mutation maps; the mean over all four bases, which others
take away, would make it three quarters of this). Where a model is additive in the letters, attributions say it all;
elsewhere two letters that can stand in for each other have none, and letters that need each other share.

Shape suffixes: L letters, A bases.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, InputError, UsageError, shown_names
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.reference_regions import regions_of
from genomai_cli.inference.batching import AS_FITS, Batching
from genomai_cli.inference.label_odds import TRACKS, LabelOdds
from genomai_cli.inference.letter_effects import (
    GRADIENT,
    MUTAGENESIS,
    Changes,
    by_gradient,
    mean_loss,
    mutated,
)
from genomai_cli.inference.likelihood import chunks
from genomai_cli.inference.track_effects import TrackMeans
from genomai_cli.inference.track_readers import columns_along, has_tracks, track_reader
from genomai_cli.records import SequenceRecord

RECORDS_AT_ONCE = {MUTAGENESIS: 8, GRADIENT: 64}
METHODS = {
    MUTAGENESIS: "every base replaced by each other",
    GRADIENT: "first-order effects of replacing every base, by the gradient",
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """The log odds of a label, HEAD:LABEL, for a record, the number of a HEAD, or the ln of the mean of a track,
    tracks/NAME, and how each substitution changes them: `changes` (L, 4) for A C G T, NaN for the letter itself and
    where the letter is no base. Of a stretch of a reference `place` is the contig and the first base, from 0."""

    name: str
    letters: str
    label: str
    odds: float
    changes: NDArray[np.float64]
    place: tuple[str, int] | None = None

    @property
    def attributions(self) -> NDArray[np.float64]:
        """What each letter adds (L,), NaN where it is no base."""
        return mean_loss(self.changes)


def stretches_of(reference: IndexedFasta, regions: Path | None) -> Iterator[SequenceRecord]:
    """The regions of a BED file, or whole contigs, each called CONTIG:FIRST-LAST from 1; InputError for what cannot be
    read there."""
    for region in regions_of(reference, regions):
        yield SequenceRecord(
            f"{region.contig}:{region.start + 1}-{region.end}",
            reference.fetch(region.contig, region.start, region.end),
            path=str(regions or reference.path),
            line=region.line,
            place=(region.contig, region.start),
        )


def require_explainable(bundle: Bundle, method: str) -> None:
    """BundleError, which names what there is instead, for a model whose calls cannot be explained letter by letter, or
    not by this method."""
    if has_tracks(bundle):
        return
    bundle.require_answers()
    if bundle.input.coordinates is not None:
        instead = bundle.input.explain_alternative
        raise BundleError(f"the model {bundle.name!r} does not read plain DNA: {instead}")
    if method == GRADIENT and not all(n.has_token_slopes for n in bundle.classifier.networks):
        kind = bundle.config["network"]["kind"]
        raise BundleError(f"a network {kind!r} has no gradient by letters: --method {MUTAGENESIS}")


def readings(
    bundle: Bundle,
    asked: Sequence[str] = (),
    *,
    both_strands: bool,
    batching: Batching = AS_FITS,
    organism: str | None = None,
) -> LabelOdds | TrackMeans:
    """What is explained of this model: the log odds of its labels and its numbers, or the means of the tracks `asked`,
    by default of all."""
    if has_tracks(bundle):
        only = [label.removeprefix(TRACKS) for label in asked]
        return TrackMeans(bundle, only, both_strands=both_strands, organism=organism)
    return LabelOdds(bundle, both_strands=both_strands, batching=batching)


def labels_asked(
    bundle: Bundle, head: str | None, label: str | None, organism: str | None = None
) -> list[str]:
    """The labels, HEAD:LABEL, of which a record's most likely one is explained: those of a head, or the one that is
    asked for; of a head of numbers its name, of tracks the one that is asked for, in an organism's weights if there are
    such. UsageError for what the model does not have."""
    if has_tracks(bundle):
        return [_track_asked(bundle, head, label, organism)]
    if organism is not None:
        raise UsageError(f"--organism: the model {bundle.name!r} has no tracks")
    every = {h: [f"{h}:{name}" for name in labels] for h, labels in bundle.heads.items()}
    every |= {h: [h] for h in bundle.numbers}
    if head is not None and head not in every:
        raise UsageError(f"--head {head}: the heads of the model are {', '.join(every)}")
    named = [h for h in every if label is None or f"{h}:{label}" in every[h]]
    asked = named if head is None else [head]
    if label is not None and not set(asked) & set(named):
        known = [name for h in (asked or every) for name in bundle.heads.get(h, ())]
        told = ", ".join(known) or "none"
        raise UsageError(f"--class {label}: the classes of the model are {told}")
    if len(asked) > 1:
        raise UsageError(f"--head: which of {', '.join(asked)}?")
    (chosen,) = asked
    return every[chosen] if label is None else [f"{chosen}:{label}"]


def _track_asked(bundle: Bundle, head: str | None, label: str | None, organism: str | None) -> str:
    if head is not None:
        raise UsageError(f"--head {head}: the model has tracks; --class names one")
    reader = track_reader(bundle, [label] if label else (), organism)
    names = [reader.tracks[column].name for column in columns_along(reader, ())[0]]
    chosen = names[0] if label is None and len(names) == 1 else label
    if chosen not in names:
        lead = "which track" if label is None else f"{label}: no track of the model"
        raise UsageError(f"--class {lead} ({len(names)}: {shown_names(names)})")
    return TRACKS + str(chosen)


@dataclass(frozen=True, eq=False)
class Explainer:
    """What explains records: of the labels `asked`, HEAD:LABEL, the one with the highest log odds; or a track."""

    odds: LabelOdds | TrackMeans
    asked: Sequence[str]
    method: str

    @property
    def description(self) -> str:
        """The method in words."""
        return METHODS[self.method]

    def explain(
        self, records: Iterable[SequenceRecord]
    ) -> Iterator[tuple[SequenceRecord, Explanation | None]]:
        """Every record with its explanation, in order; None where the model can read nothing."""
        for some in chunks(records, RECORDS_AT_ONCE[self.method]):
            yield from zip(some, self._explained(some), strict=True)

    def _explained(self, records: Sequence[SequenceRecord]) -> list[Explanation | None]:
        self._check_lengths(records)
        columns_K = [self.odds.labels.index(label) for label in self.asked]
        odds_NK = self.odds.of([record.held for record in records])[:, columns_K]
        known = np.flatnonzero(~np.isnan(odds_NK).any(1)).tolist()
        best = odds_NK[known].argmax(1).tolist()
        texts = [records[number].held for number in known]
        found: list[Explanation | None] = [None] * len(records)
        if not texts:
            return found
        changes = self._changes(texts, [columns_K[place] for place in best])
        for number, place, change_LA in zip(known, best, changes, strict=True):
            record, odds = records[number], float(odds_NK[number, place])
            found[number] = Explanation(
                record.name, record.held, self.asked[place], odds, change_LA, record.place
            )
        return found

    def _check_lengths(self, records: Sequence[SequenceRecord]) -> None:
        """InputError for a record that a model of tracks, which reads one window, does not reach over, or not read."""
        longest, step = self.odds.longest, self.odds.step
        for record in records:
            size = len(record.sequence)
            if size % step:
                message = (
                    f"{record.name} has {size:,} letters: the model reads multiples of {step:,}"
                )
                raise InputError(message, path=record.path, line=record.line or None)
            if longest is not None and size > longest:
                message = f"{record.name} has {size:,} letters: the model reads at most {longest:,}"
                raise InputError(message, path=record.path, line=record.line or None)

    def _changes(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        if self.method == MUTAGENESIS:
            return mutated(self.odds, texts, columns)
        if isinstance(self.odds, TrackMeans):
            return self.odds.gradient(texts, columns)
        return by_gradient(self.odds, texts, columns)
