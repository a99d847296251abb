"""The mitochondrial methods' probabilities as rows of measures, and the rows as TSV and as Markdown.

All intervals are of a bootstrap over people; where several parts of one genome are judged, a person brings all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossvalidation.trials import Array, Pooled, Rows
from benchmarks.mito.genomes import COMPLETE, PARTS, part_of
from benchmarks.mito.methods import REVERSED, ROTATED
from genomai_cli.metrics.classification import expected_calibration_error, log_losses
from genomai_cli.metrics.resampling import bootstrap_intervals

TITLES = {
    "majority": "majority class",
    "nearest": "nearest genome (Hamming)",
    "embedding": "nearest vector of `embed`, pretrained only",
    "bayes": "naive Bayes",
    "logistic": "logistic regression",
    "logistic-3107": "logistic regression that reads 3107 (see below)",
    "mito-scratch": "**`mito`**, from scratch",
    "mito": "**`mito`**, from `mito-pretrained`",
}
WITHOUT_PROBABILITIES = ("nearest", "embedding")
HEAD_TITLES = {
    "superpop": "superpopulation",
    "pop": "population",
    "haplogroup": "haplogroup letter",
}


@dataclass(frozen=True)
class Row:
    """The measures of one method and head, `n` people with so many `parts` of their genomes each."""

    method: str
    head: str
    part: str
    n: int
    parts: int
    accuracy: float
    low: float
    high: float
    ece: float
    log_loss: float
    train_seconds: float


@dataclass(frozen=True)
class Same:
    """The share of genomes with the same label of every head as when they stand in the reference's coordinates."""

    method: str
    turned: str
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """By how much a method's accuracy lies above that of another, judged by the same people."""

    method: str
    other: str
    head: str
    part: str
    gain: float
    low: float
    high: float


def rows_of(method: str, pooled: Pooled, truth: Mapping[str, Rows]) -> list[Row]:
    """The rows of one method."""
    rows = []
    for part in PARTS:
        for head in HEAD_TITLES:
            tables = tables_of(pooled, head, part)
            if tables:
                rated = method not in WITHOUT_PROBABILITIES
                measured = measures(tables, truth[head], rated=rated)
                rows.append(Row(method, head, part, *measured, pooled.seconds))
    return rows


def tables_of(pooled: Pooled, head: str, part: str) -> list[Array]:
    """The probabilities (n, classes) by each stretch that is such a part."""
    return [
        table
        for (condition, of), table in pooled.probabilities.items()
        if of == head and condition not in (ROTATED, REVERSED) and part_of(condition) == part
    ]


def gains(
    method: str, other: str, pooled: Mapping[str, Pooled], truth: Mapping[str, Rows]
) -> list[Gain]:
    """The gains of a method over another, where both have judged a part."""
    found = []
    for head in HEAD_TITLES:
        for part in PARTS:
            pair = [tables_of(pooled[name], head, part) for name in (method, other)]
            if all(pair):
                right = [
                    np.mean([called(table) == truth[head] for table in tables], axis=0)
                    for tables in pair
                ]
                more_N = right[0] - right[1]
                values = (float(more_N.mean()), *interval(more_N))
                found.append(Gain(method, other, head, part, *values))
    return found


def measures(
    tables: Sequence[Array], truth: Rows, *, rated: bool
) -> tuple[int, int, float, float, float, float, float]:
    """n, parts, accuracy with its 95 % interval, ECE and log loss of tables (n, classes), one a part.

    UNKNOWN (NaN) is wrong in the accuracy, and left out of the others; without `rated` probabilities they are NaN.
    """
    right_NP = np.stack([called(table) == truth for table in tables], axis=1)
    low, high = interval(right_NP.mean(1))
    ece = loss = float("nan")
    if rated:
        table, labels = np.concatenate(tables), np.tile(truth, len(tables))
        known = ~np.isnan(table).any(axis=1)
        confidence = table[known].max(axis=1)
        ece = expected_calibration_error(confidence, right_NP.T.reshape(-1)[known])
        loss = float(log_losses(table[known], labels[known]).mean())
    return len(truth), len(tables), float(right_NP.mean()), low, high, ece, loss


