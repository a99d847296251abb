"""The table that `genomai classify` writes against a table of the truth: matching columns and samples, and scores."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.tables import MISSING_VALUES, UNKNOWN_LABEL, LabelTable, Table
from genomai_cli.metrics.classification import HeadScores, Predictions, score


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table with the column `sample` and, for every head, `HEAD` and `HEAD_p`."""

    table: Table

    def __post_init__(self) -> None:
        self.table.column("sample")
        if not self.heads:
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
    def samples(self) -> tuple[str, ...]:
        """The names, one a row."""
        return self.table.column("sample")

    def predictions(self, head: str, rows: Sequence[int]) -> Predictions:
        """What the head called in these rows; all labels' probabilities if no call lacks one."""
        chosen = list(rows)
        called = [self.table.column(head)[row] for row in chosen]
        confidence = self._numbers(f"{head}_p")[chosen]
        is_call = np.array([label != UNKNOWN_LABEL for label in called])
        prefix = f"{head}:"
        columns = [name for name in self.table.columns if name.startswith(prefix)]
        probabilities = np.array([self._numbers(name)[chosen] for name in columns]).T
        if not columns or np.isnan(probabilities[is_call]).any():
            return Predictions(called, np.where(is_call, confidence, np.nan))
        labels = [name.removeprefix(prefix) for name in columns]
        return Predictions(called, np.where(is_call, confidence, np.nan), labels, probabilities)

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
    only_known: list[str]
    repeated: list[str]


def overlap(table: PredictionTable, truth: LabelTable) -> Overlap:
    """Who is in both tables; nobody at all is an error."""
    rows, known = Counter(table.samples), set(truth.samples)
    common = sum(count for sample, count in rows.items() if sample in known)
    if not common:
        raise InputError(f"none of its samples is in {truth.path}", path=table.path)
    return Overlap(
        common,
        only_predicted=[sample for sample in rows if sample not in known],
        only_known=[sample for sample in truth.samples if sample not in rows],
        repeated=[sample for sample, count in rows.items() if count > 1],
    )


def columns_for(
    table: PredictionTable, truth: LabelTable, asked: Mapping[str, str]
) -> dict[str, str]:
    """The column of the truth for each head that has one: as asked, of the same name, or an alias."""
    for head, column in asked.items():
        if head not in table.heads:
            raise UsageError(f"no head '{head}' in {table.path} (there are: {_list(table.heads)})")
        truth.column(column)  # complains where it is missing
    chosen: dict[str, str] = {}
    for head in table.heads:
        names = (asked.get(head, head), head, ALIASES.get(head, head))
        chosen.update((head, name) for name in reversed(names) if name in truth.columns)
    if not chosen:
        message = (
            f"none of its columns ({_list(truth.columns)}) is a head of {table.path} "
            f"({_list(table.heads)}); say which is with --column HEAD=COLUMN"
        )
        raise InputError(message, path=truth.path, line=1)
    return chosen


def score_heads(
    table: PredictionTable, truth: LabelTable, columns: Mapping[str, str], seed: int
) -> dict[str, HeadScores]:
    """The scores of each head over the rows whose truth is known; a head without any is left out."""
    scores = {}
    for number, (head, column) in enumerate(columns.items()):
        labels = {
            name: label for name, label in truth.column(column).items() if label != UNKNOWN_LABEL
        }
        rows = [row for row, name in enumerate(table.samples) if name in labels]
        if rows:
            answers = [labels[table.samples[row]] for row in rows]
            rng = np.random.default_rng([seed, number])
            scores[head] = score(answers, table.predictions(head, rows), rng)
    return scores


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
