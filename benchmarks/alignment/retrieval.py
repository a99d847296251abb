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
    LOCATION,
    POP,
    SEX,
    SUPERPOP,
    Network,
    PhenotypedCohort,
    cached,
    ranks,
    train_network,
    with_columns,
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
RESULTS_FOLDER = RUNS / "alignment"
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
    cohort = PhenotypedCohort.read(options.data, options.records)
    parts = folds(cohort.samples, options.folds, options.seed)
    pooled_ranks: dict[tuple[str, str], Array] = {}
    order = np.argsort(np.concatenate(parts))
    outcomes = [ranks_of_fold(cohort, n, rows, options) for n, rows in enumerate(parts)]
    for name in outcomes[0]:
        method, head = name.split("|")
        pooled_ranks[method, head] = np.concatenate([outcome[name] for outcome in outcomes])[order]
    lines = list(table(pooled_ranks))
    write_optional(options.output, tsv(pooled_ranks))
    sys.stdout.writelines(f"{line}\n" for line in lines)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options."""
    return parser_of(
        doc,
        data=DATA,
        records=RECORDS,
        runs=RESULTS_FOLDER,
        folds=5,
        seed=0,
        threads=1,
        set=[],
        output=None,
    )


def ranks_of_fold(
    cohort: PhenotypedCohort, number: int, test_rows: Rows, options: argparse.Namespace
) -> dict[str, Array]:
    """The ranks of the true records by method and head, for the people in `test_rows`."""
    plan, text = recipe.read(PRESET, options.set)
    train_rows, folder = np.setdiff1d(np.arange(len(cohort)), test_rows), options.runs / "retrieval"
    key = key_of(cohort, text, options.seed, test_rows)
    by_network = cached(
        folder / f"ours-{number}.npz",
        key,
        lambda: ranks_by_network(
            cohort, train_network(cohort, train_rows, plan, options.seed, say), test_rows
        ),
    )
    by_classifiers = cached(
        folder / f"others-{number}.npz",
        key_of(cohort, "", options.seed, test_rows),
        lambda: ranks_by_classifiers(cohort, train_rows, test_rows, options.seed),
    )
    return by_classifiers | by_network


def ranks_by_network(
    cohort: PhenotypedCohort, network: Network, test_rows: Rows
) -> dict[str, Array]:
    """The true records' ranks by similarity with the network's vectors."""
    copies, ranks_by_name = cohort.copies[test_rows], {}
    for head in HEADS:
        records = [{head: label} for label in cohort.labels(head)]
        similarity = network.similarities(copies, records)
        ranks_by_name[f"{OURS}|{head}"] = ranks(similarity, cohort.label_indices(head)[test_rows])
    full_records = with_columns(cohort.groups, SUPERPOP, POP, *LOCATION)
    ranks_by_name[f"{ALL}|{POP}"] = ranks(
        network.similarities(copies, full_records), cohort.label_indices(POP)[test_rows]
    )
    return ranks_by_name


def ranks_by_classifiers(
    cohort: PhenotypedCohort, train_rows: Rows, test_rows: Rows, seed: int
) -> Mapping[str, Array]:
    """The true classes' ranks by the probabilities of classifiers."""
    copies = cohort.copies
    labels = {head: cohort.label_indices(head) for head in HEADS}
    classes = {head: len(cohort.labels(head)) for head in HEADS}
    ranks_by_name = {}
    problem = Problem(copies, {head: labels[head] for head in HEADS}, classes).rows(train_rows)
    for name, baseline in BASELINES.items():
        tables = baseline(problem, seed).probabilities(copies[test_rows])
        for head in HEADS[:2] if name == "naive Bayes" else HEADS:  # it sums over populations
            ranks_by_name[f"{name}|{head}"] = ranks(tables[head], labels[head][test_rows])
    likelihood = fit_likelihood(
        copies[train_rows], labels[POP][train_rows], classes[POP], axes=3, shrinkage=30.0
    )
    counts = allele_counts(torch.from_numpy(copies[test_rows].astype(np.int64)), torch.float64)
    posteriors = likelihood(*counts).softmax(1).numpy()
    ranks_by_name[f"{CLASSIFIER}|{POP}"] = ranks(posteriors, labels[POP][test_rows])
    parent = np.array([cohort.labels(SUPERPOP).index(str(g[SUPERPOP])) for g in cohort.groups])
    superpop_posteriors = posteriors @ (parent[:, None] == np.arange(classes[SUPERPOP]))
    ranks_by_name[f"{CLASSIFIER}|{SUPERPOP}"] = ranks(
        superpop_posteriors, labels[SUPERPOP][test_rows]
    )
    return ranks_by_name


def table(pooled_ranks: Mapping[tuple[str, str], Array]) -> Iterator[str]:
    """Recall with its 95 % interval."""
    columns = [(SUPERPOP, 1), (POP, 1), (POP, 3), (SEX, 1)]
    yield "| method | " + " | ".join(f"{head} recall@{k}" for head, k in columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for method in dict.fromkeys(method for method, _ in pooled_ranks):
        cells = [
            recall(pooled_ranks[method, head], k) if (method, head) in pooled_ranks else "."
            for head, k in columns
        ]
        yield f"| {method} | {' | '.join(cells)} |"


def recall(ranks_N: Array, k: int) -> str:
    """The share of people whose record is among the first k, with its interval."""
    low, high = wilson_interval(int((ranks_N <= k).sum()), len(ranks_N))
    return f"{(ranks_N <= k).mean():.3f} ({low:.3f}-{high:.3f})"


def tsv(pooled_ranks: Mapping[tuple[str, str], Array]) -> Iterator[str]:
    """The figures, one a line."""
    yield "method\tcolumn\tk\tn\trecall\tlow\thigh\n"
    for (method, head), ranks_N in pooled_ranks.items():
        for k in TOP:
            right, n = int((ranks_N <= k).sum()), len(ranks_N)
            low, high = wilson_interval(right, n)
            yield f"{method}\t{head}\t{k}\t{n}\t{right / n:.4f}\t{low:.4f}\t{high:.4f}\n"


def key_of(cohort: PhenotypedCohort, text: str, seed: int, rows: Rows) -> str:
    """What stored results depend on, except the code."""
    parts = [cohort.samples.letters.tobytes(), repr(cohort.phenotypes).encode(), rows.tobytes()]
    return f"{hashlib.sha256(b''.join(parts)).hexdigest()} {seed} {text}"


if __name__ == "__main__":
    main()