def same_labels(method: str, pooled: Pooled) -> list[Same]:
    """How often turned copies of genomes get the same labels; nothing for a method that reads aligned letters only."""
    made = []
    for turned in (ROTATED, REVERSED):
        heads = [head for condition, head in pooled.probabilities if condition == turned]
        if heads:
            equal = [
                called(pooled.probabilities[turned, head])
                == called(pooled.probabilities[COMPLETE, head])
                for head in heads
            ]
            same_N = np.all(equal, axis=0)
            made.append(Same(method, turned, len(same_N), float(same_N.mean()), *interval(same_N)))
    return made


def called(table: Array) -> Rows:
    """The most probable class (n,), -1 where UNKNOWN."""
    known = ~np.isnan(table).any(axis=1)
    return np.where(known, np.nan_to_num(table).argmax(axis=1), -1)


def interval(values_N: NDArray[np.generic]) -> tuple[float, float]:
    """The 95 % interval of a mean over people."""
    rng = np.random.default_rng(0)
    mean: Callable[[Rows], dict[str, float]] = lambda rows: {"": float(values_N[rows].mean())}  # noqa: E731
    return bootstrap_intervals(mean, len(values_N), rng)[""]


def tsv(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "\t".join(field.name for field in fields(Row)) + "\n"
    for row in rows:
        yield "\t".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in astuple(row)) + "\n"


def markdown(rows: Sequence[Row], same: Sequence[Same], more: Sequence[Gain]) -> str:
    """Complete genomes; parts of them; gains; turned copies."""
    tables = [_complete([row for row in rows if row.part == COMPLETE])]
    tables += [_parts(head, [row for row in rows if row.head == head]) for head in HEAD_TITLES]
    return "\n".join([*tables, *_gains(more), *_same(same)])


def _complete(rows: Sequence[Row]) -> str:
    names = [f"{title} | ECE | log loss" for title in HEAD_TITLES.values()]
    lines = [f"| complete genomes | {' | '.join(names)} |", "| --- |" + " ---: |" * 9]
    for method in dict.fromkeys(row.method for row in rows):
        cells = {row.head: row for row in rows if row.method == method}
        shown = [_measured(cells[head]) for head in HEAD_TITLES]
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _measured(row: Row) -> str:
    more = " | " if np.isnan(row.ece) else f"{row.ece:.3f} | {row.log_loss:.3f}"
    return f"{row.accuracy:.3f} ({row.low:.3f}-{row.high:.3f}) | {more}"


def _parts(head: str, rows: Sequence[Row]) -> str:
    lines = [
        f"| parts: {HEAD_TITLES[head]} | {' | '.join(PARTS)} | ECE, 2 kb |",
        "| --- |" + " ---: |" * (len(PARTS) + 1),
    ]
    for method in dict.fromkeys(row.method for row in rows):
        cells = {row.part: row for row in rows if row.method == method}
        shown = [f"{cells[part].accuracy:.3f}" if part in cells else "" for part in PARTS]
        last = cells.get(list(PARTS)[-1])
        shown.append("" if last is None or np.isnan(last.ece) else f"{last.ece:.3f}")
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _gains(more: Sequence[Gain]) -> list[str]:
    tables = []
    for method, other in dict.fromkeys((gain.method, gain.other) for gain in more):
        lines = [
            f"| {TITLES[method]}, less {TITLES[other]} | {' | '.join(PARTS)} |",
            "| --- |" + " ---: |" * len(PARTS),
        ]
        for head, title in HEAD_TITLES.items():
            cells = {
                gain.part: f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
                for gain in more
                if (gain.method, gain.other, gain.head) == (method, other, head)
            }
            lines.append(f"| {title} | {' | '.join(cells.get(part, '') for part in PARTS)} |")
        tables.append("\n".join(lines) + "\n")
    return tables


def _same(same: Sequence[Same]) -> list[str]:
    if not same:
        return []
    lines = [
        "| same labels as in the reference's coordinates | rotated | and reverse-complemented |"
    ]
    lines.append("| --- | ---: | ---: |")
    for method in dict.fromkeys(one.method for one in same):
        shown = [
            f"{one.share:.4f} ({one.low:.4f}-{one.high:.4f})"
            for one in same
            if one.method == method
        ]
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(shown)} |")
    return ["\n".join(lines) + "\n"]
