"""A finished task, method and seed: how it is kept, its figures as a row, and the rows as tables for readers."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.crossvalidation.trials import Array, Rows
from benchmarks.tasks.methods import KMERS, REGRESSIONS, Method
from benchmarks.tasks.networks import Learnt
from benchmarks.tasks.splits import Task
from genomai_cli.metrics.classification import (
    confusion_matrix,
    expected_calibration_error,
    matthews,
)
from genomai_cli.metrics.resampling import bootstrap_intervals

PUBLISHED = {  # Matthews correlation of DNABERT-2 on the official test parts (Zhou et al. 2024, ICLR)
    "tf0": 0.720, "tf1": 0.761, "tf2": 0.665, "tf3": 0.585, "tf4": 0.774,
    "mouse0": 0.568, "mouse2": 0.793, "mouse3": 0.665, "mouse4": 0.527,
    "prom_core_all": 0.694, "prom_core_notata": 0.680, "prom_core_tata": 0.742, "prom_300_tata": 0.716,
}  # fmt: skip

AVERAGED = ("mcc", "over_kmers", "over_regression", "ece", "minutes", "processor_minutes")
SUMMARY = (
    *("method", "is", "tasks", "seeds", "MCC", "over k-mers", "over any regression"),
    *("calibration error", "parameters", "minutes", "of a processor"),
)


@dataclass(frozen=True, eq=False)
class Kept:
    """A finished task, method and seed: what was learnt, and how long it took."""

    learnt: Learnt
    minutes: float
    processor_minutes: float

    def save(self, file: Path, key: Mapping[str, str]) -> None:
        """Write it, with what it was made from."""
        found = self.learnt
        told = {
            "key": dict(key),
            "parameters": found.parameters,
            "held_out": found.held_out,
            "note": found.note,
            "minutes": self.minutes,
            "processor_minutes": self.processor_minutes,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".part")
        with temporary.open("wb") as handle:
            np.savez(handle, probabilities=found.probabilities, about=np.array(json.dumps(told)))
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path, key: Mapping[str, str]) -> Self | None:
        """What was kept; None if nothing was, or something made from anything else."""
        if not file.is_file():
            return None
        with np.load(file) as kept:
            told = json.loads(str(kept["about"]))
            table = kept["probabilities"]
        if any(told["key"].get(name) != value for name, value in key.items()):
            return None
        learnt = Learnt(table, told["parameters"], told["held_out"], told["note"])
        return cls(learnt, told["minutes"], told["processor_minutes"])


@dataclass(frozen=True)
class Row:
    """The figures of a task, method and seed on the development part, with intervals of 95 %; `over_kmers` is the
    correlation less that of the regression on k-mers, `over_regression` less that of the best of all regressions, each
    the one with the smallest loss on what it held out of the training part. NaN where that is not finished."""

    task: str
    method: str
    seed: int
    train: int
    dev: int
    mcc: float
    mcc_low: float
    mcc_high: float
    over_kmers: float
    over_kmers_low: float
    over_kmers_high: float
    over_regression: float
    over_regression_low: float
    over_regression_high: float
    ece: float
    parameters: int
    minutes: float
    processor_minutes: float
    note: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is of."""
        return self.task, self.method, self.seed


def rows_of(task: Task, kept: Mapping[tuple[str, int], Kept], seed: int = 0) -> Iterator[Row]:
    """A row for each run of a task that is finished; `seed` draws the resamples."""
    references = [_reference(kept, names) for names in (KMERS, REGRESSIONS)]
    for (method, number), run in kept.items():
        table = run.learnt.probabilities
        right = table.argmax(axis=1) == task.labels
        yield Row(
            task.name,
            method,
            number,
            len(task.train),
            len(task.dev),
            *_estimates(task.labels, table, references, seed),
            expected_calibration_error(table.max(axis=1), right),
            run.learnt.parameters,
            run.minutes,
            run.processor_minutes,
            run.learnt.note,
        )


def _reference(kept: Mapping[tuple[str, int], Kept], names: Sequence[str]) -> Array | None:
    """The probabilities of that method with the smallest loss on what it held out; None if one is missing."""
    runs = [kept.get((name, 0)) for name in names]
    known = [run for run in runs if run is not None]
    if len(known) < len(names):
        return None
    return min(known, key=lambda run: run.learnt.held_out).learnt.probabilities


def _estimates(
    labels_N: Rows, table_NC: Array, references: Sequence[Array | None], seed: int
) -> list[float]:
    """The correlation and what it is more than those of the references, each with its interval of a bootstrap over
    sequences, paired."""

    def measures(chosen: Rows) -> dict[str, float]:
        truth = labels_N[chosen]
        own = correlation(truth, table_NC[chosen])
        more = {
            str(number): float("nan") if other is None else own - correlation(truth, other[chosen])
            for number, other in enumerate(references)
        }
        return {"own": own, **more}

    values = measures(np.arange(len(labels_N)))
    intervals = bootstrap_intervals(measures, len(labels_N), np.random.default_rng(seed))
    return [figure for name in values for figure in (values[name], *intervals[name])]


def correlation(labels_N: Rows, table_NC: Array) -> float:
    """Matthews correlation of calling the most probable label."""
    classes = table_NC.shape[1]
    return matthews(confusion_matrix(labels_N, table_NC.argmax(axis=1), classes))


