"""A finished task, method and seed: how it is stored, its figures as a row, and the rows as tables for readers."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.crossvalidation.trials import Array, Rows
from benchmarks.tasks.methods import KMERS, REGRESSIONS, Method
from benchmarks.tasks.networks import MethodResult
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

AVERAGED_COLUMNS = ("mcc", "over_kmers", "over_regression", "ece", "minutes", "processor_minutes")
SUMMARY_TITLES = (
    *("method", "is", "tasks", "seeds", "MCC", "over k-mers", "over any regression"),
    *("calibration error", "parameters", "minutes", "of a processor"),
)


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished task, method and seed: its result, and how long it took."""

    result: MethodResult
    minutes: float
    processor_minutes: float

    def save(self, file: Path, key: Mapping[str, str]) -> None:
        """Write it, with the key of what it was made from."""
        result = self.result
        metadata = {
            "key": dict(key),
            "parameters": result.parameters,
            "held_out": result.held_out,
            "note": result.note,
            "minutes": self.minutes,
            "processor_minutes": self.processor_minutes,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".part")
        with temporary.open("wb") as handle:
            np.savez(
                handle, probabilities=result.probabilities, about=np.array(json.dumps(metadata))
            )
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path, key: Mapping[str, str]) -> Self | None:
        """The stored run; None if there is none, or if its key differs."""
        if not file.is_file():
            return None
        with np.load(file) as arrays:
            metadata = json.loads(str(arrays["about"]))
            probabilities = arrays["probabilities"]
        if any(metadata["key"].get(name) != value for name, value in key.items()):
            return None
        result = MethodResult(
            probabilities, metadata["parameters"], metadata["held_out"], metadata["note"]
        )
        return cls(result, metadata["minutes"], metadata["processor_minutes"])


def finished_runs(
    folder: Path, task: Task, methods: Iterable[str]
) -> dict[tuple[str, int], FinishedRun]:
    """The finished runs of the task, by method and seed, whatever their settings were."""
    runs = {}
    for name in methods:
        for file in sorted((folder / task.name).glob(f"{name}.*.npz")):
            run = FinishedRun.load(file, {"data": task.digest})
            if run is not None:
                runs[name, int(file.stem.rpartition(".")[2])] = run
    return runs


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
        """Task, method and seed."""
        return self.task, self.method, self.seed


def rows_of(
    task: Task, runs: Mapping[tuple[str, int], FinishedRun], seed: int = 0
) -> Iterator[Row]:
    """A row for each run of a task that is finished; `seed` draws the resamples."""
    references = [reference_of(runs, names) for names in (KMERS, REGRESSIONS)]
    for (method, run_seed), run in runs.items():
        probabilities = run.result.probabilities
        correct = probabilities.argmax(axis=1) == task.labels
        yield Row(
            task.name,
            method,
            run_seed,
            len(task.train),
            len(task.dev),
            *_estimates(task.labels, probabilities, references, seed),
            expected_calibration_error(probabilities.max(axis=1), correct),
            run.result.parameters,
            run.minutes,
            run.processor_minutes,
            run.result.note,
        )


def reference_of(runs: Mapping[tuple[str, int], FinishedRun], names: Sequence[str]) -> Array | None:
    """The probabilities of the method with the smallest loss on what it held out; None if one is missing."""
    candidates = [runs.get((name, 0)) for name in names]
    finished = [run for run in candidates if run is not None]
    if len(finished) < len(names):
        return None
    return min(finished, key=lambda run: run.result.held_out).result.probabilities


def _estimates(
    labels_N: Rows, table_NC: Array, references: Sequence[Array | None], seed: int
) -> list[float]:
    """The correlation and its gains over those of the references, each with its interval of a bootstrap over
    sequences, paired."""

    def measures(rows: Rows) -> dict[str, float]:
        truth = labels_N[rows]
        mcc = correlation(truth, table_NC[rows])
        gains = {
            str(number): float("nan")
            if reference is None
            else mcc - correlation(truth, reference[rows])
            for number, reference in enumerate(references)
        }
        return {"own": mcc, **gains}

    values = measures(np.arange(len(labels_N)))
    intervals = bootstrap_intervals(measures, len(labels_N), np.random.default_rng(seed))
    return [figure for name in values for figure in (values[name], *intervals[name])]


