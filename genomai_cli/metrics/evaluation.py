"""Predictions against the truth: which columns and samples belong together, and the scores of each head."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.tables import LabelTable
from genomai_cli.metrics.heads import UNKNOWN, HeadScores, score
from genomai_cli.metrics.prediction_table import PredictionTable

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
    for place, (head, column) in enumerate(columns.items()):
        labels = {name: label for name, label in truth.column(column).items() if label != UNKNOWN}
        rows = [row for row, name in enumerate(table.samples) if name in labels]
        if rows:
            answers = [labels[table.samples[row]] for row in rows]
            rng = np.random.default_rng([seed, place])
            scores[head] = score(answers, table.predictions(head, rows), rng)
    return scores


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
