"""The table that `genomai classify` writes against a table of the truth: matching columns and samples, and scores."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError, UsageError, shown_names
from genomai_cli.formats.label_sets import NO, YES, with_label_columns
from genomai_cli.formats.tables import (
    MISSING_VALUES,
    UNKNOWN_LABEL,
    LabelTable,
    Table,
    spelling,
)
from genomai_cli.metrics.classification import HeadScores, Predictions, score
from genomai_cli.metrics.numbers import NumberPredictions, NumberScores, score_numbers


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table with the column `sample` and, for every head, `HEAD` and `HEAD_p`; for numbers `HEAD`, `HEAD_low` and
    `HEAD_high`."""

    table: Table

    def __post_init__(self) -> None:
        self.table.column("sample")
        if not self.heads and not self.numbers:
            message = "no head: a column HEAD with its probability in a column HEAD_p"
            raise InputError(message, path=self.path, line=1)
        if not len(self.table):
            raise InputError("a header, but no predictions", path=self.path)

    @property
    def path(self) -> str:
        """Where the table was read from."""
        return self.table.path

    @property
    def heads(self) -> list[str]:
        """The columns that have a column of probabilities, `HEAD_p`, beside them."""
        return [name for name in self.table.columns if f"{name}_p" in self.table.columns]

    @property
    def numbers(self) -> list[str]:
        """The columns of numbers, which have an interval beside them."""
        columns = self.table.columns
        return [name for name in columns if f"{name}_low" in columns and f"{name}_high" in columns]

    @property
    def samples(self) -> tuple[str, ...]:
        """The names, one a row."""
        return self.table.column("sample")

    def predictions(self, head: str, rows: Sequence[int]) -> Predictions:
        """The calls of a head in these rows; with all labels' probabilities if no call lacks one."""
        row_list = list(rows)
        called = [self.table.column(head)[row] for row in row_list]
        confidence = self._numbers(f"{head}_p")[row_list]
        is_call = np.array([label != UNKNOWN_LABEL for label in called])
        prefix = f"{head}:"
        columns = [name for name in self.table.columns if name.startswith(prefix)]
        probabilities = np.array([self._numbers(name)[row_list] for name in columns]).T
        if not columns or np.isnan(probabilities[is_call]).any():
            return Predictions(called, np.where(is_call, confidence, np.nan))
        labels = [name.removeprefix(prefix) for name in columns]
        return Predictions(called, np.where(is_call, confidence, np.nan), labels, probabilities)

    def predicted_numbers(self, head: str, rows: Sequence[int]) -> NumberPredictions:
        """The predictions of a head of numbers in these rows."""
        columns = (head, f"{head}_low", f"{head}_high")
        found = [
            numbers_of(self.table.column(name), self.table.lines, self.path) for name in columns
        ]
        return NumberPredictions(*(column[list(rows)] for column in found))

    def count_novel(self) -> int:
        """How many rows are flagged as unlike what the model knows."""
        flags = self.table.columns.get("flags", ())
        return sum("NOVEL" in text.split(",") for text in flags)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        pairs = zip(self.table.column(name), self.table.lines, strict=True)
        return np.array([self._probability(text, name, line) for text, line in pairs])

    def _probability(self, text: str, column: str, line: int) -> float:
        if text in MISSING_VALUES:
            return float("nan")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            message = f"{column} is '{text}', not a probability"
            raise InputError(message, path=self.path, line=line)
        return value


