"""The methods for tasks of short sequences: each is fitted to the training part and evaluated on the development
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
from benchmarks.tasks.networks import MethodResult
from benchmarks.tasks.regressions import kmer_features, position_features, regression
from benchmarks.tasks.splits import HEAD, Task
from genomai_cli.bundles.catalog import read_config
from genomai_cli.inputs.samples import Samples
from genomai_cli.training.run_folder import folder_for

BOTH_STRANDS, GIVEN_STRAND, POSITIONS = "kmers-both", "kmers-given", "positions"
KMERS = (BOTH_STRANDS, GIVEN_STRAND)
REGRESSIONS = (*KMERS, POSITIONS)
AUTO = "auto"


@dataclass(frozen=True)
class Budget:
    """`minutes` of every thread for a network trained from scratch; `auto` has the default of `genomai train` unless
    `auto_time` is given. What `genomai train` has not finished waits in `models`."""

    models: Path
    minutes: float = 5.0
    threads: int = 2
    auto_time: str = ""


@dataclass(frozen=True)
class Method:
    """A method by name; `run` fits it to a task with a seed. `random` says that seeds differ, `timed` that the budget
    counts."""

    name: str
    title: str
    run: Callable[[Task, int, Budget], MethodResult]
    random: bool = True
    timed: bool = False

    def settings(self, budget: Budget) -> str:
        """What its results depend on, other than the code and the task."""
        if self.name == AUTO:
            return budget.auto_time
        return f"{budget.minutes:g} minutes" if self.timed else ""


def methods_with(encoders: Sequence[Path]) -> dict[str, Method]:
    """All methods by name, those with fewer demands first; probed and tuned encoders go by the name of their folder."""
    methods = [
        Method("majority", "majority class", majority, random=False),
        Method(
            BOTH_STRANDS,
            "regression on 1-6-mers of both strands",
            _kmer_regression(True),
            random=False,
        ),
        Method(
            GIVEN_STRAND,
            "regression on 1-6-mers of the strand given",
            _kmer_regression(False),
            random=False,
        ),
        Method(POSITIONS, "regression on positions (one-hot)", position_regression, random=False),
        Method(AUTO, "**`genomai train` (recipe `auto`)**", auto),
    ]
    for encoder in encoders:
        untrained = networks.probe(encoder, untrained=True)
        name = encoder.name
        methods += [
            Method(
                f"probe-{name}", f"probe of `{name}`", _with_minutes(networks.probe(encoder)), False
            ),
            Method(f"untrained-{name}", f"probe of `{name}`, untrained", _with_minutes(untrained)),
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
        untrained_run, name = networks.tuned(encoder, untrained=True), encoder.name
        timed[f"tuned-{name}"] = f"`{name}`, tuned", networks.tuned(encoder)
        timed[f"scratch-{name}"] = f"`{name}`'s design from scratch", untrained_run
    methods += [
        Method(n, title, _with_minutes(run), timed=True) for n, (title, run) in timed.items()
    ]
    return {method.name: method for method in methods}


def _with_minutes(
    run: Callable[[Task, int, float], MethodResult],
) -> Callable[[Task, int, Budget], MethodResult]:
    return lambda task, seed, budget: run(task, seed, budget.minutes)


def majority(task: Task, seed: int, budget: Budget) -> MethodResult:
    """The share of every class in the training part, for every sequence."""
    del seed, budget
    share_C = np.bincount(task.train.labels[HEAD], minlength=task.classes) / len(task.train)
    return MethodResult(np.tile(share_C, (len(task.dev), 1)), task.classes - 1)


def _kmer_regression(both_strands: bool) -> Callable[[Task, int, Budget], MethodResult]:
    def run(task: Task, seed: int, budget: Budget) -> MethodResult:
        del seed, budget
        sequences = task.train.sequences, task.dev.sequences
        return _fit_regression(task, *kmer_features(*sequences, both_strands=both_strands))

    return run


def position_regression(task: Task, seed: int, budget: Budget) -> MethodResult:
    """A regression on the letter at each position."""
    del seed, budget
    return _fit_regression(task, *position_features(task.train.sequences, task.dev.sequences))


def _fit_regression(task: Task, train_NF: Array, dev_NF: Array) -> MethodResult:
    labels = task.train.labels[HEAD]
    fit = regression(train_NF, dev_NF, labels, task.held_out(), task.classes)
    note = f"penalty {fit.penalty:g}"
    return MethodResult(fit.probabilities, fit.parameters, fit.held_out, note)


def auto(task: Task, seed: int, budget: Budget) -> MethodResult:
    """What `genomai train` makes of the training part without further options, and `genomai classify` of the other;
    a run that was ended goes on."""
    folder = budget.models / f"{task.name}.{seed}{budget.auto_time}"
    folder.mkdir(parents=True, exist_ok=True)
    train, dev, model = folder / "train.fa", folder / "dev.fa", folder / task.name
    _write_samples(task.train, train)
    _write_samples(task.dev, dev)
    threads = ["--threads", str(budget.threads)]
    resumed = model.exists() or folder_for(model).exists()
    if not model.exists():
        time = ["--time", budget.auto_time] if budget.auto_time else []
        options = ["--labels", f"{train}.tsv", "-o", model, "--seed", str(seed), *time, *threads]
        _genomai(["train", train, *options, *["--resume"] * resumed])
    calls = folder / "calls.tsv"
    _genomai(["classify", "--model", model, "--probs", dev, "-o", calls, *threads])
    result = _result_from_provenance(model)
    note = "resumed, the minutes are those of the last part; " * resumed + result.note
    return replace(result, probabilities=_read_probabilities(calls, task), note=note)


def _write_samples(samples: Samples, file: Path) -> None:
    """Write the sequences as FASTA, and the labels as TSV next to it."""
    pairs = zip(samples.names, samples.sequences, strict=True)
    file.write_text("".join(f">{name}\n{text}\n" for name, text in pairs))
    labels = [samples.classes[HEAD][number] for number in samples.labels[HEAD]]
    rows = zip(samples.names, labels, strict=True)
    table = "".join(f"{name}\t{label}\n" for name, label in rows)
    Path(f"{file}.tsv").write_text(f"sample\t{HEAD}\n{table}")


def _genomai(arguments: Sequence[str | Path]) -> None:
    """Run the program of this repository; its progress goes to standard error."""
    command = [sys.executable, "-m", "genomai_cli", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


def _result_from_provenance(model: Path) -> MethodResult:
    """The size and the chosen candidates from the config of a bundle, without probabilities."""
    config = read_config(model)
    provenance = config["provenance"]
    candidates = provenance["validation"][HEAD]["candidates"]
    scores = ", ".join(f"{name} {row['mcc']:.3f}" for name, row in candidates.items())
    note = f"{provenance['strand']}, {provenance['folds']} folds; held-out MCC: {scores}"
    return MethodResult(np.empty((0, 0)), config["trainable_parameters"], note=note)


def _read_probabilities(calls: Path, task: Task) -> Array:
    """The probabilities (N, C) in the order of the development part."""
    with calls.open() as handle:
        rows = {row["sample"]: row for row in csv.DictReader(handle, delimiter="\t")}
    columns = [f"{HEAD}:{label}" for label in task.train.classes[HEAD]]
    uniform = 1 / len(columns)  # of a sequence without a known letter
    return np.array(
        [
            [uniform if rows[name][c] == "." else float(rows[name][c]) for c in columns]
            for name in task.dev.names
        ]
    )