def merged(old: Iterable[Row], new: Iterable[Row], methods: Iterable[str]) -> list[Row]:
    """The new rows, and those old ones that there is no new one for, in the order of tasks and methods."""
    order = {name: number for number, name in enumerate(methods)}
    by_key = {row.key: row for row in (*old, *new)}
    return sorted(
        by_key.values(), key=lambda r: (r.task, order.get(r.method, len(order)), r.method, r.seed)
    )


def read_rows(file: Path | None) -> list[Row]:
    """The rows of a table that was written before; none if there is none."""
    if file is None or not file.is_file():
        return []
    with file.open(encoding="utf-8") as handle:
        return [
            Row(**{f.name: f.type(row[f.name]) for f in fields(Row)})  # type: ignore[operator]
            for row in csv.DictReader(handle, delimiter="\t")
        ]


def tsv(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as a table."""
    columns = [field.name for field in fields(Row)]
    yield "\t".join(columns) + "\n"
    for row in rows:
        values = (getattr(row, name) for name in columns)
        yield "\t".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in values) + "\n"


@dataclass(frozen=True, eq=False)
class Tables:
    """The rows for readers, the means of seeds; intervals are the means of those of the seeds."""

    rows: Sequence[Row]
    methods: Mapping[str, Method]
    tasks: Sequence[str]
    seeds: int

    def markdown(self) -> Iterator[str]:
        """All tables."""
        yield "Matthews correlation on the development part (DNABERT-2: published, on the official test part)\n\n"
        yield from self._overview()
        for name, reference in (("over_kmers", "k-mers"), ("over_regression", "any features")):
            yield f"\nMore than the regression on {reference}, paired\n\n"
            yield from self._differences(name)
        yield "\nBy method: means of the tasks that are finished\n\n"
        yield from self._summary()
        yield from self._missing()

    def _overview(self) -> Iterator[str]:
        shown_methods = self._used()
        yield _line(["task", "to train on", "judged", *shown_methods, "DNABERT-2 (test)"])
        yield _rule(len(shown_methods) + 4)
        for task in self.tasks:
            cells = [self._interval(task, name, "mcc") for name in shown_methods]
            sizes = next(([row.train, row.dev] for row in self.rows if row.task == task), ["", ""])
            published = PUBLISHED.get(task)
            yield _line([task, *sizes, *cells, "none" if published is None else f"{published:.3f}"])

    def _differences(self, column: str) -> Iterator[str]:
        shown_methods = [name for name in self._used() if name not in REGRESSIONS]
        yield _line(["task", *shown_methods])
        yield _rule(len(shown_methods) + 1)
        for task in self.tasks:
            yield _line([task, *(self._interval(task, n, column, sign="+") for n in shown_methods)])

    def _summary(self) -> Iterator[str]:
        yield _line(SUMMARY)
        yield _rule(len(SUMMARY))
        for name in self._used():
            rows = [row for row in self.rows if row.method == name]
            by_task = [[row for row in rows if row.task == task] for task in self.tasks]
            by_task = [seeds for seeds in by_task if seeds]
            mcc, kmers, regression, ece, *spent = (
                float(np.mean([np.mean([getattr(r, column) for r in seeds]) for seeds in by_task]))
                for column in AVERAGED
            )
            size = _range(row.parameters for row in rows)
            told = (f"{mcc:.3f}", f"{kmers:+.3f}", f"{regression:+.3f}", f"{ece:.3f}")
            counts = len(by_task), _range(map(len, by_task))
            yield _line(
                [name, self._title(name), *counts, *told, size, *(f"{m:.2f}" for m in spent)]
            )

    def _missing(self) -> Iterator[str]:
        """What is still to be done of each method."""
        done = {row.key for row in self.rows}
        for name, method in self.methods.items():
            wanted = range(self.seeds if method.random else 1)
            by_seed = [
                [task for task in self.tasks if (task, name, seed) not in done] for seed in wanted
            ]
            told = [
                f"seed {seed}: {'all' if tasks == list(self.tasks) else ', '.join(tasks)}"
                for seed, tasks in enumerate(by_seed)
                if tasks
            ]
            if told:
                yield f"\nNot done, {name}: {'; '.join(told)}.\n"

    def _used(self) -> list[str]:
        done = {row.method for row in self.rows}
        return [*(n for n in self.methods if n in done), *sorted(done - self.methods.keys())]

    def _title(self, name: str) -> str:
        return self.methods[name].title if name in self.methods else name

    def _interval(self, task: str, method: str, column: str, sign: str = "") -> str:
        """A figure with its interval; empty where nothing is finished."""
        rows = [row for row in self.rows if (row.task, row.method) == (task, method)]
        if not rows:
            return ""
        value, low, high = (
            float(np.mean([getattr(row, f"{column}{end}") for row in rows]))
            for end in ("", "_low", "_high")
        )
        if np.isnan(value):
            return ""
        return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _range(values: Iterable[int]) -> str:
    """The smallest and the largest, or the one that there is."""
    ordered = sorted(set(values))
    return " to ".join(f"{value:,}" for value in sorted({ordered[0], ordered[-1]}))


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _rule(columns: int) -> str:
    return f"| --- |{' ---: |' * (columns - 1)}\n"
