"""What pretraining adds for short labelled sequences: an encoder beside a network of its shape with new values.

    python -m benchmarks.tasks.pretraining_gain --encoder DIR --markdown benchmarks/tasks/pretraining_gain.md

Reads what `benchmarks.tasks.classification` has finished of the encoder and its controls, and of the regressions on
k-mers, and of `auto`; trains nothing. All differences are of the Matthews correlation, on the same sequences; of
several seeds they are the means.

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
from benchmarks.tasks.figures import correlation, finished_runs, number_range, reference_of
from benchmarks.tasks.methods import AUTO, KMERS
from benchmarks.tasks.splits import Task, task_folders
from genomai_cli.metrics.resampling import REPEATS

PAIRS = {  # of methods by their beginnings: the first less the second
    "tuned": ("tuned", "scratch"),
    "tuned, another encoder": ("tuned", "tuned_control"),
    "probe": ("probe", "untrained"),
    "tuned, beside k-mers": ("kmers+tuned", "kmers"),
    "from scratch, beside k-mers": ("kmers+scratch", "kmers"),
    "tuned, beside auto": ("auto+tuned", "auto"),
    "from scratch, beside auto": ("auto+scratch", "auto"),
}
WEIGHTS = {"kmers": 0.5, "auto": 0.25}  # of the network beside them; not fitted to anything
COLUMNS = ("task", "difference", "seeds", "first", "second", "gain", "low", "high")
TITLES = {
    "tuned": "tuned less from scratch",
    "tuned, another encoder": "tuned less the encoder of the controls, tuned",
    "probe": "probe less that of new values",
    "tuned, beside k-mers": "k-mers and tuned less k-mers",
    "from scratch, beside k-mers": "k-mers and from scratch less k-mers",
    "tuned, beside auto": "`auto` and tuned less `auto`",
    "from scratch, beside auto": "`auto` and from scratch less `auto`",
}


@dataclass(frozen=True, eq=False)
class Gain:
    """Of a pair of methods on a task: how many seeds both are finished with, the correlations of the two, and how much
    larger that of the first is in resamples (R,); all are means of the seeds."""

    seeds: int
    first: float
    second: float
    resampled: Array


@dataclass(frozen=True, eq=False)
class TaskGains:
    """The gains of those of `PAIRS` that are finished."""

    task: str
    gains: Mapping[str, Gain]


def tables_of(task: Task, runs: Path, encoder: str, control: str) -> dict[int, dict[str, Array]]:
    """The probabilities (N, C) of the development part of what is finished, by seed and method; methods without a seed
    are with each. The networks with new values are those that were run beside the encoder `control`, which may be
    another one."""
    names = {name: f"{name}-{control}" for name in ("scratch", "untrained")} | {AUTO: AUTO}
    names["tuned"], probe_name = f"tuned-{encoder}", f"probe-{encoder}"
    if control != encoder:
        names["tuned_control"] = f"tuned-{control}"
    finished = finished_runs(runs, task, (probe_name, *names.values(), *KMERS))
    fixed = {}
    if (kmers := reference_of(finished, KMERS)) is not None:
        fixed["kmers"] = kmers
    if (probe := finished.get((probe_name, 0))) is not None:
        fixed["probe"] = probe.result.probabilities
    return {
        seed: _with_means(
            fixed
            | {
                name: finished[method, seed].result.probabilities
                for name, method in names.items()
                if (method, seed) in finished
            }
        )
        for seed in sorted({seed for _, seed in finished})
    }


def _with_means(tables: Mapping[str, Array]) -> dict[str, Array]:
    """The tables, and those of a network together with what stands beside it."""
    together = {
        f"{other}+{name}": _mean_of_logs(tables[other], tables[name], weight)
        for other, weight in WEIGHTS.items()
        for name in ("tuned", "scratch")
        if {other, name} <= tables.keys()
    }
    return dict(tables) | together


def _mean_of_logs(one_NC: Array, other_NC: Array, weight: float) -> Array:
    """Probabilities as both tables say them; `weight`, from 0 to 1, is that of the other."""
    mean_NC = one_NC.clip(1e-12) ** (1 - weight) * other_NC.clip(1e-12) ** weight
    normalised: Array = mean_NC / mean_NC.sum(axis=1, keepdims=True)
    return normalised


def gains_of(task: Task, tables: Mapping[int, Mapping[str, Array]], seed: int) -> TaskGains:
    """The gains of a task. The resamples of its development part, which `seed` draws, are the same for all."""
    samples, rng = len(task.labels), np.random.default_rng(seed)
    draws = [np.arange(samples), *(rng.integers(samples, size=samples) for _ in range(REPEATS))]
    by_seed = [
        {name: _correlations(task.labels, table_NC, draws) for name, table_NC in methods.items()}
        for methods in tables.values()
    ]
    gains = {}
    for name, pair in PAIRS.items():
        finished = [values for values in by_seed if values.keys() >= set(pair)]
        if finished:
            one, other = (
                np.mean([values[method] for values in finished], axis=0) for method in pair
            )
            gains[name] = Gain(len(finished), one[0], other[0], (one - other)[1:])
    return TaskGains(task.name, gains)


def _correlations(labels_N: Rows, table_NC: Array, draws: Sequence[Rows]) -> Array:
    return np.array([correlation(labels_N[rows], table_NC[rows]) for rows in draws])


def rows_of(finished: Sequence[TaskGains]) -> Iterator[tuple[str, ...]]:
    """A row for each task and pair of methods, and for the means over the tasks that have the pair, whose intervals
    resample the sequences of every task."""
    for name in PAIRS:
        tasks = [task for task in finished if name in task.gains]
        for task in tasks:
            yield _row(task.task, name, [task.gains[name]])
        if tasks:
            gains = [task.gains[name] for task in tasks]
            yield _row(f"mean of {len(tasks)} tasks", name, gains)


def _row(task: str, name: str, gains: Sequence[Gain]) -> tuple[str, ...]:
    """The means of the gains."""
    first = float(np.mean([gain.first for gain in gains]))
    second = float(np.mean([gain.second for gain in gains]))
    resampled_R = np.mean([gain.resampled for gain in gains], axis=0)
    interval = np.percentile(resampled_R, [2.5, 97.5])  # Efron 1979, Ann Stat 7:1
    figures = (f"{value:.4f}" for value in (first, second, first - second, *interval))
    return task, name, number_range(gain.seeds for gain in gains), *figures


def markdown(rows: Sequence[tuple[str, ...]], encoder: str) -> str:
    """The gains as a table for readers, a row a task."""
    cells = {
        (task, name): f"{one:.3f}, {other:.3f}: {gain:+.3f} ({low:+.3f} to {high:+.3f})"
        for task, name, _, *figures in rows
        for one, other, gain, low, high in [map(float, figures)]
    }
    # The last row of a pair is that of the means over tasks.
    titles = {name: f"{TITLES[name]} (seeds: {seeds})" for _, name, seeds, *_ in rows}
    lines = [
        f"Matthews correlation with `{encoder}`, without it, and the difference (95 %, paired)\n",
        "| task | " + " | ".join(titles.values()) + " |",
        "| --- |" + " ---: |" * len(titles),
    ]
    for task in dict.fromkeys(task for task, _ in cells):
        lines.append(f"| {task} | " + " | ".join(cells.get((task, n), "") for n in titles) + " |")
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
    control = options.control or encoder
    pairs = PAIRS.keys() - ({"tuned, another encoder"} if control == encoder else set())
    for folder in task_folders(options.data, None):
        task = Task.read(folder)
        tables = tables_of(task, options.runs, encoder, control)
        finished.append(gains_of(task, tables, options.seed))
        if missing := pairs - finished[-1].gains.keys():
            say(f"{task.name}: not finished: {', '.join(sorted(missing))}")
    rows = list(rows_of(finished))
    table = "".join("\t".join(row) + "\n" for row in (COLUMNS, *rows))
    write_optional(options.output, table)
    write_optional(options.markdown, markdown(rows, encoder))
    print(table, end="")


if __name__ == "__main__":
    main()
