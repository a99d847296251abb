"""Calls as a report: the sections of a page, and the map and bars of a picture.

Shape suffixes: N samples, K labels.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.inference.classify import SIGNIFICANT, Call
from genomai_cli.inputs.base import FlagText, Measure, ReferenceSpace
from genomai_cli.reports.page import Page
from genomai_cli.reports.sections import (
    Column,
    Facts,
    FractionBars,
    Notes,
    SampleMap,
    Section,
    Table,
    Tile,
    Tiles,
)
from genomai_cli.reports.wording import MAX_ROWS, abridged, counted

MAX_FRACTION_COLUMNS = 8  # fractions that the table shows too
MAX_BAR_LABELS = 30  # labels of which probabilities are drawn
OTHER_FLAG = FlagText("See docs/outputs.md.", "Look into the sample before its label is used.")
NOT_RACE = (
    "Labels say which reference groups a sample is most similar to. Similarity to reference groups is neither "
    "race nor ethnicity, "
    "and says nothing about who a person is."
)
CALIBRATED = (
    "Probabilities are calibrated on validation samples: of a hundred answers near 0.8 about eighty are right, "
    "of samples like "
    "those. UNKNOWN means that nothing could be said; no flag does not mean that a label is right."
)
OF_MAP = (
    "Marks are the samples of this run, by label; outlined ones have a flag. Ellipses hold about half and about "
    "90 % of the "
    "reference individuals of a group, and are drawn from its mean and covariance alone: nobody's genotypes are "
    "in this page. "
    "Samples with few known sites scatter. Drag to move, + and - or Ctrl and wheel to zoom, click for the row."
)
OF_CENTRES = (
    "Marks are the samples of this run, by label; outlined ones have a flag. Names stand at the means of the "
    "reference groups, whose "
    "spread this model does not keep. Drag to move, + and - or Ctrl and wheel to zoom, click for the row."
)  # fmt: skip


def report_measures(requested: Sequence[Measure], space: ReferenceSpace | None) -> list[Measure]:
    """The requested measures, and behind them those that a report shows besides."""
    requested_columns = {column for measure in requested for column in measure.columns}
    space_measures = [] if space is None else [space.fractions, space.coordinates]
    return [
        *requested,
        *(
            measure
            for measure in space_measures
            if not requested_columns.issuperset(measure.columns)
        ),
    ]


@dataclass(eq=False)
class CallReport:
    """Collects calls for a report as they pass; `measures` are those of `report_measures`.

    Of more than `MAX_ROWS` samples those with flags come first; counts are of all.
    """

    bundle: Bundle
    space: ReferenceSpace | None
    measures: Sequence[Measure]
    count: int = 0
    unknown: int = 0
    flagged: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._flagged: list[tuple[int, Call]] = []
        self._others: list[tuple[int, Call]] = []
        self._call_rates = array("d")

    def watch(self, calls: Iterable[Call]) -> Iterator[Call]:
        """The calls as they come."""
        for call in calls:
            retained = self._flagged if call.flags else self._others
            if len(retained) < MAX_ROWS:
                retained.append((self.count, call))
            self.count += 1
            self._call_rates.append(call.call_rate)
            self.unknown += not call.is_known
            self.flagged += bool(call.flags)
            self.flags.update(call.flags)
            for head, label in call.labels.items():
                self.labels.setdefault(head, Counter())[label] += 1
            yield call

    @property
    def shown_calls(self) -> list[Call]:
        """The calls of the table, map and bars, in input order."""
        others = self._others[: MAX_ROWS - len(self._flagged)]
        return [
            call for _, call in sorted([*self._flagged, *others], key=lambda numbered: numbered[0])
        ]

    # --- pictures

    def sample_map(self) -> SampleMap | None:
        """Where the samples lie; None for a model that keeps no axes."""
        if self.space is None:
            return None
        head, labels = self.space.head, self.bundle.heads[self.space.head]
        index = {label: number for number, label in enumerate(labels)}
        has_spreads = any(group.spread is not None for group in self.space.groups)
        calls = self.shown_calls
        return SampleMap(
            "Where the samples lie among the reference groups",
            OF_MAP if has_spreads else OF_CENTRES,
            self.space.coordinates.columns,
            self._measured_columns(calls, self.space.coordinates.columns),
            labels,
            np.array([index.get(call.labels[head], -1) for call in calls], np.int64),
            np.array([bool(call.flags) for call in calls], bool),
            self.space.groups,
        )

    def bars(self) -> FractionBars | None:
        """Fractions of ancestry, or else the probabilities of the head with fewest labels; None where all heads have
        more than `MAX_BAR_LABELS`."""
        calls = self.shown_calls
        names = [call.name for call in calls]
        if self.space is not None:
            labels = self.space.fraction_labels
            fractions = self._measured_columns(
                calls, list(self.space.fractions.columns)[: len(labels)]
            )
            caption = "A bar a sample; samples without a label, or with calls chosen by genotype, have none."
            return FractionBars("Ancestry proportions", caption, names, labels, fractions)
        heads = {
            head: labels
            for head, labels in self.bundle.heads.items()
            if len(labels) <= MAX_BAR_LABELS
        }
        if not heads:
            return None
        head = min(heads, key=lambda name: len(heads[name]))
        missing = np.full(len(heads[head]), np.nan)
        rows = [call.probabilities[head] for call in calls]
        table_NK = np.array([missing if row is None else row for row in rows])
        table_NK = table_NK.reshape(len(rows), len(missing))
        caption = "A bar a sample, divided by the probability of every label."
        return FractionBars(f"Probabilities of {head}", caption, names, heads[head], table_NK)

    def _measured_columns(
        self, calls: Sequence[Call], columns: Sequence[str]
    ) -> NDArray[np.float64]:
        """The values (N, columns) of these columns of the measures."""
        names = [column for measure in self.measures for column in measure.columns]
        indices = [names.index(column) for column in columns]
        rows = [[call.measured[index] for index in indices] for call in calls]
        return np.array(rows, np.float64).reshape(len(rows), len(indices))

    # --- the page

    def page(self, facts: Mapping[str, str]) -> Page:
        """The page, with facts of the run: inputs, options."""
        pictures = [section for section in (self.sample_map(), self.bars()) if section is not None]
        sections: list[Section] = [self._tiles()]
        sections += [self._flags()] if self.flags else []
        sections += pictures if self.count else []
        sections += [self._table(), self._summary(), self._facts(facts), self._limits()]
        name = f"{self.bundle.name} {self.bundle.version}"
        title = counted(self.count, "sample")
        description = str(self.bundle.config.get("description", ""))
        return Page(f"{title} classified by {name}", description, sections)

    def _tiles(self) -> Tiles:
        tiles = [Tile("samples", f"{self.count:,}")]
        tiles += [Tile("with a label", f"{self.count - self.unknown:,}")]
        tiles += [Tile("UNKNOWN", f"{self.unknown:,}", warn=self.unknown > 0)]
        tiles += [Tile("with flags", f"{self.flagged:,}", warn=self.flagged > 0)]
        if self.count:
            tiles.append(Tile("median call rate", f"{float(np.median(self._call_rates)):.3f}"))
        return Tiles(tiles)

    def _flags(self) -> Table:
        texts = self.bundle.input.flag_texts
        columns = [
            Column("flag"),
            Column("samples", number=True),
            Column("means"),
            Column("what to do"),
        ]
        rows = [
            (
                flag,
                f"{count:,}",
                texts.get(flag, OTHER_FLAG).meaning,
                texts.get(flag, OTHER_FLAG).advice,
            )
            for flag, count in self.flags.most_common()
        ]
        return Table("What needs attention", columns, rows, prose=True)

    def _table(self) -> Table:
        calls, fractions = self.shown_calls, self._fraction_columns()
        caption = abridged(len(calls), self.count, "those with flags first")
        fraction_rows = self._measured_columns(calls, [column for column, _ in fractions])
        columns = [Column("sample"), *self._head_columns()]
        columns += [Column("used", number=True, description="sites or letters that entered")]
        columns += [
            Column(
                "call rate",
                number=True,
                tip=True,
                description="their share of what the model knows",
            )
        ]
        columns += [Column("flags", tip=True, filtered=True, warns=True)]
        columns += [Column(f"{label} %", number=True) for _, label in fractions]
        rows = [
            (*_cells(call), *("" if np.isnan(v) else f"{100 * v:.1f}" for v in values))
            for call, values in zip(calls, fraction_rows.tolist(), strict=True)
        ]
        return Table("Samples", columns, rows, caption, linked=True)

    def _fraction_columns(self) -> list[tuple[str, str]]:
        """The columns of fractions with their labels, if they are few."""
        if self.space is None or len(self.space.fraction_labels) > MAX_FRACTION_COLUMNS:
            return []
        return list(zip(self.space.fractions.columns, self.space.fraction_labels, strict=False))

    def _head_columns(self) -> Iterator[Column]:
        for head in self.bundle.heads:
            yield Column(head, tip=True, filtered=True)
            yield Column(
                f"{head} p",
                number=True,
                tip=True,
                description="calibrated probability of the label",
            )
        for head in self.bundle.numbers:
            yield Column(head, number=True, tip=True)
            for end in ("low", "high"):
                description = "of the interval that 90 % of the true ones lie in"
                yield Column(f"{head} {end}", number=True, description=description)

    def _summary(self) -> Table:
        rows = [
            (head, label, f"{count:,}", f"{100 * count / self.count:.1f}")
            for head, counts in self.labels.items()
            for label, count in counts.most_common()
        ]
        columns = [Column("head", filtered=True), Column("label")]
        columns += [Column("samples", number=True), Column("% of all", number=True)]
        return Table("How many samples have each label", columns, rows)

    def _facts(self, facts: Mapping[str, str]) -> Facts:
        bundle = self.bundle
        model_facts = {"model": f"{bundle.name} {bundle.version}"}
        if bundle.weights_sha256:
            model_facts["SHA-256 of its weights"] = bundle.weights_sha256
        for head, validation in bundle.config.get("provenance", {}).get("validation", {}).items():
            if "accuracy" in validation and "n" in validation:
                model_facts[f"accuracy of {head}, held out"] = (
                    f"{validation['accuracy']:.4f} of {validation['n']:,} training samples"
                )
        return Facts("How it was made", model_facts | dict(facts))

    def _limits(self) -> Notes:
        paragraphs = [CALIBRATED]
        if self.bundle.input.coordinates is not None:
            paragraphs.insert(0, NOT_RACE)
        paragraphs += [] if self.space is None else [self.space.remark]
        return Notes("Limits", paragraphs)


def _cells(call: Call) -> Iterator[str]:
    """The cells of a call, but for fractions."""
    yield call.name
    for head, label in call.labels.items():
        probabilities = call.probabilities[head]
        yield label
        yield "" if probabilities is None else f"{probabilities.max():.4f}"
    for number in call.numbers.values():
        for value in (None,) * 3 if number is None else (number.value, number.low, number.high):
            yield "" if value is None else f"{value:.{SIGNIFICANT}g}"
    yield f"{call.used:,}"
    yield f"{call.call_rate:.4f}"
    yield ", ".join(call.flags)
