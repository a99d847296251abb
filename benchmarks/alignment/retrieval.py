"""How well `ancestry-967` finds the phenotype records of people whom it has not seen, beside classifiers.

    python -m benchmarks.alignment.retrieval -o benchmarks/alignment/retrieval.tsv > benchmarks/alignment/retrieval.md

Five folds by individual: the network learns from four fifths by its preset, and ranks the records of the 26
populations, the five super-populations and the two sexes for the last fifth. Sex cannot be read from autosomes: it is
the negative control. Finished folds are kept in runs/benchmarks/alignment/retrieval.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from benchmarks.alignment.crossmodal import (
    PLACE,
    POP,
    SEX,
    SUPERPOP,
    Described,
    Network,
    described_by,
    kept,
    learnt_from,
    ranks,
)
from benchmarks.command_line import DATA, MODELS, RUNS, parser_of, say, write_optional
from benchmarks.crossvalidation.baselines import (
    BAYES,
    MAJORITY,
    Baseline,
    Problem,
    each_head,
    logistic,
)
from benchmarks.crossvalidation.trials import Array, Rows
from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.population.networks.genotype_mlp import allele_counts
from genomai_cli.population.networks.likelihood_fit import fit_likelihood
from genomai_cli.training import recipe
from genomai_cli.training.labelled_data import folds

RECORDS = MODELS / "ancestry-967" / "phenotypes.tsv"
KEPT = RUNS / "alignment"
PRESET = "ancestry-crossmodal"
BASELINES: dict[str, Baseline] = {
    "majority class": MAJORITY,
    "logistic regression": each_head({0.003: logistic(0.003)}),
    "naive Bayes": BAYES,
}
OURS = "`ancestry-967`, records of one column"
ALL = "`ancestry-967`, records of all columns"
CLASSIFIER = "the likelihood inside `ancestry-967`"
HEADS = (SUPERPOP, POP, SEX)
TOP = (1, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table as Markdown."""
    options = parser(__doc__).parse_args(arguments)
    torch.set_num_threads(options.threads)
    people = Described.read(options.data, options.records)
    parts = folds(people.samples, options.folds, options.seed)
    found: dict[tuple[str, str], Array] = {}
    order = np.argsort(np.concatenate(parts))
    outcomes = [of_fold(people, n, rows, options) for n, rows in enumerate(parts)]
    for name in outcomes[0]:
        method, head = name.split("|")
        found[method, head] = np.concatenate([outcome[name] for outcome in outcomes])[order]
    lines = list(table(found))
    write_optional(options.output, tsv(found))
    sys.stdout.writelines(f"{line}\n" for line in lines)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options."""
    return parser_of(
        doc, data=DATA, records=RECORDS, runs=KEPT, folds=5, seed=0, threads=1, set=[], output=None
    )


def of_fold(
    people: Described, number: int, judge: Rows, options: argparse.Namespace
) -> dict[str, Array]:
    """The ranks of the truth by method and head, for the people in `judge`."""
    plan, text = recipe.read(PRESET, options.set)
    learn, folder = np.setdiff1d(np.arange(len(people)), judge), options.runs / "retrieval"
    key = key_of(people, text, options.seed, judge)
    ours = kept(
        folder / f"ours-{number}.npz",
        key,
        lambda: our_ranks(people, learnt_from(people, learn, plan, options.seed, say), judge),
    )
    others = kept(
        folder / f"others-{number}.npz",
        key_of(people, "", options.seed, judge),
        lambda: other_ranks(people, learn, judge, options.seed),
    )
    return others | ours


def our_ranks(people: Described, network: Network, judge: Rows) -> dict[str, Array]:
    """Those of the network."""
    copies, found = people.copies[judge], {}
    for head in HEADS:
        records = [{head: label} for label in people.labels(head)]
        similarity = network.similarities(copies, records)
        found[f"{OURS}|{head}"] = ranks(similarity, people.numbers(head)[judge])
    whole = described_by(people.groups, SUPERPOP, POP, *PLACE)
    found[f"{ALL}|{POP}"] = ranks(network.similarities(copies, whole), people.numbers(POP)[judge])
    return found


def other_ranks(people: Described, learn: Rows, judge: Rows, seed: int) -> Mapping[str, Array]:
    """Those of classifiers: the ranks of the true class by its probability."""
    copies = people.copies
    labels = {head: people.numbers(head) for head in HEADS}
    classes = {head: len(people.labels(head)) for head in HEADS}
    found = {}
    problem = Problem(copies, {head: labels[head] for head in HEADS}, classes).rows(learn)
    for name, baseline in BASELINES.items():
        tables = baseline(problem, seed).probabilities(copies[judge])
        for head in HEADS[:2] if name == "naive Bayes" else HEADS:  # it sums over populations
            found[f"{name}|{head}"] = ranks(tables[head], labels[head][judge])
    likelihood = fit_likelihood(
        copies[learn], labels[POP][learn], classes[POP], axes=3, shrinkage=30.0
    )
    counts = allele_counts(torch.from_numpy(copies[judge].astype(np.int64)), torch.float64)
    odds = likelihood(*counts).softmax(1).numpy()
    found[f"{CLASSIFIER}|{POP}"] = ranks(odds, labels[POP][judge])
    parent = np.array([people.labels(SUPERPOP).index(str(g[SUPERPOP])) for g in people.groups])
    summed = odds @ (parent[:, None] == np.arange(classes[SUPERPOP]))
    found[f"{CLASSIFIER}|{SUPERPOP}"] = ranks(summed, labels[SUPERPOP][judge])
    return found


def table(found: Mapping[tuple[str, str], Array]) -> Iterator[str]:
    """Recall with its 95 % interval."""
    columns = [(SUPERPOP, 1), (POP, 1), (POP, 3), (SEX, 1)]
    yield "| method | " + " | ".join(f"{head} recall@{k}" for head, k in columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for method in dict.fromkeys(method for method, _ in found):
        cells = [
            recall(found[method, head], k) if (method, head) in found else "."
            for head, k in columns
        ]
        yield f"| {method} | {' | '.join(cells)} |"


def recall(ranks_N: Array, k: int) -> str:
    """The share of people whose record is among the first k, with its interval."""
    low, high = wilson_interval(int((ranks_N <= k).sum()), len(ranks_N))
    return f"{(ranks_N <= k).mean():.3f} ({low:.3f}-{high:.3f})"


def tsv(found: Mapping[tuple[str, str], Array]) -> Iterator[str]:
    """The figures, one a line."""
    yield "method\tcolumn\tk\tn\trecall\tlow\thigh\n"
    for (method, head), ranks_N in found.items():
        for k in TOP:
            right, n = int((ranks_N <= k).sum()), len(ranks_N)
            low, high = wilson_interval(right, n)
            yield f"{method}\t{head}\t{k}\t{n}\t{right / n:.4f}\t{low:.4f}\t{high:.4f}\n"


def key_of(people: Described, text: str, seed: int, rows: Rows) -> str:
    """What kept results depend on, beside the code."""
    parts = [people.samples.letters.tobytes(), repr(people.facts).encode(), rows.tobytes()]
    return f"{hashlib.sha256(b''.join(parts)).hexdigest()} {seed} {text}"


if __name__ == "__main__":
    main()
