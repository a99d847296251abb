"""What the tasks of short sequences are given to: each method learns from the training part and judges the development
part."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.command_line import REPOSITORY
from benchmarks.crossvalidation.trials import Array
from benchmarks.tasks import networks
from benchmarks.tasks.networks import Learnt
from benchmarks.tasks.regressions import kmer_features, position_features, regression
from benchmarks.tasks.splits import HEAD, Task
from genomai_cli.bundles.catalog import read_config
from genomai_cli.inputs.samples import Samples
from genomai_cli.training.run_folder import folder_for

BOTH, GIVEN, POSITIONS = "kmers-both", "kmers-given", "positions"
KMERS = (BOTH, GIVEN)
REGRESSIONS = (*KMERS, POSITIONS)
AUTO = "auto"


@dataclass(frozen=True)
class Budget:
    """`minutes` of every thread for a network trained from scratch; `auto` has the default of `genomai train` unless
    `auto` says otherwise. What `genomai train` has not finished waits in `models`."""

    models: Path
    minutes: float = 5.0
    threads: int = 2
    auto: str = ""


@dataclass(frozen=True)
class Method:
    """How a task is learnt from a seed. `random` says that seeds differ, `timed` that the budget counts."""

    name: str
    title: str
    learn: Callable[[Task, int, Budget], Learnt]
    random: bool = True
    timed: bool = False

    def settings(self, budget: Budget) -> str:
        """What its results depend on, beside the code and the task."""
        if self.name == AUTO:
            return budget.auto
        return f"{budget.minutes:g} minutes" if self.timed else ""


def methods_with(encoders: Sequence[Path]) -> dict[str, Method]:
    """All methods by name, those with fewer demands first; probed and tuned encoders go by the name of their folder."""
    found = [
        Method("majority", "majority class", majority, random=False),
        Method(BOTH, "regression on 1-6-mers of both strands", _kmers(True), random=False),
        Method(GIVEN, "regression on 1-6-mers of the strand given", _kmers(False), random=False),
        Method(POSITIONS, "regression on positions (one-hot)", positions, random=False),
        Method(AUTO, "**`genomai train` (recipe `auto`)**", auto),
    ]
    for encoder in encoders:
        untrained = networks.probe(encoder, untrained=True)
        name = encoder.name
        found += [
            Method(f"probe-{name}", f"probe of `{name}`", _plain(networks.probe(encoder)), False),
            Method(f"untrained-{name}", f"probe of `{name}`, untrained", _plain(untrained)),
        ]
    timed = {
        "cnn": ("small CNN", networks.cnn),
        "dnabert": (
            "DNABERT's design (`dnabert-6-tiny`) from scratch",
            networks.from_scratch("dnabert-6-tiny"),
        ),
        "hyenadna": (
            "HyenaDNA's design (`hyenadna-tiny`) from scratch",
            networks.from_scratch("hyenadna-tiny"),
        ),
    }
    for encoder in encoders:
        shape, name = networks.tuned(encoder, untrained=True), encoder.name
        timed[f"tuned-{name}"] = f"`{name}`, tuned", networks.tuned(encoder)
        timed[f"scratch-{name}"] = f"`{name}`'s design from scratch", shape
    found += [Method(n, title, _plain(learn), timed=True) for n, (title, learn) in timed.items()]
    return {method.name: method for method in found}


def _plain(learn: Callable[[Task, int, float], Learnt]) -> Callable[[Task, int, Budget], Learnt]:
    return lambda task, seed, budget: learn(task, seed, budget.minutes)


def majority(task: Task, seed: int, budget: Budget) -> Learnt:
    """The share of every class among those to train on, for every sequence."""
    del seed, budget
    share_C = np.bincount(task.train.labels[HEAD], minlength=task.classes) / len(task.train)
    return Learnt(np.tile(share_C, (len(task.dev), 1)), task.classes - 1)


def _kmers(both_strands: bool) -> Callable[[Task, int, Budget], Learnt]:
    def learn(task: Task, seed: int, budget: Budget) -> Learnt:
        del seed, budget
        sequences = task.train.sequences, task.dev.sequences
        return _regressed(task, *kmer_features(*sequences, both_strands=both_strands))

    return learn


def positions(task: Task, seed: int, budget: Budget) -> Learnt:
    """A regression on the letter at each position."""
    del seed, budget
    return _regressed(task, *position_features(task.train.sequences, task.dev.sequences))


def _regressed(task: Task, train_NF: Array, dev_NF: Array) -> Learnt:
    labels = task.train.labels[HEAD]
    found = regression(train_NF, dev_NF, labels, task.held_out(), task.classes)
    note = f"penalty {found.penalty:g}"
    return Learnt(found.probabilities, found.parameters, found.held_out, note)


def auto(task: Task, seed: int, budget: Budget) -> Learnt:
    """What `genomai train` makes of the training part without further options, and `genomai classify` of the other;
    a run that was ended goes on."""
    folder = budget.models / f"{task.name}.{seed}{budget.auto}"
    folder.mkdir(parents=True, exist_ok=True)
    train, dev, model = folder / "train.fa", folder / "dev.fa", folder / task.name
    _write(task.train, train)
    _write(task.dev, dev)
    threads = ["--threads", str(budget.threads)]
    resumed = model.exists() or folder_for(model).exists()
    if not model.exists():
        time = ["--time", budget.auto] if budget.auto else []
        words = ["--labels", f"{train}.tsv", "-o", model, "--seed", str(seed), *time, *threads]
        _genomai(["train", train, *words, *["--resume"] * resumed])
    calls = folder / "calls.tsv"
    _genomai(["classify", "--model", model, "--probs", dev, "-o", calls, *threads])
    told = _told_by(model)
    note = "resumed, the minutes are those of the last part; " * resumed + told.note
    return replace(told, probabilities=_table(calls, task), note=note)


def _write(samples: Samples, file: Path) -> None:
    """FASTA, and the labels beside it as TSV."""
    pairs = zip(samples.names, samples.sequences, strict=True)
    file.write_text("".join(f">{name}\n{text}\n" for name, text in pairs))
    labels = [samples.classes[HEAD][number] for number in samples.labels[HEAD]]
    rows = zip(samples.names, labels, strict=True)
    table = "".join(f"{name}\t{label}\n" for name, label in rows)
    Path(f"{file}.tsv").write_text(f"sample\t{HEAD}\n{table}")


def _genomai(words: Sequence[str | Path]) -> None:
    """Run the program of this repository; its progress goes to standard error."""
    command = [sys.executable, "-m", "genomai_cli", *map(str, words)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


def _told_by(model: Path) -> Learnt:
    """What the bundle says of itself: its size, and what was chosen."""
    config = read_config(model)
    told = config["provenance"]
    rows = told["validation"][HEAD]["candidates"]
    parts = ", ".join(f"{name} {row['mcc']:.3f}" for name, row in rows.items())
    note = f"{told['strand']}, {told['folds']} folds; held-out MCC: {parts}"
    return Learnt(np.empty((0, 0)), config["trainable_parameters"], note=note)


def _table(calls: Path, task: Task) -> Array:
    """The probabilities (N, C) in the order of the development part."""
    with calls.open() as handle:
        rows = {row["sample"]: row for row in csv.DictReader(handle, delimiter="\t")}
    columns = [f"{HEAD}:{label}" for label in task.train.classes[HEAD]]
    even = 1 / len(columns)  # of a sequence without a known letter
    return np.array(
        [
            [even if rows[name][c] == "." else float(rows[name][c]) for c in columns]
            for name in task.dev.names
        ]
    )
