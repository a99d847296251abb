"""What pretraining is worth: accuracy with 1, 5, 20 and 100 % of the labels, from scratch and from pretrained networks.

    python -m benchmarks.pretraining.label_efficiency -o table.tsv --markdown table.md > /dev/null
    python -m benchmarks.pretraining.label_efficiency --kinds mito --rows logistic,scratch,masked

Of five folds by individual some are judged (--judged); in each, a random subset of the other people keep their labels.
Every row learns from the same ones. Networks are pretrained without labels once and kept in
runs/benchmarks/pretraining/label_efficiency, as are finished results; changed code does not make them anew: say
--fresh.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.command_line import DATA, MITO, RUNS, names, parser_of, say, write_optional
from benchmarks.pretraining.label_rows import ROWS, Kind, ancestry_kind, mito_kind
from benchmarks.pretraining.label_scores import Trial, markdown, rows_of, tsv

RESULTS_FOLDER = RUNS / "pretraining" / "label_efficiency"
KINDS = ("mito", "ancestry")
SHARES = (1, 5, 20, 100)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    for row in options.fresh:
        for file in options.runs.glob(f"*/results/{row}-*.npz"):
            file.unlink()
    trials = [Trial(kind_of(name, options), options.shares, options.seed) for name in options.kinds]
    for number in range(options.judged):
        for trial in trials:
            trial.run(number, options.folds, options.rows, say)
            rows = [row for done in trials for row in rows_of(done)]
            write_optional(options.output, tsv(rows))
            write_optional(options.markdown, markdown(rows))
    sys.stdout.writelines(tsv([row for trial in trials for row in rows_of(trial)]))


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(
        __doc__,
        data=DATA,
        folds=5,
        judged=3,
        set=[],
        fresh=[],
        seed=0,
        threads=1,
        runs=RESULTS_FOLDER,
        output=None,
        markdown=None,
    )
    command_line.add_argument(
        "--mito", type=Path, default=MITO, metavar="DIR", help="rCRS.fa and world.vcf.gz"
    )
    command_line.add_argument("--kinds", type=names, default=list(KINDS), metavar="NAME,...",
                      help=f"networks; default: {','.join(KINDS)}")  # fmt: skip
    command_line.add_argument("--rows", type=names, default=list(ROWS), metavar="NAME,...",
                      help=f"default: {','.join(ROWS)}")  # fmt: skip
    command_line.add_argument("--shares", type=_numbers, default=SHARES, metavar="PERCENT,...",
                      help="of the labels; default: 1,5,20,100")  # fmt: skip
    command_line.add_argument("--pretraining-set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                      help="change the recipes of pretraining")  # fmt: skip
    return command_line


def kind_of(name: str, options: argparse.Namespace) -> Kind:
    """The networks of this name, with their training data."""
    folder = options.runs / name
    if name == "mito":
        return mito_kind(
            folder,
            options.data,
            options.mito,
            options.seed,
            options.set,
            options.pretraining_set,
            say,
        )
    return ancestry_kind(
        folder, options.data, options.seed, options.set, options.pretraining_set, say
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in names(text))


if __name__ == "__main__":
    main()
