"""What `score` has found, as pages: effects of variants, or likelihoods of sequences, and how they are distributed.

Of more than `MAX_ROWS` the table has those that stand out; the distributions are of all.
"""

import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from genomai_cli.inference.effect_outputs import Counts
from genomai_cli.inference.label_odds import describe_label
from genomai_cli.inference.score import Score
from genomai_cli.inference.variant_effects import Comparison, Effect
from genomai_cli.reports import drawings
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    Notes,
    Picture,
    Pictures,
    Section,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.reports.wording import MAX_ROWS, abridged, counted, decimal

MAX_LABELS = 8  # whose changes the table shows
MAX_DRAWN_LABELS = 4  # of these
MAX_ALLELE_LETTERS = 40  # letters of an allele that are shown
OF_EFFECTS = (
    "A change says what the model makes of an allele in its surroundings, by the statistics of the DNA that it was "
    "trained on. It is no diagnosis, and no evidence by itself that a variant does harm."
)
OF_LIKELIHOODS = (
    "Likelihoods of models with other tokens or methods, and sums over sequences of other lengths, cannot be compared; "
    "means by base of one model can."
)


class TopRows:
    """The rows of the largest values, at most `max_rows`, in the order that they came in."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self.max_rows, self.count = max_rows, 0
        self._heap: list[tuple[float, int, tuple[str, ...]]] = []

    def add(self, value: float, cells: tuple[str, ...]) -> None:
        """One more row; of rows with equal values the first are retained."""
        entry = (-math.inf if math.isnan(value) else value, -self.count, cells)
        self.count += 1
        if len(self._heap) < self.max_rows:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows that were retained."""
        return [cells for _, _, cells in sorted(self._heap, key=lambda entry: -entry[1])]

    def caption(self, which: str) -> str:
        """The caption of a table without all rows."""
        return abridged(min(self.max_rows, self.count), self.count, which)


