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
    PLACE,
    POP,
    SUPERPOP,
    Described,
    described_by,
    kept,
    kilometres,
    learnt_from,
    ranks,
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
    made = shared_parser(__doc__)
    made.add_argument("--only", metavar="POP,...", help="only these populations, and no tables")
    options = made.parse_args(arguments)
    torch.set_num_threads(options.threads)
    people = Described.read(options.data, options.records)
    names = people.labels(POP)
    wanted = options.only.split(",") if options.only else names
    outcomes = {name: left_out(people, name, options) for name in wanted}
    if options.only:
        return
    write_optional(options.output, tsv(outcomes))
    lines = chain(summary(outcomes, options.seed), [""], by_population(outcomes))
    sys.stdout.writelines(f"{line}\n" for line in lines)


def left_out(people: Described, name: str, options: argparse.Namespace) -> dict[str, Array]:
    """What is made of the people of a population that nobody has learnt from."""
    plan, text = recipe.read(PRESET, options.set)
    judge = np.flatnonzero(people.numbers(POP) == people.labels(POP).index(name))
    learn = np.setdiff1d(np.arange(len(people)), judge)
    say(f"{name}: {len(judge)} people left out")
    return kept(
        options.runs / "zero_shot" / f"{name}.npz",
        key_of(people, text, options.seed, judge),
        lambda: of_ours(people, learn, judge, plan, options.seed) | of_others(people, learn, judge),
    )


def of_ours(
    people: Described, learn: Rows, judge: Rows, plan: recipe.Recipe, seed: int
) -> dict[str, Array]:
    """Ranks of the super-population and of the described population, and kilometres to the place."""
    network = learnt_from(people, learn, plan, seed, say)
    copies = people.copies[judge]
    coarse = [{SUPERPOP: label} for label in people.labels(SUPERPOP)]
    attributes = described_by(people.groups, SUPERPOP, *PLACE)
    superpop, pop = (people.numbers(column)[judge] for column in (SUPERPOP, POP))
    return {
        f"{OURS}_superpop": ranks(network.similarities(copies, coarse), superpop),
        f"{OURS}_pop": ranks(network.similarities(copies, attributes), pop),
        f"{OURS}_km": kilometres(network.located(copies), people.places()[judge]),
    }


def of_others(people: Described, learn: Rows, judge: Rows) -> dict[str, Array]:
    """The same by principal components: a regression of places, and the population with the nearest centroid."""
    copies, places = people.copies, people.places()
    scaler = Scaler.of(copies[learn])
    components = PCA(COMPONENTS, svd_solver="full").fit(scaler(copies[learn]))
    seen, asked = (components.transform(scaler(copies[rows])) for rows in (learn, judge))
    guessed = RidgeCV(RIDGES).fit(seen, places[learn]).predict(asked)
    guessed /= np.linalg.norm(guessed, axis=1, keepdims=True)
    pop_of = people.numbers(POP)[learn]
    known = np.unique(pop_of)
    centroids = np.stack([seen[pop_of == number].mean(axis=0) for number in known])
    apart = ((asked[:, None] - centroids) ** 2).sum(axis=2)
    nearest = known[apart.argmin(axis=1)]
    groups = people.groups
    group_places = {n: places[learn][pop_of == n][0] for n in known}
    there = np.stack([group_places[number] for number in nearest])
    truth = groups[people.numbers(POP)[judge][0]][SUPERPOP]
    right = np.array([groups[number][SUPERPOP] == truth for number in nearest])
    # The left-out population is where it is: the others in the order of their distance to the guessed place.
    all_places = np.stack([places[people.numbers(POP) == n][0] for n in range(len(groups))])
    by_place = ranks(guessed @ all_places.T, people.numbers(POP)[judge])
    return {
        f"{REGRESSION}_km": kilometres(guessed, places[judge]),
        f"{REGRESSION}_pop": by_place,
        f"{NEAREST}_km": kilometres(there, places[judge]),
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
                what: np.concatenate([outcomes[n][f"{method}_{what}"] for n in names])
                for what in ("superpop", "pop", "km")
                if f"{method}_{what}" in outcomes[names[0]]
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
    for name, found in outcomes.items():
        right = (found[f"{OURS}_superpop"] <= 1).mean()
        top = (found[f"{OURS}_pop"] <= 3).mean()
        far = [f"{np.median(found[f'{method}_km']):,.0f}" for method in TITLES]
        shown = f"{name} (admixed)" if name in ADMIXED else name
        yield f"| {shown} | {len(found[f'{OURS}_km'])} | {right:.3f} | {top:.3f} | {' | '.join(far)} |"


def share(pooled: Mapping[str, Array], what: str, k: int) -> str:
    """How many are among the first k, with the interval; `.` for a method that does not tell."""
    if what not in pooled:
        return "."
    ranks_N = pooled[what]
    low, high = wilson_interval(int((ranks_N <= k).sum()), len(ranks_N))
    return f"{(ranks_N <= k).mean():.3f} ({low:.3f}-{high:.3f})"


def median(km_N: Array, seed: int) -> str:
    """The median with its interval."""
    rng = np.random.default_rng(seed)
    interval = bootstrap_intervals(lambda at: {"km": float(np.median(km_N[at]))}, len(km_N), rng)
    return f"{np.median(km_N):,.0f} ({interval['km'][0]:,.0f}-{interval['km'][1]:,.0f})"


def tsv(outcomes: Mapping[str, Mapping[str, Array]]) -> Iterator[str]:
    """The figures of every population and method, one a line."""
    yield "left_out\tn\tmethod\tsuperpop_right\ttop3_of_26\tmedian_km\n"
    for name, found in outcomes.items():
        for method in TITLES:
            right = figure(found, f"{method}_superpop", 1)
            top = figure(found, f"{method}_pop", 3)
            km = np.median(found[f"{method}_km"])
            yield f"{name}\t{len(found[f'{method}_km'])}\t{method}\t{right}\t{top}\t{km:.0f}\n"


def figure(found: Mapping[str, Array], name: str, k: int) -> str:
    """The share of ranks up to k."""
    return f"{(found[name] <= k).mean():.4f}" if name in found else "."


if __name__ == "__main__":
    main()
