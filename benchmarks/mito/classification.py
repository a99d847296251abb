"""Our mitochondrial model beside the baselines, by cross-validation within the labelled genomes.

    python -m benchmarks.mito.classification -o table.tsv --markdown table.md > /dev/null
    python -m benchmarks.mito.classification --baselines-only

Every method learns from four fifths of the people and judges the last fifth, five times over. Our model is made by its
shipped recipe inside every fold, from scratch and beginning with the pretrained one, which has seen no label. Finished
folds are kept in runs/benchmarks/mito/classification and read again; changed code does not make them anew: then say
--fresh.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.command_line import (
    DATA,
    MITO,
    MODELS,
    RUNS,
    parser_of,
    say,
    say_on_terminal,
    write_optional,
)
from benchmarks.crossvalidation.trials import Method, Pooled, Trial
from benchmarks.mito.genomes import Genomes
from benchmarks.mito.methods import EmbeddingMethod, OurMethod, baselines
from benchmarks.mito.scores import LabelInvariance, Row, gains, markdown, rows_of, same_labels, tsv
from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles

REFERENCE = MITO / "rCRS.fa"
PRETRAINED = MODELS / "mito-pretrained"
RESULTS_FOLDER = RUNS / "mito" / "classification"
COMPARED = (("mito", "mito-scratch"), ("mito", "logistic"), ("mito", "nearest"))
NOTE = """
Position 3107 of rCRS is a placeholder, N, where no genome has a letter; in these files a third of the people
have one, none of those of GBR, FIN, IBS, PUR, CLM, PEL and CHS and half of most others: it tells of the batch that
was sequenced, not of the person. One row reads it, to show what that is worth; no other row does, nor do our models.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    cohort = Genomes.read(options.data, options.reference)
    say(f"{len(cohort.samples)} genomes")
    trial = Trial(cohort, options.seed, options.folds, options.runs, say)
    rows: list[Row] = []
    invariances: list[LabelInvariance] = []
    all_pooled: dict[str, Pooled] = {}
    for method in chosen_methods(options):
        pooled = trial.pooled(method, fresh=method.name in options.fresh)
        all_pooled[method.name] = pooled
        rows += rows_of(method.name, pooled, cohort.samples.labels)
        invariances += same_labels(method.name, pooled)
        pairs = [pair for pair in COMPARED if all_pooled.keys() >= set(pair)]
        truth = cohort.samples.labels
        gain_rows = [gain for pair in pairs for gain in gains(*pair, all_pooled, truth)]
        write_optional(options.output, tsv(rows))
        write_optional(options.markdown, markdown(rows, invariances, gain_rows) + NOTE)
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(
        __doc__,
        data=DATA,
        reference=REFERENCE,
        pretrained=PRETRAINED,
        folds=5,
        methods=None,
        fresh=[],
        seed=0,
        threads=1,
        device="cpu",
        set=[],
        runs=RESULTS_FOLDER,
        output=None,
        markdown=None,
    )
    command_line.add_argument("--baselines-only", action="store_true", help="no model of ours")
    return command_line


def chosen_methods(options: argparse.Namespace) -> list[Method]:
    """The baselines, then our models."""
    methods = baselines()
    if not options.baselines_only:
        device = devices.choose(options.device)
        start = bundles.load(str(options.pretrained.resolve()), device)
        changes = tuple(options.set)
        methods += [
            EmbeddingMethod(start),
            OurMethod("mito", "mito", start, changes, device, say_on_terminal),
            OurMethod("mito-scratch", "mito", None, changes, device, say_on_terminal),
        ]
    return [m for m in methods if options.methods is None or m.name in options.methods]


if __name__ == "__main__":
    main()
