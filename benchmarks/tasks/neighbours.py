"""Labels of the nearest sequences, by the vectors of `genomai embed`: what these say before labels are learnt.

    python -m benchmarks.tasks.neighbours --markdown benchmarks/tasks/neighbours.md > benchmarks/tasks/neighbours.tsv

A sequence of the development part is given the label of most of the 21 sequences of the training part with the nearest
vectors, by their cosine. `kmers` is the model for DNA where none is named; `frequencies` are its vectors squared; other
encoders, as `--encoder DIR`, are pretrained bundles.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command_line import DATA, names, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import Array, Rows
from benchmarks.tasks.networks import CPU, vectors_of
from benchmarks.tasks.splits import HEAD, Task, task_folders
from genomai_cli.bundles import bundle as bundles
from genomai_cli.metrics.classification import confusion_matrix, matthews
from genomai_cli.metrics.resampling import bootstrap_intervals

TASKS = ("mouse2", "mouse3", "tf3", "prom_core_tata", "prom_300_tata", "ienhancer")
KMERS, FREQUENCIES = "kmers", "frequencies"
NEIGHBOURS = 21
COLUMNS = ("task", "vectors", "size", "mcc", "low", "high", "over_frequencies", "low", "high")


def nearest_labels(train_NE: Array, labels_N: Rows, query_ME: Array, classes: int) -> Rows:
    """The label (M,) of most of the nearest sequences."""
    train_NE, query_ME = (
        x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (train_NE, query_ME)
    )
    nearest_MK = np.argsort(-query_ME @ train_NE.T, axis=1, kind="stable")[:, :NEIGHBOURS]
    votes_MC = np.stack([(labels_N[nearest_MK] == c).sum(1) for c in range(classes)], axis=1)
    predicted_M: Rows = votes_MC.argmax(axis=1)
    return predicted_M


def vectors_by_name(task: Task, encoders: Sequence[str]) -> Iterator[tuple[str, Array, Array]]:
    """The vectors of the training and the development part by each encoder."""
    for name in (KMERS, *encoders):
        bundle = bundles.load(name, CPU)
        # Vectors of k-mers are of both strands anyway.
        both_strands = not task.stranded and name != KMERS
        train_NE, dev_ME = (
            vectors_of(bundle, samples, both_strands=both_strands)
            for samples in (task.train, task.dev)
        )
        if name == KMERS:
            yield FREQUENCIES, train_NE**2, dev_ME**2
        yield Path(name).name, train_NE, dev_ME


def rows(task: Task, encoders: Sequence[str], seed: int) -> Iterator[tuple[str, ...]]:
    """A row an encoder, with the intervals of a bootstrap over the development part, paired for the difference."""

    baseline_M: Rows | None = None
    for name, train_NE, dev_ME in vectors_by_name(task, encoders):
        predicted_M = nearest_labels(train_NE, task.train.labels[HEAD], dev_ME, task.classes)
        baseline_M = predicted_M if baseline_M is None else baseline_M
        measure = partial(measures, task.classes, task.labels, predicted_M, baseline_M)
        values = measure(np.arange(len(predicted_M)))
        intervals = bootstrap_intervals(measure, len(predicted_M), np.random.default_rng(seed))
        figures = [f"{value:.3f}" for key in values for value in (values[key], *intervals[key])]
        yield task.name, name, str(train_NE.shape[1]), *figures


def measures(
    classes: int, truth_M: Rows, predicted_M: Rows, baseline_M: Rows, rows_M: Rows
) -> dict[str, float]:
    """The correlation in some rows, and its gain over that of baseline calls."""
    truth = truth_M[rows_M]
    mcc, baseline_mcc = (
        matthews(confusion_matrix(truth, calls_M[rows_M], classes))
        for calls_M in (predicted_M, baseline_M)
    )
    return {"mcc": mcc, "over": mcc - baseline_mcc}


def markdown(table_rows: Sequence[tuple[str, ...]]) -> str:
    """The rows as a table for readers."""
    lines = [
        "| task | vectors | numbers | MCC | over frequencies |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {task} | {name} | {size} | {mcc} ({low} to {high}) | {over} ({under} to {upper}) |"
        for task, name, size, mcc, low, high, over, under, upper in table_rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the rows as TSV."""
    parser = parser_of(__doc__, data=DATA.parent / "tasks", markdown=None, threads=2, seed=0)
    add: Any = parser.add_argument
    add("--tasks", type=names, default=list(TASKS), metavar="NAME,...")
    add("--encoder", action="append", default=[], metavar="DIR", help="may be repeated")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table_rows = []
    print("\t".join(COLUMNS))
    for folder in task_folders(options.data, options.tasks):
        say(f"{folder.name} ...")
        for row in rows(Task.read(folder), options.encoder, options.seed):
            table_rows.append(row)
            print("\t".join(row), flush=True)
    write_optional(options.markdown, markdown(table_rows))


if __name__ == "__main__":
    main()
