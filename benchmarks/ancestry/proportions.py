"""Fractions of ancestry of simulated mixtures and of admixed people, beside simpler ways.

    python -m benchmarks.ancestry.proportions --markdown table.md > table.tsv

Everybody is judged by a fold that the frequencies were not estimated from: a mixture takes each chromosome (or piece)
whole from one of two or three people of that fold, of different groups, whose members are no mixtures; the truth is
the share of the known sites. PEL stands for AMR, whose source is Indigenous American: about a tenth of their own
ancestry is not, so errors there are overstated. Admixed people have no known truth: they
are shown beside what others published.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ancestry.sites import WIDE_PANEL, WIDE_VCF, union, wide_panel
from benchmarks.command_line import DATA, parser_of, say, write_optional
from benchmarks.crossvalidation.trials import HEADS, KIDD, LABELS, PANEL, VCF
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode import letters_to_genotypes, read_barcodes
from genomai_cli.population.mixtures import (
    Fractions,
    Genotypes,
    Windows,
    independent_fractions,
    linked_fractions,
)
from genomai_cli.population.panel import Panel, coordinates
from genomai_cli.population.structure import MIN_FREQUENCY, Structure, fit_structure
from genomai_cli.training.labelled_data import folds, gather, remaining_rows

Array = NDArray[np.float64]
Copies = NDArray[np.int8]
MIXTURES = ("ACB", "ASW", "CLM", "MXL", "PEL", "PUR")
Z90 = 1.645
DRAWS = 1000  # of the bootstrap
# Per cent of AFR, AMR, EUR. PEL, CLM, MXL, PUR: Mooney et al. 2018, Am J Hum Genet 103:707, table 1 (ADMIXTURE,
# unsupervised). ASW: Bryc et al. 2015, Am J Hum Genet 96:37, of African Americans in all of the United States.
PUBLISHED = {
    "ASW": (73.2, 0.8, 24.0),
    "CLM": (9.1, 28.0, 63.0),
    "MXL": (5.7, 44.5, 49.8),
    "PEL": (2.2, 88.2, 9.6),
    "PUR": (18.6, 14.3, 67.2),
}


@dataclass(frozen=True, eq=False)
class GenotypedSamples:
    """Labelled samples, their allele copies (N, S), and the sites that a file of each kind has."""

    samples: Samples
    copies: Copies
    panel: Panel
    kinds: dict[str, NDArray[np.bool_]]

    @classmethod
    def read(cls, folder: Path) -> "GenotypedSamples":
        """The training individuals at the wide sites and the 967."""
        small = Panel.read(folder / PANEL)
        panel = union(small, wide_panel(folder / WIDE_PANEL))
        table = read_labels(folder / LABELS)
        labels = {head: table.column(column) for head, column in HEADS.items()}
        barcodes = read_barcodes(open_inputs([folder / VCF, folder / WIDE_VCF]), panel)
        samples, _ = gather(barcodes.records(), labels)
        is_small = np.arange(len(panel)) < len(small)
        kidd = np.array([KIDD in tags.split(",") for tags in panel.tags])
        tenth = np.random.default_rng(0).random(len(panel)) < 0.1
        kinds = {
            "all sites": np.ones(len(panel), bool),
            "wide sites": ~is_small,
            "random tenth": tenth,
            "967 sites": is_small,
            "Kidd 55": kidd,
        }
        return cls(samples, letters_to_genotypes(samples.letters, panel), panel, kinds)

    @property
    def populations(self) -> NDArray[np.str_]:
        """The finest label of each."""
        return np.array(self.samples.classes["pop"])[self.samples.labels["pop"]]

    @property
    def groups(self) -> NDArray[np.int64]:
        """The number of the coarse label of each."""
        return self.samples.labels["superpop"]


# --- mixtures


@dataclass(frozen=True)
class Recipe:
    """How mixtures are made: of so many people of different groups, in pieces of so many base pairs on average, or of
    whole chromosomes (0)."""

    name: str
    ways: int
    piece: float = 0.0
    with_amr: bool = False


RECIPES = (
    Recipe("two ways", 2),
    Recipe("three ways", 3),
    Recipe("two ways, pieces of 20 Mb", 2, 20e6),
    Recipe("three ways, PEL as AMR", 3, with_amr=True),
)


def mixtures(
    cohort: GenotypedSamples,
    rows: NDArray[np.int64],
    recipe: Recipe,
    count: int,
    rng: np.random.Generator,
) -> tuple[Copies, NDArray[np.int64]]:
    """Copies (count, S) of mixtures of the people in `rows`, and the group (count, S) each site is from."""
    contig_S, position_S = coordinates(cohort.panel)
    order = np.lexsort([position_S, contig_S])
    pools = list(_pools(cohort, rows, recipe))
    copies, truth = [], []
    for _ in range(count):
        groups = rng.choice(len(pools), recipe.ways, replace=False)
        parents = np.array([rng.choice(pools[group]) for group in groups])
        source_S = np.empty(len(order), np.int64)
        source_S[order] = _sources(contig_S[order], position_S[order], recipe, rng)
        copies.append(cohort.copies[parents[source_S], np.arange(len(order))])
        truth.append(cohort.groups[parents][source_S])
    return np.array(copies), np.array(truth)


def _pools(
    cohort: GenotypedSamples, rows: NDArray[np.int64], recipe: Recipe
) -> Iterator[NDArray[np.int64]]:
    for number, group in enumerate(cohort.samples.classes["superpop"]):
        members = rows[cohort.groups[rows] == number]
        populations = cohort.populations[members]
        if group == "AMR" and recipe.with_amr:
            yield members[populations == "PEL"]
        elif group != "AMR":
            yield members[~np.isin(populations, MIXTURES)]


def _sources(
    contig_S: NDArray[np.int64], position_S: Array, recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which of the people (S,) each site is from, along the chromosomes."""
    gaps_S = np.diff(position_S, prepend=position_S[0])
    begins_S = np.diff(contig_S, prepend=-1) != 0
    if recipe.piece:
        begins_S |= rng.random(len(gaps_S)) < np.maximum(gaps_S, 0) / recipe.piece
    pieces_S = np.cumsum(begins_S) - 1
    source_S: NDArray[np.int64] = rng.integers(recipe.ways, size=pieces_S[-1] + 1)[pieces_S]
    return source_S


