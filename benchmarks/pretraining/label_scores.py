"""Runs the rows of label efficiency fold by fold, keeps their outcomes, and makes tables with intervals.

An interval is of a bootstrap in two stages: folds, each with its own subset of the labels, are drawn with replacement,
then people within each. All rows see the same draws, so a difference between rows has an interval of its own.

Shape suffixes: F folds, N people of a fold, R rows times shares.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields

import numpy as np

from benchmarks.crossvalidation.trials import Outcome, Rows, load, save
from benchmarks.pretraining.label_rows import HEADS, LOGISTIC, PCA_ROW, SCRATCH, SHIPPED, Kind
from genomai_cli.metrics.resampling import bootstrap_intervals
from genomai_cli.training.labelled_data import folds

TITLES = {
    LOGISTIC: "logistic regression",
    PCA_ROW: "logistic regression on 20 principal components",
    SCRATCH: "network, from scratch",
    "contrastive": "network, after contrastive",
    "masked": "network, after masked",
    "both": "network, after both",
    "frozen-contrastive": "logistic regression on its vectors, contrastive",
    "frozen-masked": "logistic regression on its vectors, masked",
    "frozen-both": "logistic regression on its vectors, both",
    SHIPPED: "**the shipped recipe**, one network of five",
}
HEAD_TITLES = {"superpop": "superpopulation", "pop": "population"}


@dataclass(frozen=True)
class Row:
    """The accuracy of a row with a share of the labels, and its gain over that from scratch, with intervals."""

    kind: str
    head: str
    row: str
    percent: int
    labels: float  # a mean over the folds
    n: int
    accuracy: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    train_seconds: float


@dataclass(frozen=True, eq=False)
class Trial:
    """A kind of network, and the outcomes so far by row, share and fold."""

    kind: Kind
    shares: Sequence[int]
    seed: int
    outcomes: dict[tuple[str, int, int], Outcome] = field(default_factory=dict)
    truths: dict[int, dict[str, Rows]] = field(default_factory=dict)

    def run(self, number: int, count: int, rows: Sequence[str], say: Callable[[str], None]) -> None:
        """One of so many folds; outcomes that are kept are read."""
        cohort = self.kind.cohort
        test_rows = folds(cohort.samples, count, self.seed)[number]
        fold = cohort.fold(number, self.seed, test_rows)
        self.truths[number] = {head: cohort.samples.labels[head][test_rows] for head in HEADS}
        for row in rows:
            for percent in self.shares:
                outcome = self._outcome(row, percent, fold, count)
                self.outcomes[row, percent, number] = outcome
                say(
                    f"{self.kind.name}, fold {number + 1}, {percent} %: {self._summary(row, percent, number)}"
                )

    def correct(self, row: str, percent: int, number: int, head: str) -> Rows | None:
        """Whose label is predicted correctly (N,), 1 or 0; None if the head was not trained."""
        table = self.outcomes[row, percent, number].probabilities.get((str(percent), head))
        if table is None:
            return None
        predicted = np.where(np.isnan(table).any(axis=1), -1, np.nan_to_num(table).argmax(axis=1))
        return (predicted == self.truths[number][head]).astype(np.int64)

    def _outcome(self, row: str, percent: int, fold: object, count: int) -> Outcome:
        number = fold.number  # type: ignore[attr-defined]
        file = self.kind.folder / "results" / f"{row}-{percent}-fold{number}.npz"
        values = [self.kind.cohort.digest(), self.seed, count, self.kind.settings(row)]
        key = json.dumps(values)
        outcome = load(file, key)
        if outcome is None:
            outcome = self.kind.outcome(row, percent, fold)
            save(file, outcome, key)
        return outcome

    def _summary(self, row: str, percent: int, number: int) -> str:
        outcome = self.outcomes[row, percent, number]
        correct_by_head = {head: self.correct(row, percent, number, head) for head in HEADS}
        accuracies = [
            f"{head} {correct.mean():.3f}"
            for head, correct in correct_by_head.items()
            if correct is not None
        ]
        return f"{row}, {outcome.sites} labels: {', '.join(accuracies)} ({outcome.seconds:.1f} s)"


def rows_of(trial: Trial) -> list[Row]:
    """The rows over the folds that all of them have been through."""
    return [row for head in HEADS for row in _of_head(trial, head)]


def _of_head(trial: Trial, head: str) -> list[Row]:
    cells = list(dict.fromkeys((row, percent) for row, percent, _ in trial.outcomes))
    fold_numbers = sorted(n for n in trial.truths if all((*c, n) in trial.outcomes for c in cells))
    cells = [
        c for c in cells if fold_numbers and trial.correct(*c, fold_numbers[0], head) is not None
    ]
    if not cells:
        return []
    correct_FNR = [
        np.stack([trial.correct(*cell, n, head) for cell in cells], axis=1)  # type: ignore[arg-type]
        for n in fold_numbers
    ]
    rng = np.random.default_rng([trial.seed, 0xB007])

    def means(fold_indices: Iterable[int], choose: Callable[[int], Rows]) -> dict[str, float]:
        sampled = [correct_FNR[fold][choose(len(correct_FNR[fold]))] for fold in fold_indices]
        share_R = np.concatenate(sampled).mean(0)
        shares = {f"{row} {percent}": share_R[n] for n, (row, percent) in enumerate(cells)}
        gains = {
            f"gain {row} {percent}": shares[f"{row} {percent}"]
            - shares.get(f"{SCRATCH} {percent}", np.nan)
            for row, percent in cells
        }
        return shares | gains

    def measure(fold_indices: Rows) -> dict[str, float]:
        return means(fold_indices.tolist(), lambda n: rng.integers(n, size=n))

    value = means(range(len(fold_numbers)), np.arange)
    interval = bootstrap_intervals(measure, len(fold_numbers), rng)
    sample_count = sum(map(len, correct_FNR))
    rows = []
    for row, percent in cells:
        outcomes = [trial.outcomes[row, percent, n] for n in fold_numbers]
        name, gain = f"{row} {percent}", f"gain {row} {percent}"
        labels = float(np.mean([outcome.sites for outcome in outcomes]))
        seconds = float(np.mean([outcome.seconds for outcome in outcomes]))
        estimates = (value[name], *interval[name], value[gain], *interval[gain])
        rows.append(
            Row(trial.kind.name, head, row, percent, labels, sample_count, *estimates, seconds)
        )
    return rows


def tsv(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "\t".join(f.name for f in fields(Row)) + "\n"
    for row in rows:
        yield "\t".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in astuple(row)) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """A table of accuracies and one of gains for every kind and head."""
    pairs = dict.fromkeys((row.kind, row.head) for row in rows)
    return "\n".join(_tables(kind, head, rows) for kind, head in pairs)


def _tables(kind: str, head: str, rows: Sequence[Row]) -> str:
    selected = [row for row in rows if (row.kind, row.head) == (kind, head)]
    percents = list(dict.fromkeys(row.percent for row in selected))
    labels = {row.percent: round(row.labels) for row in selected}
    names = list(dict.fromkeys(row.row for row in selected))
    cells = {(row.row, row.percent): row for row in selected}
    titles = [f"{percent} % ({labels[percent]})" for percent in percents]
    lines = [
        f"### `{kind}`: {HEAD_TITLES[head]}",
        "",
        f"| accuracy, {selected[0].n} people | {' | '.join(titles)} |",
        "| --- |" + " ---: |" * len(percents),
    ]
    for name in names:
        row_cells = [_cell(cells.get((name, percent))) for percent in percents]
        lines.append(f"| {TITLES.get(name, name)} | {' | '.join(row_cells)} |")
    lines += [
        "",
        f"| beside from scratch | {' | '.join(titles)} |",
        "| --- |" + " ---: |" * len(percents),
    ]
    for name in names:
        if name != SCRATCH:
            gains = [_gain(cells.get((name, percent))) for percent in percents]
            lines.append(f"| {TITLES.get(name, name)} | {' | '.join(gains)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row.accuracy:.3f} ({row.low:.3f}-{row.high:.3f})"


def _gain(row: Row | None) -> str:
    if row is None or np.isnan(row.gain):
        return ""
    return f"{row.gain:+.3f} ({row.gain_low:+.3f} to {row.gain_high:+.3f})"
