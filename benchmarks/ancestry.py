"""Our ancestry models beside the baselines, by cross-validation within the training individuals.

    python benchmarks/ancestry.py --markdown table.md > table.tsv
    python benchmarks/ancestry.py --baselines-only

Every method learns from four fifths of the people and judges the last fifth, five times over; the table pools
the judgements of all. Our models are made by their shipped recipes inside every fold, site selection and
calibration included. Finished folds are kept in runs/benchmarks/ancestry and read again; a changed recipe,
seed or data set starts anew, changed code does not: then say --fresh.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from crossvalidation import Cohort, Method, Trial
from methods import OurMethod, baselines
from scores import Row, markdown, rows_of, tsv

from genomai_cli import device as devices
from genomai_cli.formats.outputs import atomic_text

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY.parent / "shared" / "data" / "1kgp"
RUNS = REPOSITORY / "runs" / "benchmarks" / "ancestry"
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
    made.add_argument("--models", type=_names, default=_names(MODELS), metavar="NAME,...",
                      help=f"our models; default: {MODELS}")  # fmt: skip
    made.add_argument("--baselines-only", action="store_true", help="none of our models")
    made.add_argument("--methods", type=_names, metavar="NAME,...", help="only these rows")
    made.add_argument("--fresh", type=_names, default=[], metavar="NAME,...",
                      help="forget the kept results of these methods")  # fmt: skip
    made.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    made.add_argument("--device", default="cpu", help="for our models; default: %(default)s")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                      help="change our models' recipes (to try something)")  # fmt: skip
    made.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="default: %(default)s")
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


def say(message: str) -> None:
    """A line of progress."""
    print(message, file=sys.stderr, flush=True)


def say_on_terminal(message: str) -> None:
    """A line of progress that the next one overwrites; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r{message}\033[K", end="\r", file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    main()