ALIASES = {"superpop": "superpopulation", "pop": "population"}


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many rows of predictions have a truth, and the samples for which something is amiss."""

    common: int
    only_predicted: list[str]
    only_in_truth: list[str]
    repeated: list[str]


def overlap(table: PredictionTable, truth: LabelTable) -> Overlap:
    """Which samples are in both tables; InputError if none is."""
    rows, known = Counter(table.samples), set(truth.samples)
    common = sum(count for sample, count in rows.items() if sample in known)
    if not common:
        raise InputError(f"none of its samples is in {truth.path}", path=table.path)
    return Overlap(
        common,
        only_predicted=[sample for sample in rows if sample not in known],
        only_in_truth=[sample for sample in truth.samples if sample not in rows],
        repeated=[sample for sample, count in rows.items() if count > 1],
    )


def columns_for(
    table: PredictionTable, truth: LabelTable, requested: Mapping[str, str]
) -> dict[str, str]:
    """The column of the truth for each head that has one: the requested one, that of the same name, or an alias."""
    heads = [*table.heads, *table.numbers]
    for head, column in requested.items():
        if head not in heads:
            raise UsageError(f"no head '{head}' in {table.path} (there are: {_list(heads)})")
        truth.column(column)  # complains where it is missing
    columns: dict[str, str] = {}
    for head in heads:
        names = (requested.get(head, head), head, ALIASES.get(head, head))
        columns.update((head, name) for name in reversed(names) if name in truth.columns)
    if not columns:
        message = (
            f"none of its columns ({_list(truth.columns)}) is a head of {table.path} "
            f"({_list(heads)}); say which is with --column HEAD=COLUMN"
        )
        raise InputError(message, path=truth.path, line=1)
    return columns


@dataclass(frozen=True, eq=False)
class LabelCases:
    """The true labels of the rows that have one, and what a head called there."""

    truth: list[str]
    predictions: Predictions

    def scores(self, rng: np.random.Generator) -> HeadScores:
        """Every measure."""
        return score(self.truth, self.predictions, rng)


@dataclass(frozen=True, eq=False)
class NumberCases:
    """The true numbers of the rows that have one, and what a head predicted there."""

    truth: NDArray[np.float64]
    predictions: NumberPredictions

    def scores(self, rng: np.random.Generator) -> NumberScores:
        """Every measure."""
        return score_numbers(self.truth, self.predictions, rng)


def cases_of(
    table: PredictionTable, truth: LabelTable, columns: Mapping[str, str]
) -> dict[str, LabelCases | NumberCases]:
    """By head, the rows whose truth is known; a head without any is left out."""
    cases: dict[str, LabelCases | NumberCases] = {}
    for head, column in columns.items():
        labels = {
            name: label for name, label in truth.column(column).items() if label != UNKNOWN_LABEL
        }
        rows = [row for row, name in enumerate(table.samples) if name in labels]
        true_labels = [labels[table.samples[row]] for row in rows]
        if rows and head in table.numbers:
            line_of = dict(zip(truth.samples, truth.lines, strict=True))
            lines = [line_of[table.samples[row]] for row in rows]
            true = numbers_of(true_labels, lines, truth.path)
            cases[head] = NumberCases(true, table.predicted_numbers(head, rows))
        elif rows:
            cases[head] = LabelCases(true_labels, table.predictions(head, rows))
    return cases


def score_heads(
    cases: Mapping[str, LabelCases | NumberCases], columns: Mapping[str, str], seed: int
) -> dict[str, HeadScores | NumberScores]:
    """The scores of each head that has cases."""
    return {
        head: cases[head].scores(np.random.default_rng([seed, number]))
        for number, head in enumerate(columns)
        if head in cases
    }


def unlike_spellings(cases: Mapping[str, LabelCases | NumberCases]) -> Iterator[str]:
    """A sentence for every head whose labels seem to be spelled otherwise in the truth: one that only case or the way a
    number is written tells from a call, or all of two or more."""
    for head, of_head in cases.items():
        if not isinstance(of_head, LabelCases):
            continue
        predictions = of_head.predictions
        known = {*predictions.called, *predictions.labels} - {UNKNOWN_LABEL}
        spellings = {spelling(label): label for label in sorted(known)}
        counts = Counter(label for label in of_head.truth if label not in known)
        for label, count in sorted(counts.items()):
            if (called := spellings.get(spelling(label))) is not None:
                yield f"{head}: {label} of the truth ({count} samples) is no call, but {called} is: they do not agree"
        if known and len(counts) > 1 and len(counts) == len(set(of_head.truth)):
            yield (
                f"{head}: no label of the truth ({shown_names(sorted(counts), limit=3)}) is ever called (calls are "
                f"{shown_names(sorted(known), limit=3)}): every call counts as wrong"
            )


def with_label_sets(truth: LabelTable, table: PredictionTable) -> LabelTable:
    """The truth with columns of yes and no for the heads of labels of which a sample has several (`A;B`)."""
    answers = {YES, NO, UNKNOWN_LABEL}
    binary = [head for head in table.heads if answers.issuperset(table.table.column(head))]
    missing = [head for head in binary if head not in truth.columns]
    for column in list(truth.columns):
        names = [head for head in missing if head.startswith(f"{column}_")]
        if names:
            truth = with_label_columns(truth, column, names)
    return truth


def numbers_of(texts: Sequence[str], lines: Sequence[int], path: str) -> NDArray[np.float64]:
    """The numbers that a column holds, NaN where one is missing; InputError for what is none, or not finite, with its
    line."""
    return np.array([_number(text, line, path) for text, line in zip(texts, lines, strict=True)])


def _number(text: str, line: int, path: str) -> float:
    if text in MISSING_VALUES:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{text!r} is no number", path=path, line=line)
    return value


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
