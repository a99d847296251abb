"""Our ancestry models beside the baselines, by cross-validation within the training individuals.

    python -m benchmarks.ancestry.classification --markdown table.md > table.tsv
    python -m benchmarks.ancestry.classification --baselines-only
    python -m benchmarks.ancestry.classification --methods genomai-v2,logistic-200 --paired genomai-v2

`--paired NAME` says for every head how much more accurate that method is than each other one, with all sites.

Every method learns from four fifths of the people and judges the last fifth, five times over; the table pools
the judgements of all. Our models are made by their shipped recipes inside every fold, site selection and
calibration included. Finished folds are kept in runs/benchmarks/ancestry/classification and read again; a changed
recipe, seed or data set starts anew, changed code does not: then say --fresh.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from benchmarks.ancestry.methods import OurMethod, baselines
from benchmarks.ancestry.scores import CONDITIONS, Row, markdown, paired, rows_of, tsv
from benchmarks.command_line import (
    DATA,
    RUNS,
    names,
    parser_of,
    say,
    say_on_terminal,
    write_optional,
)
from benchmarks.crossvalidation.trials import Array, Cohort, Method, Rows, Trial
from genomai_cli import device as devices

RESULTS_FOLDER = RUNS / "ancestry" / "classification"
MODELS = "ancestry-967,genomai-v2"
Tables = dict[tuple[str, str], Array]
"""Probabilities by condition and head."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    cohort = Cohort.read(options.data)
    say(f"{len(cohort.samples)} people, {len(cohort.panel)} sites")
    trial = Trial(cohort, options.seed, options.folds, options.runs, say)
    rows: list[Row] = []
    tables: dict[str, Tables] = {}
    for method in chosen_methods(options):
        pooled = trial.pooled(method, fresh=method.name in options.fresh)
        tables[method.name] = pooled.probabilities
        rows += rows_of(method.name, pooled, cohort.samples.labels)
        write_optional(options.output, tsv(rows))
        write_optional(options.markdown, markdown(rows))
    sys.stdout.writelines(tsv(rows))
    if options.paired in tables:
        for line in differences(options.paired, tables, cohort.samples.labels):
            say(line)


def differences(name: str, tables: Mapping[str, Tables], truth: Mapping[str, Rows]) -> list[str]:
    """A line for every other method and head in common: the accuracy of the method less the other's."""
    lines = []
    for other in tables.keys() - {name}:
        for head, labels in truth.items():
            key = (CONDITIONS[0], head)
            if key in tables[name] and key in tables[other]:
                gain, low, high = paired(tables[name][key], tables[other][key], labels)
                lines.append(f"{head}: {name} less {other} {gain:+.4f} ({low:+.4f} to {high:+.4f})")
    return sorted(lines)


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(
        __doc__,
        data=DATA,
        folds=5,
        methods=None,
        fresh=[],
        seed=0,
        device="cpu",
        set=[],
        runs=RESULTS_FOLDER,
        output=None,
        markdown=None,
    )
    command_line.add_argument("--models", type=names, default=names(MODELS), metavar="NAME,...",
                      help=f"our models; default: {MODELS}")  # fmt: skip
    command_line.add_argument(
        "--paired", metavar="NAME", help="compare this method with each other one"
    )
    command_line.add_argument("--baselines-only", action="store_true", help="none of our models")
    return command_line


def chosen_methods(options: argparse.Namespace) -> list[Method]:
    """The baselines, then our models."""
    device = devices.choose(options.device)
    ours = [] if options.baselines_only else options.models
    methods = baselines()
    methods += [OurMethod(name, tuple(options.set), device, say_on_terminal) for name in ours]
    return [m for m in methods if options.methods is None or m.name in options.methods]


if __name__ == "__main__":
    main()
