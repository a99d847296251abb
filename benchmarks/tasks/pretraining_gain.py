"""What pretraining adds for short labelled sequences: an encoder beside a network of its shape with new values.

    python -m benchmarks.tasks.pretraining_gain --encoder DIR --markdown benchmarks/tasks/pretraining_gain.md

Reads what `benchmarks.tasks.classification` has finished of the encoder and its controls, and of the regressions on
k-mers, and of `auto`; trains nothing. All differences are of the Matthews correlation, on the same sequences.

Shape suffixes: N sequences, C classes, R resamples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command_line import DATA, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import Array, Rows
from benchmarks.tasks.classification import RESULTS
from benchmarks.tasks.figures import FinishedRun, correlation, reference_of
from benchmarks.tasks.methods import AUTO, KMERS
from benchmarks.tasks.splits import Task, task_folders
from genomai_cli.metrics.resampling import REPEATS

PAIRS = {  # of methods by their beginnings: the first less the second
    "tuned": ("tuned", "scratch"),
    "probe": ("probe", "untrained"),
    "tuned, beside k-mers": ("kmers+tuned", "kmers"),
    "from scratch, beside k-mers": ("kmers+scratch", "kmers"),
    "tuned, beside auto": ("auto+tuned", "auto"),
    "from scratch, beside auto": ("auto+scratch", "auto"),
}
WEIGHTS = {"kmers": 0.5, "auto": 0.25}  # of the network beside them; not fitted to anything
COLUMNS = ("task", "difference", "first", "second", "gain", "low", "high")
TITLES = {
    "tuned": "tuned less from scratch",
    "probe": "probe less that of new values",
    "tuned, beside k-mers": "k-mers and tuned less k-mers",
    "from scratch, beside k-mers": "k-mers and from scratch less k-mers",
    "tuned, beside auto": "`auto` and tuned less `auto`",
    "from scratch, beside auto": "`auto` and from scratch less `auto`",
}


@dataclass(frozen=True, eq=False)
class TaskGains:
    """The correlations of the methods of a task, and the gains of those of `PAIRS` that are finished, in all its
    sequences and in its resamples (R,)."""

    task: str
    values: Mapping[str, float]
    gains: Mapping[str, float]
    resampled: Mapping[str, Array]


def tables_of(task: Task, runs: Path, encoder: str, control: str) -> dict[str, Array]:
    """The probabilities (N, C) of the development part, by method, of what is finished. The networks with new values
    are those that were run beside the encoder `control`."""

    def finished(method: str) -> FinishedRun | None:
        return FinishedRun.load(runs / task.name / f"{method}.0.npz", {"data": task.digest})

    names = {name: f"{name}-{encoder}" for name in ("tuned", "probe")}
    names |= {name: f"{name}-{control}" for name in ("scratch", "untrained")} | {AUTO: AUTO}
    found = {name: run for name, method in names.items() if (run := finished(method))}
    tables = {name: run.result.probabilities for name, run in found.items()}
    regressions = {(name, 0): run for name in KMERS if (run := finished(name))}
    if (kmers := reference_of(regressions, KMERS)) is not None:
        tables["kmers"] = kmers
    together = {
        f"{other}+{name}": _mean_of_logs(tables[other], tables[name], weight)
        for other, weight in WEIGHTS.items()
        for name in ("tuned", "scratch")
        if {other, name} <= tables.keys()
    }
    return tables | together


def _mean_of_logs(one_NC: Array, other_NC: Array, weight: float) -> Array:
    """Probabilities as both tables say them; `weight`, from 0 to 1, is that of the other."""
    mean_NC = one_NC.clip(1e-12) ** (1 - weight) * other_NC.clip(1e-12) ** weight
    normalised: Array = mean_NC / mean_NC.sum(axis=1, keepdims=True)
    return normalised


def gains_of(task: Task, tables: Mapping[str, Array], seed: int) -> TaskGains:
    """The gains of a task, and those in resamples of its development part."""

    def correlations(rows: Rows) -> dict[str, float]:
        truth = task.labels[rows]
        return {name: correlation(truth, table_NC[rows]) for name, table_NC in tables.items()}

    samples, rng = len(task.labels), np.random.default_rng(seed)
    values = correlations(np.arange(samples))
    draws = [_gains(correlations(rng.integers(samples, size=samples))) for _ in range(REPEATS)]
    resampled = {name: np.array([draw[name] for draw in draws]) for name in draws[0]}
    return TaskGains(task.name, values, _gains(values), resampled)


def _gains(values: Mapping[str, float]) -> dict[str, float]:
    pairs = {name: pair for name, pair in PAIRS.items() if values.keys() >= set(pair)}
    return {name: values[one] - values[other] for name, (one, other) in pairs.items()}


def rows_of(finished: Sequence[TaskGains]) -> Iterator[tuple[str, ...]]:
    """A row for each task and pair of methods, and for the means over the tasks that have the pair, whose intervals
    resample the sequences of every task."""
    for name, (one, other) in PAIRS.items():
        tasks = [task for task in finished if name in task.gains]
        for task in tasks:
            values = task.values[one], task.values[other]
            yield _row(task.task, name, values, task.gains[name], task.resampled[name])
        if tasks:
            means = [float(np.mean([t.values[method] for t in tasks])) for method in (one, other)]
            gain = float(np.mean([t.gains[name] for t in tasks]))
            mean_R = np.mean([t.resampled[name] for t in tasks], axis=0)
            yield _row(f"mean of {len(tasks)} tasks", name, means, gain, mean_R)


def _row(
    task: str, name: str, values: Sequence[float], gain: float, resampled_R: Array
) -> tuple[str, ...]:
    interval = np.percentile(resampled_R, [2.5, 97.5])  # Efron 1979, Ann Stat 7:1
    return task, name, *(f"{value:.4f}" for value in (*values, gain, *interval))


def markdown(rows: Sequence[tuple[str, ...]], encoder: str) -> str:
    """The gains as a table for readers, a row a task."""
    cells = {
        (
            task,
            name,
        ): f"{float(one):.3f}, {float(other):.3f}: {float(gain):+.3f} ({float(low):+.3f} to {float(high):+.3f})"
        for task, name, one, other, gain, low, high in rows
    }
    lines = [
        f"Matthews correlation with `{encoder}`, without it, and the difference (95 %, paired)\n",
        "| task | " + " | ".join(TITLES[name] for name in PAIRS) + " |",
        "| --- |" + " ---: |" * len(PAIRS),
    ]
    for task in dict.fromkeys(task for task, _ in cells):
        lines.append(f"| {task} | " + " | ".join(cells.get((task, n), "") for n in PAIRS) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the rows as TSV."""
    parser = parser_of(
        __doc__, data=DATA.parent / "tasks", runs=RESULTS, seed=0, output=None, markdown=None
    )
    add: Any = parser.add_argument
    add("--encoder", type=Path, required=True, metavar="DIR", help="the bundle, or its name")
    add(
        "--control",
        metavar="NAME",
        help="the encoder of the same shape that networks of new values were run beside, if not this one",
    )
    options = parser.parse_args()
    encoder, finished = options.encoder.name, []
    for folder in task_folders(options.data, None):
        task = Task.read(folder)
        tables = tables_of(task, options.runs, encoder, options.control or encoder)
        finished.append(gains_of(task, tables, options.seed))
        if missing := PAIRS.keys() - finished[-1].gains.keys():
            say(f"{task.name}: not finished: {', '.join(sorted(missing))}")
    rows = list(rows_of(finished))
    table = "".join("\t".join(row) + "\n" for row in (COLUMNS, *rows))
    write_optional(options.output, table)
    write_optional(options.markdown, markdown(rows, encoder))
    print(table, end="")


if __name__ == "__main__":
    main()
