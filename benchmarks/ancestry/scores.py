"""A method's probabilities as rows of measures, and the rows as TSV and as Markdown."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossvalidation.trials import HIDDEN, KIDD, Array, Pooled, Rows
from genomai_cli.metrics.classification import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    log_losses,
    wilson_interval,
)

TITLES = {
    "majority": "majority class",
    "logistic": "logistic regression",
    "bayes": "naive Bayes",
    "bayes-shrunken": "naive Bayes, shrunken frequencies",
    "pca-svm": "20 principal components + SVM",
    "logistic-200": "logistic regression, sites of `genomai-v2`",
    "bayes-200": "naive Bayes, sites of `genomai-v2`",
    "likelihood": "the likelihood inside `ancestry-967`, alone",
    "ancestry-967": "**`ancestry-967`**",
    "genomai-v2": "**`genomai-v2`**",
}
HEAD_TITLES = {"superpop": "Superpopulation", "pop": "Population"}
CONDITIONS = (*map(str, HIDDEN), KIDD)


@dataclass(frozen=True)
class Row:
    """The measures of one method, head and share of missing sites (`missing`: per cent, or kidd55)."""

    method: str
    sites: int
    head: str
    missing: str
    n: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    ece: float
    log_loss: float
    train_seconds: float


def rows_of(method: str, pooled: Pooled, truth: Mapping[str, Rows]) -> list[Row]:
    """The rows of one method."""
    return [
        Row(method, pooled.sites, head, missing, *measures(table, truth[head]), pooled.seconds)
        for (missing, head), table in sorted(pooled.probabilities.items(), key=_order)
    ]


def measures(table: Array, truth: Rows) -> tuple[int, float, float, float, float, float, float]:
    """n, accuracy with its 95 % interval, balanced accuracy, ECE and log loss (n, classes) to (n,).

    UNKNOWN (NaN) is wrong in the measures of labels, and left out of those of probabilities.
    """
    known, classes = ~np.isnan(table).any(axis=1), table.shape[1]
    labels = np.where(known, np.nan_to_num(table).argmax(axis=1), classes)
    matrix = confusion_matrix(truth, labels, classes + 1)
    correct = labels == truth
    low, high = wilson_interval(int(correct.sum()), len(truth))
    confidence = table[known].max(axis=1)
    ece = expected_calibration_error(confidence, correct[known])
    loss = float(log_losses(table[known], truth[known]).mean())
    return len(truth), accuracy(matrix), low, high, balanced_accuracy(matrix), ece, loss


def paired(first: Array, second: Array, truth: Rows) -> tuple[float, float, float]:
    """The first table's accuracy less the second's on the same people, and its 95 % interval: the difference of two
    paired proportions, by the normal approximation."""
    gain = _is_correct(first, truth).astype(float) - _is_correct(second, truth)
    error = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain))
    mean = float(gain.mean())
    return mean, mean - error, mean + error


def _is_correct(table: Array, truth: Rows) -> NDArray[np.bool_]:
    """Whose label is predicted correctly; UNKNOWN (NaN) is wrong."""
    correct: NDArray[np.bool_] = np.nan_to_num(table, nan=-1.0).argmax(axis=1) == truth
    return correct & ~np.isnan(table).any(axis=1)


def tsv(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "\t".join(field.name for field in fields(Row)) + "\n"
    for row in rows:
        yield "\t".join(_cell(value) for value in astuple(row)) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """One small table a head: accuracy by share of missing sites, and ECE with all sites known."""
    heads = [head for head in HEAD_TITLES if any(row.head == head for row in rows)]
    return "\n".join(_head_table([row for row in rows if row.head == head]) for head in heads)


def _head_table(rows: Sequence[Row]) -> str:
    best = {c: max(r.accuracy for r in rows if r.missing == c) for c in CONDITIONS}
    methods = list(dict.fromkeys(row.method for row in rows))
    names = [*(f"{percent} %" for percent in HIDDEN), "Kidd 55", "ECE"]
    lines = [f"| {HEAD_TITLES[rows[0].head]} | sites | {' | '.join(names)} |"]
    lines.append("| --- | ---: |" + " ---: |" * len(names))
    lines += [_method_line([row for row in rows if row.method == m], best) for m in methods]
    return "\n".join(lines) + "\n"


def _method_line(rows: Sequence[Row], best: Mapping[str, float]) -> str:
    by_condition = {row.missing: row for row in rows}
    cells = [_accuracy(by_condition[c].accuracy, best[c]) for c in CONDITIONS]
    first = by_condition[CONDITIONS[0]]
    title = TITLES.get(first.method, first.method)
    return f"| {title} | {first.sites} | {' | '.join(cells)} | {first.ece:.3f} |"


def _accuracy(value: float, best: float) -> str:
    text = f"{value:.3f}"
    return f"**{text}**" if text == f"{best:.3f}" else text


def _order(item: tuple[tuple[str, str], Array]) -> tuple[int, int]:
    (missing, head), _ = item
    return list(HEAD_TITLES).index(head), CONDITIONS.index(missing)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
