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
class LabelInvariance:
    """The share of transformed genomes with the same label of every head as in the reference's coordinates."""

    method: str
    transformation: str
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """The accuracy of a method less that of another on the same people."""

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
                has_probabilities = method not in WITHOUT_PROBABILITIES
                measured = measures(tables, truth[head], has_probabilities=has_probabilities)
                rows.append(Row(method, head, part, *measured, pooled.seconds))
    return rows


def tables_of(pooled: Pooled, head: str, part: str) -> list[Array]:
    """The probabilities (n, classes) by each stretch that is such a part."""
    return [
        table
        for (condition, table_head), table in pooled.probabilities.items()
        if table_head == head
        and condition not in (ROTATED, REVERSED)
        and part_of(condition) == part
    ]


def gains(
    method: str, other: str, pooled: Mapping[str, Pooled], truth: Mapping[str, Rows]
) -> list[Gain]:
    """The gains of a method over another, for the parts that both have predicted."""
    gain_rows = []
    for head in HEAD_TITLES:
        for part in PARTS:
            pair = [tables_of(pooled[name], head, part) for name in (method, other)]
            if all(pair):
                correct = [
                    np.mean([predicted_classes(table) == truth[head] for table in tables], axis=0)
                    for tables in pair
                ]
                gain_N = correct[0] - correct[1]
                values = (float(gain_N.mean()), *interval(gain_N))
                gain_rows.append(Gain(method, other, head, part, *values))
    return gain_rows


def measures(
    tables: Sequence[Array], truth: Rows, *, has_probabilities: bool
) -> tuple[int, int, float, float, float, float, float]:
    """n, parts, accuracy with its 95 % interval, ECE and log loss of tables (n, classes), one a part.

    UNKNOWN (NaN) is wrong in the accuracy, and left out of the others, which are NaN unless `has_probabilities`.
    """
    correct_NP = np.stack([predicted_classes(table) == truth for table in tables], axis=1)
    low, high = interval(correct_NP.mean(1))
    ece = loss = float("nan")
    if has_probabilities:
        table, labels = np.concatenate(tables), np.tile(truth, len(tables))
        known = ~np.isnan(table).any(axis=1)
        confidence = table[known].max(axis=1)
        ece = expected_calibration_error(confidence, correct_NP.T.reshape(-1)[known])
        loss = float(log_losses(table[known], labels[known]).mean())
    return len(truth), len(tables), float(correct_NP.mean()), low, high, ece, loss


def same_labels(method: str, pooled: Pooled) -> list[LabelInvariance]:
    """How often rotated copies of genomes get the same labels; nothing for a method that reads aligned letters only."""
    invariances = []
    for transformation in (ROTATED, REVERSED):
        heads = [head for condition, head in pooled.probabilities if condition == transformation]
        if heads:
            equal = [
                predicted_classes(pooled.probabilities[transformation, head])
                == predicted_classes(pooled.probabilities[COMPLETE, head])
                for head in heads
            ]
            invariant_N = np.all(equal, axis=0)
            invariances.append(
                LabelInvariance(
                    method,
                    transformation,
                    len(invariant_N),
                    float(invariant_N.mean()),
                    *interval(invariant_N),
                )
            )
    return invariances


def predicted_classes(table: Array) -> Rows:
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


def markdown(
    rows: Sequence[Row], invariances: Sequence[LabelInvariance], gain_rows: Sequence[Gain]
) -> str:
    """Complete genomes; parts of them; gains; turned copies."""
    tables = [_complete([row for row in rows if row.part == COMPLETE])]
    tables += [_parts(head, [row for row in rows if row.head == head]) for head in HEAD_TITLES]
    return "\n".join([*tables, *_gains(gain_rows), *_same(invariances)])


def _complete(rows: Sequence[Row]) -> str:
    names = [f"{title} | ECE | log loss" for title in HEAD_TITLES.values()]
    lines = [f"| complete genomes | {' | '.join(names)} |", "| --- |" + " ---: |" * 9]
    for method in dict.fromkeys(row.method for row in rows):
        cells = {row.head: row for row in rows if row.method == method}
        row_cells = [_measured(cells[head]) for head in HEAD_TITLES]
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(row_cells)} |")
    return "\n".join(lines) + "\n"


def _measured(row: Row) -> str:
    calibration = " | " if np.isnan(row.ece) else f"{row.ece:.3f} | {row.log_loss:.3f}"
    return f"{row.accuracy:.3f} ({row.low:.3f}-{row.high:.3f}) | {calibration}"


def _parts(head: str, rows: Sequence[Row]) -> str:
    lines = [
        f"| parts: {HEAD_TITLES[head]} | {' | '.join(PARTS)} | ECE, 2 kb |",
        "| --- |" + " ---: |" * (len(PARTS) + 1),
    ]
    for method in dict.fromkeys(row.method for row in rows):
        cells = {row.part: row for row in rows if row.method == method}
        row_cells = [f"{cells[part].accuracy:.3f}" if part in cells else "" for part in PARTS]
        last = cells.get(list(PARTS)[-1])
        row_cells.append("" if last is None or np.isnan(last.ece) else f"{last.ece:.3f}")
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(row_cells)} |")
    return "\n".join(lines) + "\n"


def _gains(gain_rows: Sequence[Gain]) -> list[str]:
    tables = []
    for method, other in dict.fromkeys((gain.method, gain.other) for gain in gain_rows):
        lines = [
            f"| {TITLES[method]}, less {TITLES[other]} | {' | '.join(PARTS)} |",
            "| --- |" + " ---: |" * len(PARTS),
        ]
        for head, title in HEAD_TITLES.items():
            cells = {
                gain.part: f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
                for gain in gain_rows
                if (gain.method, gain.other, gain.head) == (method, other, head)
            }
            lines.append(f"| {title} | {' | '.join(cells.get(part, '') for part in PARTS)} |")
        tables.append("\n".join(lines) + "\n")
    return tables


def _same(invariances: Sequence[LabelInvariance]) -> list[str]:
    if not invariances:
        return []
    lines = [
        "| same labels as in the reference's coordinates | rotated | and reverse-complemented |"
    ]
    lines.append("| --- | ---: | ---: |")
    for method in dict.fromkeys(invariance.method for invariance in invariances):
        row_cells = [
            f"{invariance.share:.4f} ({invariance.low:.4f}-{invariance.high:.4f})"
            for invariance in invariances
            if invariance.method == method
        ]
        lines.append(f"| {TITLES.get(method, method)} | {' | '.join(row_cells)} |")
    return ["\n".join(lines) + "\n"]