def shares(truth_NS: NDArray[np.int64], known_S: NDArray[np.bool_], groups: int) -> Array:
    """The true fractions (N, K) of the known sites."""
    fractions: Array = np.stack(
        [(truth_NS[:, known_S] == g).mean(1) for g in range(groups)], axis=1
    )
    return fractions


# --- methods

Method = Callable[[Copies], Fractions]


def methods_of(
    cohort: GenotypedSamples, rows: NDArray[np.int64], structure: Structure
) -> dict[str, Method]:
    """Ours, and simpler ones that know the same people."""
    sources_KS = structure.sources["superpop"].frequency
    windows = Windows.of(cohort.panel)
    group_KS = np.stack(
        [_frequency(cohort.copies[rows[cohort.groups[rows] == g]]) for g in range(len(sources_KS))]
    )
    return {
        "linked (shipped)": lambda c: linked_fractions(Genotypes.of(c), sources_KS, windows),
        "independent alleles": lambda c: independent_fractions(Genotypes.of(c), sources_KS),
        "the same, means of five groups": lambda c: independent_fractions(
            Genotypes.of(c), group_KS
        ),
        "nearest label": lambda c: _nearest(c, group_KS),
    }


def _frequency(copies_NS: Copies) -> Array:
    frequency: Array = np.clip(copies_NS.mean(0) / 2, MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    return frequency


def _nearest(copies_NS: Copies, group_KS: Array) -> Fractions:
    alternate_NS, known_NS = np.where(copies_NS >= 0, copies_NS, 0), copies_NS >= 0
    log_likelihood_NK = alternate_NS @ np.log(group_KS).T
    log_likelihood_NK += (2 * known_NS - alternate_NS) @ np.log1p(-group_KS).T
    fractions = np.eye(len(group_KS))[log_likelihood_NK.argmax(1)]
    return Fractions(fractions, np.full_like(fractions, np.nan))


# --- rows

Row = dict[str, str]


def score_fractions(name: str, estimated: Fractions, truth_NK: Array) -> Row:
    """Mean absolute error over all labels and over those present, with 95 % intervals, and coverage."""
    error_NK = np.abs(estimated.fractions - truth_NK)
    present_NK = truth_NK > 0
    inside_NK = error_NK <= Z90 * estimated.errors
    covered = np.nan if np.isnan(estimated.errors).any() else inside_NK[present_NK].mean()
    return {
        "method": name,
        "n": str(len(error_NK)),
        "mae": _interval(error_NK.mean(1)),
        "mae_present": _interval((error_NK * present_NK).sum(1) / present_NK.sum(1)),
        "bias_worst": f"{_worst(estimated.fractions - truth_NK):+.3f}",
        "coverage90": "." if np.isnan(covered) else f"{covered:.3f}",
        "median_se": "." if np.isnan(covered) else f"{np.median(estimated.errors[present_NK]):.4f}",
    }


def _worst(error_NK: Array) -> float:
    mean_K = error_NK.mean(0)
    return float(mean_K[np.abs(mean_K).argmax()])


def _interval(values: Array) -> str:
    draws = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.4f} ({low:.4f}-{high:.4f})"