def correlation(labels_N: Rows, table_NC: Array) -> float:
    """Matthews correlation of calling the most probable label."""
    classes = table_NC.shape[1]
    return matthews(confusion_matrix(labels_N, table_NC.argmax(axis=1), classes))


def merge_rows(old: Iterable[Row], new: Iterable[Row], methods: Iterable[str]) -> list[Row]:
    """The new rows, and the old ones that no new one replaces, in the order of tasks and methods."""
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
        shown_methods = self._method_names()
        yield _line(["task", "to train on", "judged", *shown_methods, "DNABERT-2 (test)"])
        yield _separator(len(shown_methods) + 4)
        for task in self.tasks:
            cells = [self._interval(task, name, "mcc") for name in shown_methods]
            sizes = next(([row.train, row.dev] for row in self.rows if row.task == task), ["", ""])
            published = PUBLISHED.get(task)
            yield _line([task, *sizes, *cells, "none" if published is None else f"{published:.3f}"])

    def _differences(self, column: str) -> Iterator[str]:
        shown_methods = [name for name in self._method_names() if name not in REGRESSIONS]
        yield _line(["task", *shown_methods])
        yield _separator(len(shown_methods) + 1)
        for task in self.tasks:
            yield _line([task, *(self._interval(task, n, column, sign="+") for n in shown_methods)])

    def _summary(self) -> Iterator[str]:
        yield _line(SUMMARY_TITLES)
        yield _separator(len(SUMMARY_TITLES))
        for name in self._method_names():
            rows = [row for row in self.rows if row.method == name]
            by_task = [[row for row in rows if row.task == task] for task in self.tasks]
            by_task = [seeds for seeds in by_task if seeds]
            mcc, kmers, regression, ece, *minutes = (
                float(np.mean([np.mean([getattr(r, column) for r in seeds]) for seeds in by_task]))
                for column in AVERAGED_COLUMNS
            )
            size = number_range(row.parameters for row in rows)
            figures = (f"{mcc:.3f}", f"{kmers:+.3f}", f"{regression:+.3f}", f"{ece:.3f}")
            counts = len(by_task), number_range(map(len, by_task))
            yield _line(
                [
                    name,
                    self._method_title(name),
                    *counts,
                    *figures,
                    size,
                    *(f"{m:.2f}" for m in minutes),
                ]
            )

    def _missing(self) -> Iterator[str]:
        """The tasks that are not finished, by method and seed."""
        done = {row.key for row in self.rows}
        for name, method in self.methods.items():
            seeds = range(self.seeds if method.random else 1)
            by_seed = [
                [task for task in self.tasks if (task, name, seed) not in done] for seed in seeds
            ]
            unfinished = [
                f"seed {seed}: {'all' if tasks == list(self.tasks) else ', '.join(tasks)}"
                for seed, tasks in enumerate(by_seed)
                if tasks
            ]
            if unfinished:
                yield f"\nNot done, {name}: {'; '.join(unfinished)}.\n"

    def _method_names(self) -> list[str]:
        done = {row.method for row in self.rows}
        return [*(n for n in self.methods if n in done), *sorted(done - self.methods.keys())]

    def _method_title(self, name: str) -> str:
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


def number_range(values: Iterable[int]) -> str:
    """The smallest and the largest, or the one that there is."""
    ordered = sorted(set(values))
    return " to ".join(f"{value:,}" for value in sorted({ordered[0], ordered[-1]}))


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _separator(columns: int) -> str:
    return f"| --- |{' ---: |' * (columns - 1)}\n"
