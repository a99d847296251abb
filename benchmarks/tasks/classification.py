"""Short labelled sequences: regressions, networks from scratch, probes of encoders and `genomai train`, task by task.

    python -m benchmarks.tasks.classification --methods kmers-both,kmers-given,positions,auto --tasks mouse3,tf3

Methods learn from the training part and are judged on the development part; test parts are never opened. Every task,
method and seed that is finished is kept in `--runs` and never done again, so that a run can be ended at any moment and
goes on where it stopped. The tables are made from whatever is finished (`--table`: from that alone), and name what is
missing; rows of an `-o` file that is there already stay where nothing newer is kept.
"""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import DATA, RUNS, names, parser_of, say, write_optional
from benchmarks.tasks.figures import (
    FinishedRun,
    Tables,
    correlation,
    finished_runs,
    merge_rows,
    read_rows,
    rows_of,
    tsv,
)
from benchmarks.tasks.methods import Budget, Method, methods_with
from benchmarks.tasks.splits import Task, task_folders

RESULTS = RUNS / "tasks" / "classification"
MODELS = "models"  # in the folder of results: bundles of genomai train, finished or not


@dataclass(frozen=True, eq=False)
class Runs:
    """The folder of finished runs, and the budget of new ones."""

    folder: Path
    budget: Budget

    def run(self, task: Task, method: Method, seed: int) -> None:
        """Run the method unless it is finished."""
        key = {"data": task.digest, "settings": method.settings(self.budget)}
        file = self.folder / task.name / f"{method.name}.{seed}.npz"
        if FinishedRun.load(file, key) is not None:
            return
        say(f"{task.name}, {method.name}, seed {seed} ...")
        began, processor_start = time.monotonic(), _processor_seconds()
        result = method.run(task, seed, self.budget)
        minutes = (time.monotonic() - began) / 60, (_processor_seconds() - processor_start) / 60
        FinishedRun(result, *minutes).save(file, key)
        mcc = correlation(task.labels, result.probabilities)
        say(f"... MCC {mcc:.3f} in {minutes[0]:.1f} minutes, {minutes[1]:.1f} of a processor")


def _processor_seconds() -> float:
    """Processor time of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Finish what is missing, and write the tables."""
    parser = parser_of(
        __doc__,
        data=DATA.parent / "tasks",
        methods=None,
        runs=RESULTS,
        threads=2,
        output=None,
        markdown=None,
    )
    add: Any = parser.add_argument
    add("--tasks", type=names, metavar="NAME,...", help="only these, in this order")
    add("--seeds", type=int, default=1, metavar="N", help="of what is random; default: %(default)s")
    add(
        "--time",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="of all threads, for each network trained from scratch; default: %(default)s",
    )
    add("--auto-time", default="", metavar="TIME", help="for auto, else that of genomai train")
    add(
        "--encoder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a pretrained bundle to probe and tune; may be repeated",
    )
    add("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    methods = methods_with(options.encoder)
    unknown = [name for name in options.methods or [] if name not in methods]
    if unknown:
        parser.error(f"no method {unknown[0]} (there are: {', '.join(methods)})")
    torch.set_num_threads(options.threads)
    budget = Budget(options.runs / MODELS, options.time, options.threads, options.auto_time)
    runs = Runs(options.runs, budget)
    all_tasks = [folder.name for folder in task_folders(options.data, None)]
    tasks = {
        folder.name: Task.read(folder)
        for folder in task_folders(options.data, None if options.table else options.tasks)
    }
    if not options.table:
        for name in options.methods or methods:
            method = methods[name]
            for task in tasks.values():
                for seed in range(options.seeds if method.random else 1):
                    runs.run(task, method, seed)
    known_methods = [*methods, *_other_methods(options.runs, methods)]
    new_rows = [
        row
        for task in tasks.values()
        for row in rows_of(task, finished_runs(options.runs, task, known_methods))
    ]
    rows = merge_rows(read_rows(options.output), new_rows, known_methods)
    write_optional(options.output, tsv(rows))
    text = "".join(Tables(rows, methods, all_tasks, options.seeds).markdown())
    write_optional(options.markdown, text)
    print(text, end="")


def _other_methods(folder: Path, methods: Mapping[str, Method]) -> list[str]:
    """Methods with finished runs that are not among these, as of another encoder."""
    finished = {file.stem.rpartition(".")[0] for file in folder.glob("*/*.npz")}
    return sorted(finished - methods.keys())


if __name__ == "__main__":
    main()
