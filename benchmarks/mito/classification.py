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
from pathlib import Path

import torch

from benchmarks.command_line import DATA, MITO, MODELS, RUNS, names, say, say_on_terminal
from benchmarks.crossvalidation.trials import Method, Pooled, Trial
from benchmarks.mito.genomes import Genomes
from benchmarks.mito.methods import EmbeddingMethod, OurMethod, baselines
from benchmarks.mito.scores import Gain, Row, Same, gains, markdown, rows_of, same_labels, tsv
from genomai_cli import device as devices
from genomai_cli.bundles import bundle as bundles
from genomai_cli.formats.outputs import atomic_text

REFERENCE = MITO / "rCRS.fa"
PRETRAINED = MODELS / "mito-pretrained"
KEPT = RUNS / "mito" / "classification"
COMPARED = (("mito", "mito-scratch"), ("mito", "logistic"), ("mito", "nearest"))
NOTE = """
Position 3107 of rCRS is a placeholder, N, where no genome has a letter; in these files a third of the people
have one, none of those of GBR, FIN, IBS, PUR, CLM, PEL and CHS and half of most others: it tells of the batch that
was sequenced, not of the person. One row reads it, to show what that is worth; no other row does, nor do our models.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for; the table goes to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    people = Genomes.read(options.data, options.reference)
    say(f"{len(people.samples)} genomes")
    trial = Trial(people, options.seed, options.folds, options.runs, say)
    rows: list[Row] = []
    same: list[Same] = []
    all_pooled: dict[str, Pooled] = {}
    for method in chosen_methods(options):
        pooled = trial.pooled(method, fresh=method.name in options.fresh)
        all_pooled[method.name] = pooled
        rows += rows_of(method.name, pooled, people.samples.labels)
        same += same_labels(method.name, pooled)
        pairs = [pair for pair in COMPARED if all_pooled.keys() >= set(pair)]
        truth = people.samples.labels
        more = [gain for pair in pairs for gain in gains(*pair, all_pooled, truth)]
        write(rows, same, more, options)
    sys.stdout.writelines(tsv(rows))


def parser() -> argparse.ArgumentParser:
    """The options."""
    description, _, _ = (__doc__ or "").partition("\n")
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s")
    made.add_argument("--reference", type=Path, default=REFERENCE, metavar="FASTA",
                      help="default: %(default)s")  # fmt: skip
    made.add_argument("--pretrained", type=Path, default=PRETRAINED, metavar="DIR",
                      help="the model begun with; default: %(default)s")  # fmt: skip
    made.add_argument("--folds", type=int, default=5, metavar="N", help="default: %(default)s")
    made.add_argument("--baselines-only", action="store_true", help="no model of ours")
    made.add_argument("--methods", type=names, metavar="NAME,...", help="only these rows")
    made.add_argument("--fresh", type=names, default=[], metavar="NAME,...",
                      help="forget the kept results of these methods")  # fmt: skip
    made.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    made.add_argument("--threads", type=int, default=1, metavar="N", help="default: %(default)s")
    made.add_argument("--device", default="cpu", help="for our models; default: %(default)s")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE",
                      help="change our model's recipe (to try something)")  # fmt: skip
    made.add_argument("--runs", type=Path, default=KEPT, metavar="DIR", help="default: %(default)s")
    made.add_argument("-o", "--output", type=Path, metavar="FILE",
                      help="the table, written anew after every method")  # fmt: skip
    made.add_argument("--markdown", type=Path, metavar="FILE", help="compact tables")
    return made


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


def write(
    rows: Sequence[Row], same: Sequence[Same], more: Sequence[Gain], options: argparse.Namespace
) -> None:
    """The files asked for, with the rows so far."""
    if options.output:
        with atomic_text(options.output) as handle:
            handle.writelines(tsv(rows))
    if options.markdown:
        with atomic_text(options.markdown) as handle:
            handle.write(markdown(rows, same, more) + NOTE)


if __name__ == "__main__":
    main()
