"""Populations that `ancestry-967` has never seen, known by their attributes only, beside what needs no such network.

    python -m benchmarks.alignment.zero_shot -o benchmarks/alignment/zero_shot.tsv > benchmarks/alignment/zero_shot.md

Each of the 26 populations is left out in turn, people and records; the network learns from the others by its preset.
Then the left-out people are asked for: their super-population; their population among 26 that are described by
super-population and place only; and where they were sampled, the most similar place of a grid on the globe. Finished
folds are kept in runs/benchmarks/alignment/zero_shot; `--only` does some of them.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from benchmarks.alignment.crossmodal import (
    LOCATION,
    POP,
    SUPERPOP,
    PhenotypedCohort,
    cached,
    kilometres,
    ranks,
    train_network,
    with_columns,
)
from benchmarks.alignment.retrieval import PRESET, key_of
from benchmarks.alignment.retrieval import parser as shared_parser
from benchmarks.command_line import say, write_optional
from benchmarks.crossvalidation.baselines import Scaler
from benchmarks.crossvalidation.trials import Array, Rows
from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.metrics.resampling import bootstrap_intervals
from genomai_cli.training import recipe

COMPONENTS = 20
RIDGES = np.logspace(-2, 4, 13)
ADMIXED = ("ACB", "ASW", "CLM", "MXL", "PEL", "PUR")
OURS, REGRESSION, NEAREST = "ours", "regression", "nearest"
TITLES = {
    OURS: "`ancestry-967`",
    REGRESSION: f"{COMPONENTS} principal components + ridge regression",
    NEAREST: "nearest population (centroids of principal components)",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = shared_parser(__doc__)
    parser.add_argument("--only", metavar="POP,...", help="only these populations, and no tables")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cohort = PhenotypedCohort.read(options.data, options.records)
    names = cohort.labels(POP)
    populations = options.only.split(",") if options.only else names
    outcomes = {name: evaluate_left_out(cohort, name, options) for name in populations}
    if options.only:
        return
    write_optional(options.output, tsv(outcomes))
    lines = chain(summary(outcomes, options.seed), [""], by_population(outcomes))
    sys.stdout.writelines(f"{line}\n" for line in lines)


def evaluate_left_out(
    cohort: PhenotypedCohort, name: str, options: argparse.Namespace
) -> dict[str, Array]:
    """Ranks and distances of the people of one population, by models trained on all others."""
    plan, text = recipe.read(PRESET, options.set)
    test_rows = np.flatnonzero(cohort.label_indices(POP) == cohort.labels(POP).index(name))
    train_rows = np.setdiff1d(np.arange(len(cohort)), test_rows)
    say(f"{name}: {len(test_rows)} people left out")
    return cached(
        options.runs / "zero_shot" / f"{name}.npz",
        key_of(cohort, text, options.seed, test_rows),
        lambda: (
            evaluate_network(cohort, train_rows, test_rows, plan, options.seed)
            | evaluate_components(cohort, train_rows, test_rows)
        ),
    )


def evaluate_network(
    cohort: PhenotypedCohort, train_rows: Rows, test_rows: Rows, plan: recipe.Recipe, seed: int
) -> dict[str, Array]:
    """Ranks of the super-population and of the population by its attributes, and kilometres to the sampling
    location."""
    network = train_network(cohort, train_rows, plan, seed, say)
    copies = cohort.copies[test_rows]
    coarse = [{SUPERPOP: label} for label in cohort.labels(SUPERPOP)]
    attributes = with_columns(cohort.groups, SUPERPOP, *LOCATION)
    superpop, pop = (cohort.label_indices(column)[test_rows] for column in (SUPERPOP, POP))
    return {
        f"{OURS}_superpop": ranks(network.similarities(copies, coarse), superpop),
        f"{OURS}_pop": ranks(network.similarities(copies, attributes), pop),
        f"{OURS}_km": kilometres(network.nearest_locations(copies), cohort.locations()[test_rows]),
    }


def evaluate_components(
    cohort: PhenotypedCohort, train_rows: Rows, test_rows: Rows
) -> dict[str, Array]:
    """The same measures by principal components: ridge regression of locations, and the population with the nearest
    centroid."""
    copies, locations = cohort.copies, cohort.locations()
    scaler = Scaler.of(copies[train_rows])
    components = PCA(COMPONENTS, svd_solver="full").fit(scaler(copies[train_rows]))
    train_components, test_components = (
        components.transform(scaler(copies[rows])) for rows in (train_rows, test_rows)
    )
    predicted = (
        RidgeCV(RIDGES).fit(train_components, locations[train_rows]).predict(test_components)
    )
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    pop_of = cohort.label_indices(POP)[train_rows]
    populations = np.unique(pop_of)
    centroids = np.stack(
        [train_components[pop_of == number].mean(axis=0) for number in populations]
    )
    distances = ((test_components[:, None] - centroids) ** 2).sum(axis=2)
    nearest = populations[distances.argmin(axis=1)]
    groups = cohort.groups
    group_locations = {n: locations[train_rows][pop_of == n][0] for n in populations}
    nearest_locations = np.stack([group_locations[number] for number in nearest])
    truth = groups[cohort.label_indices(POP)[test_rows][0]][SUPERPOP]
    right = np.array([groups[number][SUPERPOP] == truth for number in nearest])
    # All populations, the left-out one too, ranked by the distance from their location to the predicted one.
    population_locations = np.stack(
        [locations[cohort.label_indices(POP) == n][0] for n in range(len(groups))]
    )
    ranks_by_location = ranks(
        predicted @ population_locations.T, cohort.label_indices(POP)[test_rows]
    )
    return {
        f"{REGRESSION}_km": kilometres(predicted, locations[test_rows]),
        f"{REGRESSION}_pop": ranks_by_location,
        f"{NEAREST}_km": kilometres(nearest_locations, locations[test_rows]),
        f"{NEAREST}_superpop": np.where(right, 1.0, 2.0),
    }


def summary(outcomes: Mapping[str, Mapping[str, Array]], seed: int) -> Iterator[str]:
    """All people of some populations together, with 95 % intervals (Wilson; bootstrap over people)."""
    yield "| populations | method | super-population right | population in the top 3 of 26 | median km |"
    yield "| --- | --- | ---: | ---: | ---: |"
    kinds = {
        "all 26": list(outcomes),
        "20 others": [name for name in outcomes if name not in ADMIXED],
        "6 admixed": [name for name in outcomes if name in ADMIXED],
    }
    for title, names in kinds.items():
        for method, method_title in TITLES.items():
            pooled = {
                measure: np.concatenate([outcomes[n][f"{method}_{measure}"] for n in names])
                for measure in ("superpop", "pop", "km")
                if f"{method}_{measure}" in outcomes[names[0]]
            }
            cells = [
                share(pooled, "superpop", 1),
                share(pooled, "pop", 3),
                median(pooled["km"], seed),
            ]
            yield f"| {title} | {method_title} | {' | '.join(cells)} |"


def by_population(outcomes: Mapping[str, Mapping[str, Array]]) -> Iterator[str]:
    """One row a population."""
    yield "| left out | people | super-population | top 3 of 26 | km | regression, km | nearest, km |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, outcome in outcomes.items():
        right = (outcome[f"{OURS}_superpop"] <= 1).mean()
        top = (outcome[f"{OURS}_pop"] <= 3).mean()
        distances = [f"{np.median(outcome[f'{method}_km']):,.0f}" for method in TITLES]
        title = f"{name} (admixed)" if name in ADMIXED else name
        yield f"| {title} | {len(outcome[f'{OURS}_km'])} | {right:.3f} | {top:.3f} | {' | '.join(distances)} |"


def share(pooled: Mapping[str, Array], measure: str, k: int) -> str:
    """The share of ranks up to k, with its interval; `.` for a method without this measure."""
    if measure not in pooled:
        return "."
    ranks_N = pooled[measure]
    low, high = wilson_interval(int((ranks_N <= k).sum()), len(ranks_N))
    return f"{(ranks_N <= k).mean():.3f} ({low:.3f}-{high:.3f})"


def median(km_N: Array, seed: int) -> str:
    """The median with its interval."""
    rng = np.random.default_rng(seed)
    interval = bootstrap_intervals(
        lambda rows: {"km": float(np.median(km_N[rows]))}, len(km_N), rng
    )
    return f"{np.median(km_N):,.0f} ({interval['km'][0]:,.0f}-{interval['km'][1]:,.0f})"


def tsv(outcomes: Mapping[str, Mapping[str, Array]]) -> Iterator[str]:
    """The figures of every population and method, one a line."""
    yield "left_out\tn\tmethod\tsuperpop_right\ttop3_of_26\tmedian_km\n"
    for name, outcome in outcomes.items():
        for method in TITLES:
            right = share_up_to(outcome, f"{method}_superpop", 1)
            top = share_up_to(outcome, f"{method}_pop", 3)
            km = np.median(outcome[f"{method}_km"])
            yield f"{name}\t{len(outcome[f'{method}_km'])}\t{method}\t{right}\t{top}\t{km:.0f}\n"


def share_up_to(outcome: Mapping[str, Array], name: str, k: int) -> str:
    """The share of ranks up to k."""
    return f"{(outcome[name] <= k).mean():.4f}" if name in outcome else "."


if __name__ == "__main__":
    main()
