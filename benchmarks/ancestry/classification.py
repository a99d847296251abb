"""Our ancestry models beside the baselines, by cross-validation within the training individuals.

    python -m benchmarks.ancestry.classification --markdown table.md > table.tsv
    python -m benchmarks.ancestry.classification --baselines-only

Every method learns from four fifths of the people and judges the last fifth, five times over; the table pools
the judgements of all. Our models are made by their shipped recipes inside every fold, site selection and
calibration included. Finished folds are kept in runs/benchmarks/ancestry/classification and read again; a changed
recipe, seed or data set starts anew, changed code does not: then say --fresh.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ancestry.methods import OurMethod, baselines
from benchmarks.ancestry.scores import Row, markdown, rows_of, tsv
from benchmarks.command_line import DATA, RUNS, names, say, say_on_terminal
from benchmarks.crossvalidation.trials import Cohort, Method, Trial
from genomai_cli import device as devices
from genomai_cli.formats.outputs import atomic_text

KEPT = RUNS / "ancestry" / "classification"
MODELS = "ancestry,genomai-v2"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    cohort = Cohort.read(options.data)
    say(f"{len(cohort.samples)} people, {len(cohort.panel)} sites")
    trial = Trial(cohort, options.seed, options.folds, options.runs, say)
    rows: list[Row] = []
    for method in chosen_methods(options):
        pooled = trial.pooled(method, fresh=method.name in options.fresh)
        rows += rows_of(method.name, pooled, cohort.samples.labels)
        write(rows, options)
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    description, _, _ = (__doc__ or "").partition("\n")
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s")
    made.add_argument("--folds", type=int, default=5, metavar="N", help="default: %(default)s")
    made.add_argument("--models", type=names, default=names(MODELS), metavar="NAME,...",
                      help=f"our models; default: {MODELS}")  # fmt: skip
    made.add_argument("--baselines-only", action="store_true", help="none of our models")
    made.add_argument("--methods", type=names, metavar="NAME,...", help="only these rows")
    made.add_argument("--fresh", type=names, default=[], metavar="NAME,...",
                      help="forget the kept results of these methods")  # fmt: skip
    made.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    made.add_argument("--device", default="cpu", help="for our models; default: %(default)s")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                      help="change our models' recipes (to try something)")  # fmt: skip
    made.add_argument("--runs", type=Path, default=KEPT, metavar="DIR", help="default: %(default)s")
    made.add_argument("-o", "--output", type=Path, metavar="FILE",
                      help="the table, written anew after every method")  # fmt: skip
    made.add_argument("--markdown", type=Path, metavar="FILE", help="a compact table")
    return made


def chosen_methods(options: argparse.Namespace) -> list[Method]:
    """The baselines, then our models."""
    device = devices.choose(options.device)
    ours = [] if options.baselines_only else options.models
    methods = baselines()
    methods += [OurMethod(name, tuple(options.set), device, say_on_terminal) for name in ours]
    return [m for m in methods if options.methods is None or m.name in options.methods]


def write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """The files asked for, with the rows so far."""
    if options.output:
        with atomic_text(options.output) as handle:
            handle.writelines(tsv(rows))
    if options.markdown:
        with atomic_text(options.markdown) as handle:
            handle.write(markdown(rows))


if __name__ == "__main__":
    main()