class EffectReport:
    """Collects effects for a page as they pass; the model has these labels besides its likelihood, if it has one, and
    `places` are the columns of locations."""

    def __init__(
        self, labels: Sequence[str], locations: Sequence[str] = (), *, has_likelihood: bool
    ) -> None:
        self.labels, self.has_likelihood = list(labels)[:MAX_LABELS], has_likelihood
        shown_locations = {
            n: name for n, name in enumerate(locations) if name.rpartition(":")[0] in self.labels
        }
        self.locations = shown_locations  # by their numbers among all
        self.left_out = len(labels) - len(self.labels)
        self.strongest = TopRows()
        names = [*(["log-likelihood"] if has_likelihood else []), *self.labels[:MAX_DRAWN_LABELS]]
        self._changes = {name: array("d") for name in names}

    def watch(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        """The effects themselves."""
        for effect in effects:
            if effect.comparison is not None:
                self._add(effect, effect.comparison)
            yield effect

    def _add(self, effect: Effect, comparison: Comparison) -> None:
        label_changes = comparison.odds[: len(self.labels)].tolist()
        for label, value in zip(self.labels, label_changes, strict=True):
            if label in self._changes:
                self._changes[label].append(value)
        numbers = label_changes
        if self.has_likelihood:
            self._changes["log-likelihood"].append(comparison.delta)
            scores = (comparison.ref.score.total, comparison.alt.score.total)
            numbers = [comparison.delta, comparison.delta_per_base, *scores, *label_changes]
        strength = np.abs(np.append(comparison.odds, comparison.delta))
        largest = float(np.nanmax(strength)) if np.isfinite(strength).any() else math.nan
        start, end = comparison.window
        record = effect.record
        self.strongest.add(
            abs(comparison.delta) if self.has_likelihood else largest,
            (
                f"{record.contig}:{record.position}",
                _short(record.ref),
                _short(effect.alt),
                *map(decimal, numbers),
                *(comparison.locations[number] for number in self.locations),
                f"{start + 1}-{end}",
            ),
        )

    def page(self, model: str, counts: Counts, facts: Mapping[str, str]) -> Page:
        """The page of all that have passed."""
        tiles = [Tile("alleles scored", f"{counts.scored:,}")]
        skipped = sum(counts.skipped.values())
        tiles.append(Tile("without a score", f"{skipped:,}", warn=skipped > 0))
        for name, values in list(self._changes.items())[:1]:
            known = _finite(values)
            if len(known):
                tiles.append(Tile(f"median change of {name}", decimal(float(np.median(known)))))
                tiles.append(Tile("largest fall", decimal(float(known.min()))))
                tiles.append(Tile("largest rise", decimal(float(known.max()))))
        sections: list[Section] = [Tiles(tiles), *_skipped(counts), *self._drawn(), self._table()]
        sections += [Facts("How it was made", facts), Notes("Limits", [OF_EFFECTS])]
        count = counted(counts.scored, "allele")
        return Page(f"Effects of {count} by {model}", "", sections)

    def _drawn(self) -> Iterator[Pictures]:
        pictures = []
        for name, values in self._changes.items():
            known = _finite(values)
            if len(known) > 1:
                unit = "change (nats)" if name == "log-likelihood" else "change"
                svg = drawings.histogram(known, x=unit, y="alleles")
                what = "the log-likelihood" if name == "log-likelihood" else describe_label(name)
                pictures.append(Picture(f"Change of {what}", svg))
        if pictures:
            yield Pictures("How large the changes are", pictures)

    def _table(self) -> Table:
        columns = [Column("variant"), Column("ref"), Column("alt")]
        if self.has_likelihood:
            columns += [
                Column("delta", number=True, description="change of the log-likelihood of the window, nats"),
                Column("delta per base", number=True, description="change of the mean of the scored bases"),
                Column("ref score", number=True, description="log-likelihood with the reference allele"),
                Column("alt score", number=True, description="log-likelihood with this allele"),
            ]  # fmt: skip
        columns += [
            Column(label, number=True, description=f"change of {describe_label(label)}")
            for label in self.labels
        ]
        columns += [
            Column(name, description="where it changes most") for name in self.locations.values()
        ]
        columns.append(Column("window"))
        caption = self.strongest.caption("those of the largest changes either way")
        if self.left_out:
            caption += f" {self.left_out} more labels are in the file that was written."
        return Table("Variants", columns, self.strongest.rows, caption.strip())


def _finite(values: Sequence[float]) -> np.ndarray:
    found = np.array(values, np.float64)
    return found[np.isfinite(found)]


def _skipped(counts: Counts) -> Iterator[Table]:
    if counts.skipped:
        rows = [(reason, f"{count:,}") for reason, count in counts.skipped.most_common()]
        columns = [Column("why"), Column("alleles", number=True)]
        yield Table("Alleles without a score", columns, rows)


def _short(allele: str) -> str:
    """The allele, cut if it is long."""
    if len(allele) <= MAX_ALLELE_LETTERS:
        return allele
    return f"{allele[:MAX_ALLELE_LETTERS]}… ({len(allele):,} letters)"


class LikelihoodReport:
    """Collects scores of sequences for a page as they pass."""

    def __init__(self) -> None:
        self.strongest = TopRows()
        self.unscored = 0
        self._means, self._lengths = array("d"), array("d")

    def add(self, name: str, length: int, score: Score) -> None:
        """One more sequence."""
        self.unscored += score.bases == 0
        self._means.append(score.per_base)
        self._lengths.append(length)
        numbers = (score.total, score.per_base, score.perplexity)
        cells = (name, f"{length:,}", *map(decimal, numbers), f"{score.bases:g}")
        self.strongest.add(math.inf if score.bases == 0 else -score.per_base, cells)

    def page(self, model: str, facts: Mapping[str, str]) -> Page:
        """The page of all that have passed."""
        count, known = self.strongest.count, _finite(self._means)
        tiles = [Tile("sequences", f"{count:,}")]
        tiles.append(Tile("without a score", f"{self.unscored:,}", warn=self.unscored > 0))
        if len(known):
            tiles.append(Tile("median log-likelihood by base", decimal(float(np.median(known)))))
        sections: list[Section] = [Tiles(tiles)]
        if len(known) > 1:
            likely = drawings.histogram(known, x="log-likelihood by base (nats)", y="sequences")
            lengths = np.array(self._lengths)
            by_length = drawings.points(
                lengths, np.array(self._means), x="letters", y="by base (nats)", diagonal=False
            )
            drawn = [Picture("Distribution", likely), Picture("By length", by_length)]
            sections.append(Pictures("How likely the sequences are", drawn))
        sections += [self._table(), Facts("How it was made", facts)]
        title = counted(count, "sequence")
        limits = Notes("Limits", [OF_LIKELIHOODS])
        return Page(f"Likelihood of {title} by {model}", "", [*sections, limits])

    def _table(self) -> Table:
        columns = [
            Column("sequence"),
            Column("length", number=True),
            Column("log-likelihood", number=True, description="nats"),
            Column("by base", number=True, description="mean over the scored bases, nats"),
            Column("perplexity", number=True, description="equally likely bases that the model chooses from"),
            Column("scored", number=True, description="bases that have a score"),
        ]  # fmt: skip
        caption = self.strongest.caption("those without a score and the least likely by base")
        return Table("Sequences", columns, self.strongest.rows, caption)