@dataclass(frozen=True, eq=False)
class Fold:
    """Test rows, training rows, and the population structure of the latter."""

    rows: NDArray[np.int64]
    train: NDArray[np.int64]
    structure: Structure


def simulated_rows(
    cohort: GenotypedSamples, data_folds: Sequence[Fold], options: argparse.Namespace
) -> Iterator[Row]:
    """The rows of simulated mixtures of the test people, one fold after the other."""
    pooled: dict[tuple[str, str, str], list[tuple[Fractions, Array]]] = {}
    for number, fold in enumerate(data_folds):
        methods = methods_of(cohort, fold.train, fold.structure)
        for recipe in RECIPES:
            rng = np.random.default_rng([options.seed, number, recipe.ways, int(recipe.piece)])
            copies, source = mixtures(cohort, fold.rows, recipe, options.mixtures, rng)
            for kind, known_S in cohort.kinds.items():
                truth = shares(source, known_S, len(cohort.samples.classes["superpop"]))
                masked = np.where(known_S, copies, np.int8(-1))
                for name, method in methods.items():
                    pooled.setdefault((kind, recipe.name, name), []).append((method(masked), truth))
            say(f"fold {number + 1}: {recipe.name}")
    for (kind, recipe_name, name), pairs in pooled.items():
        estimated = Fractions(
            *(
                np.concatenate([getattr(f, array) for f, _ in pairs])
                for array in ("fractions", "errors")
            )
        )
        row = score_fractions(name, estimated, np.concatenate([truth for _, truth in pairs]))
        yield {"sites": kind, "mixtures": recipe_name, **row}


def fit_folds(cohort: GenotypedSamples, options: argparse.Namespace) -> Iterator[Fold]:
    """The test folds, with the population structure of the training people."""
    for rows in folds(cohort.samples, options.folds, options.seed)[: options.judged]:
        train = remaining_rows(cohort.samples, rows)
        labels = {head: numbers[train] for head, numbers in cohort.samples.labels.items()}
        structure = fit_structure(cohort.copies[train], labels, cohort.samples.classes, MIXTURES)
        say(f"{len(train)} people to learn from, {len(rows)} aside")
        yield Fold(rows, train, structure)


def admixed_rows(cohort: GenotypedSamples, data_folds: Sequence[Fold]) -> Iterator[Row]:
    """Mean fractions of the admixed populations' test people, beside published ones, in per cent."""
    names = cohort.samples.classes["superpop"]
    fractions_of: dict[tuple[str, str], list[Array]] = {}
    windows = Windows.of(cohort.panel)
    for fold in data_folds:
        mixed = fold.rows[np.isin(cohort.populations[fold.rows], MIXTURES)]
        for kind in ("all sites", "967 sites"):
            masked = np.where(cohort.kinds[kind], cohort.copies[mixed], np.int8(-1))
            sources = fold.structure.sources["superpop"].frequency
            fractions = linked_fractions(Genotypes.of(masked), sources, windows).fractions
            for population in MIXTURES:
                population_fractions = fractions[cohort.populations[mixed] == population]
                fractions_of.setdefault((kind, population), []).append(population_fractions)
    for (kind, population), fractions_by_fold in fractions_of.items():
        mean = np.concatenate(fractions_by_fold).mean(0) * 100
        published = PUBLISHED.get(population)
        yield {
            "sites": kind,
            "population": population,
            "n": str(sum(map(len, fractions_by_fold))),
            **{name: f"{value:.1f}" for name, value in zip(names, mean, strict=True)},
            "published AFR/AMR/EUR": "/".join(map(str, published)) if published else ".",
        }


def tsv(rows: Sequence[Row]) -> str:
    """The rows with a header."""
    return "".join("\t".join(line) + "\n" for line in (rows[0].keys(), *(r.values() for r in rows)))


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for readers."""
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run; both tables go to standard output, progress to standard error."""
    options = parser().parse_args(arguments)
    cohort = GenotypedSamples.read(options.data)
    say(f"{len(cohort.samples)} people, {len(cohort.panel)} sites")
    data_folds = list(fit_folds(cohort, options))
    tables = [
        list(admixed_rows(cohort, data_folds)),
        list(simulated_rows(cohort, data_folds, options)),
    ]
    write_optional(options.markdown, "\n".join(map(markdown, tables)))
    sys.stdout.write("\n".join(map(tsv, tables)))


def parser() -> argparse.ArgumentParser:
    """The options."""
    command_line = parser_of(__doc__, data=DATA, folds=5, judged=1, seed=0, markdown=None)
    command_line.add_argument("--mixtures", type=int, default=24, metavar="N",
                      help="of each kind and fold; default: %(default)s")  # fmt: skip
    return command_line


if __name__ == "__main__":
    main()
