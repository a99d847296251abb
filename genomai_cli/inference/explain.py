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
from genomai_cli.inference.batching import DEFAULT_BATCHING, Batching
from genomai_cli.inference.label_odds import TRACKS, LabelOdds
from genomai_cli.inference.letter_effects import (
    GRADIENT,
    MUTAGENESIS,
    Changes,
    by_gradient,
    by_mutagenesis,
    mean_loss,
)
from genomai_cli.inference.likelihood import chunks
from genomai_cli.inference.track_effects import TrackMeans
from genomai_cli.inference.track_readers import columns_along, has_tracks, track_reader
from genomai_cli.records import SequenceRecord

RECORDS_PER_BATCH = {MUTAGENESIS: 8, GRADIENT: 64}
METHODS = {
    MUTAGENESIS: "every base replaced by each other",
    GRADIENT: "first-order effects of replacing every base, by the gradient",
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """The log odds of a label, HEAD:LABEL, for a record, the number of a HEAD, or the ln of the mean of a track,
    tracks/NAME, and how each substitution changes them: `changes` (L, 4) for A C G T, NaN for the letter itself and
    where the letter is no base. Of a stretch of a reference `place` is the contig and the first base, from 0. `flags`
    are those of the call."""

    name: str
    letters: str
    label: str
    odds: float
    changes: NDArray[np.float64]
    place: tuple[str, int] | None = None
    flags: tuple[str, ...] = ()

    @property
    def attributions(self) -> NDArray[np.float64]:
        """What each letter adds (L,), NaN where it is no base."""
        return mean_loss(self.changes)


def sequences_of(reference: IndexedFasta, regions: Path | None) -> Iterator[SequenceRecord]:
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
        alternative = bundle.input.explain_alternative
        raise BundleError(f"the model {bundle.name!r} does not read plain DNA: {alternative}")
    if method == GRADIENT and not all(n.has_token_gradients for n in bundle.classifier.networks):
        kind = bundle.config["network"]["kind"]
        raise BundleError(f"a network {kind!r} has no gradient by letters: --method {MUTAGENESIS}")


def explained_values(
    bundle: Bundle,
    labels: Sequence[str] = (),
    *,
    both_strands: bool,
    batching: Batching = DEFAULT_BATCHING,
    organism: str | None = None,
) -> LabelOdds | TrackMeans:
    """The model's values that are explained: the log odds of its labels and its numbers, or the means of the tracks in
    `labels`, by default of all."""
    if has_tracks(bundle):
        only = [label.removeprefix(TRACKS) for label in labels]
        return TrackMeans(bundle, only, both_strands=both_strands, organism=organism)
    return LabelOdds(bundle, both_strands=both_strands, batching=batching)


def labels_to_explain(
    bundle: Bundle, head: str | None, label: str | None, organism: str | None = None
) -> list[str]:
    """The labels, HEAD:LABEL, of which a record's most likely one is explained: those of a head, or the requested one;
    of a head of numbers its name, of tracks the requested one, in an organism's weights if there are such. UsageError
    for what the model does not have."""
    if has_tracks(bundle):
        return [_track_to_explain(bundle, head, label, organism)]
    if organism is not None:
        raise UsageError(f"--organism: the model {bundle.name!r} has no tracks")
    labels_by_head = {h: [f"{h}:{name}" for name in labels] for h, labels in bundle.heads.items()}
    labels_by_head |= {h: [h] for h in bundle.numbers}
    if head is not None and head not in labels_by_head:
        raise UsageError(f"--head {head}: the heads of the model are {', '.join(labels_by_head)}")
    matching_heads = [
        h for h in labels_by_head if label is None or f"{h}:{label}" in labels_by_head[h]
    ]
    chosen_heads = matching_heads if head is None else [head]
    if label is not None and not set(chosen_heads) & set(matching_heads):
        classes = [
            name for h in (chosen_heads or labels_by_head) for name in bundle.heads.get(h, ())
        ]
        class_names = ", ".join(classes) or "none"
        raise UsageError(f"--class {label}: the classes of the model are {class_names}")
    if len(chosen_heads) > 1:
        raise UsageError(f"--head: which of {', '.join(chosen_heads)}?")
    (chosen,) = chosen_heads
    return labels_by_head[chosen] if label is None else [f"{chosen}:{label}"]


def _track_to_explain(
    bundle: Bundle, head: str | None, label: str | None, organism: str | None
) -> str:
    if head is not None:
        raise UsageError(f"--head {head}: the model has tracks; --class names one")
    reader = track_reader(bundle, [label] if label else (), organism)
    names = [reader.tracks[column].name for column in columns_along(reader, ())[0]]
    chosen = names[0] if label is None and len(names) == 1 else label
    if chosen not in names:
        problem = "which track" if label is None else f"{label}: no track of the model"
        raise UsageError(f"--class {problem} ({len(names)}: {shown_names(names)})")
    return TRACKS + str(chosen)


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains records: of the `labels`, HEAD:LABEL, the one with the highest log odds; or a track."""

    odds: LabelOdds | TrackMeans
    labels: Sequence[str]
    method: str

    @property
    def description(self) -> str:
        """The method in words."""
        return METHODS[self.method]

    def explain(
        self, records: Iterable[SequenceRecord]
    ) -> Iterator[tuple[SequenceRecord, Explanation | None]]:
        """Every record with its explanation, in order; None where the model can read nothing."""
        for chunk in chunks(records, RECORDS_PER_BATCH[self.method]):
            yield from zip(chunk, self._explained(chunk), strict=True)

    def _explained(self, records: Sequence[SequenceRecord]) -> list[Explanation | None]:
        self._check_lengths(records)
        columns_K = [self.odds.labels.index(label) for label in self.labels]
        odds_NK = self.odds.of([record.held for record in records])[:, columns_K]
        known = np.flatnonzero(~np.isnan(odds_NK).any(1)).tolist()
        best_labels = odds_NK[known].argmax(1).tolist()
        texts = [records[number].held for number in known]
        explanations: list[Explanation | None] = [None] * len(records)
        if not texts:
            return explanations
        changes = self._changes(texts, [columns_K[label_index] for label_index in best_labels])
        flags = self._flags(texts)
        for number, label_index, change_LA, flags_of_text in zip(
            known, best_labels, changes, flags, strict=True
        ):
            record, odds = records[number], float(odds_NK[number, label_index])
            label = self.labels[label_index]
            explanations[number] = Explanation(
                record.name, record.held, label, odds, change_LA, record.place, flags_of_text
            )
        return explanations

    def _check_lengths(self, records: Sequence[SequenceRecord]) -> None:
        """InputError for a record that a model of tracks, which reads one window, does not reach over, or not read."""
        max_letters, step = self.odds.max_letters, self.odds.step
        for record in records:
            size = len(record.sequence)
            if size % step:
                message = (
                    f"{record.name} has {size:,} letters: the model reads multiples of {step:,}"
                )
                raise InputError(message, path=record.path, line=record.line or None)
            if max_letters is not None and size > max_letters:
                message = (
                    f"{record.name} has {size:,} letters: the model reads at most {max_letters:,}"
                )
                raise InputError(message, path=record.path, line=record.line or None)

    def _flags(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The flags of the calls; of a model that knows nothing of its training sequences none, so that no reading is
        wasted."""
        if isinstance(self.odds, LabelOdds) and self.odds.bundle.config.get("novelty"):
            return self.odds.flags(texts)
        return [()] * len(texts)

    def _changes(self, texts: Sequence[str], columns: Sequence[int]) -> list[Changes]:
        if self.method == MUTAGENESIS:
            return by_mutagenesis(self.odds, texts, columns)
        if isinstance(self.odds, TrackMeans):
            return self.odds.gradient(texts, columns)
        return by_gradient(self.odds, texts, columns)
