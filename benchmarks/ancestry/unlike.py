"""What people get who are unlike the reference: groups and populations left out, made-up outsiders, lists of variants.

    python -m benchmarks.ancestry.unlike --markdown benchmarks/ancestry/unlike.md > benchmarks/ancestry/unlike.tsv
    python -m benchmarks.ancestry.unlike --parts populations --kinds kidd55,aisnp169,snp967

Every row is of people who did not count: a group or a population is left out of all that is fitted (frequencies, axes,
what is taken for novel), members are out of fold. What answers is the likelihood of the recipe `ancestry`, with its
novelty and without the networks, which would have to be trained anew for every row. Beside the labels of populations
left out stand those of naive Bayes over the groups.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ancestry.outsiders import OUTSIDERS, draw_genotypes, frequencies, known_frequencies
from benchmarks.ancestry.sites import Genotypes, kinds_of
from benchmarks.command_line import DATA, names, say
from genomai_cli.backbones.classifier import Fusion
from genomai_cli.metrics.classification import wilson_interval
from genomai_cli.population.networks.likelihood import NOVELTY, PopulationLikelihood
from genomai_cli.population.networks.likelihood_fit import fit_likelihood, shrunken_frequencies
from genomai_cli.population.networks.novelty_fit import fit_novelty
from genomai_cli.population.networks.novelty_trials import LabelledGenotypes
from genomai_cli.training import recipe

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Copies = NDArray[np.int8]
PARTS = "groups,populations,outsiders,variants"
LEFT_OUT = ("EAS", "SAS")
FOLDS = 5
MIN_CONFIDENCE = 0.95
SIMULATED_COUNT = 300  # people of each outsider
BATCH_SIZE = 128


@dataclass(frozen=True)
class Row:
    """One group of people at one kind of sites; shares of them, `.` where they make no sense."""

    part: str
    sites: str
    draw_genotypes: str
    n: int
    flagged: float  # NOVEL or UNKNOWN
    unknown: float
    sure: float  # a label above SURE without a flag
    right: float  # super-population
    naive_bayes: float  # super-population, by naive Bayes over the groups
    pop_right: float
    labels: str


@dataclass(frozen=True)
class Predictions:
    """Indices of the predicted groups and populations (N,), the group's probability, and who is flagged or UNKNOWN."""

    group: Rows
    probability: Array
    population: Rows
    flagged: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class LikelihoodClassifier:
    """The likelihood of the populations of its training people, numbered anew, with its fusion."""

    likelihood: PopulationLikelihood
    known_populations: Rows
    group_of: Rows  # of all populations

    @classmethod
    def fitted(
        cls, copies: Copies, populations: Rows, group_of: Rows, *, novel: bool
    ) -> "LikelihoodClassifier":
        """Fitted to these people with the settings of the recipe `ancestry`."""
        settings = recipe.read("ancestry")[0].evidence
        known_populations, numbers = np.unique(populations, return_inverse=True)
        groups = np.unique(group_of[known_populations], return_inverse=True)[1].tolist()
        nesting = {"superpop": groups, "pop": list(range(len(known_populations)))}
        likelihood = fit_likelihood(
            copies,
            numbers,
            len(known_populations),
            axes=settings.axes,
            shrinkage=settings.shrinkage,
            nesting=nesting,
        )
        if novel:
            shrunken = partial(shrunken_frequencies, shrinkage=settings.shrinkage)
            likelihood.novelty = fit_novelty(LabelledGenotypes(copies, numbers, groups), shrunken)
        return cls(likelihood.eval(), known_populations, group_of)

    @torch.inference_mode()
    def __call__(self, copies: Copies) -> Predictions:
        """The model's predictions without the networks."""
        groups = self.likelihood.groups
        classes = {"superpop": max(groups) + 1, "pop": len(self.known_populations)}
        nesting = {"superpop": groups, "pop": list(range(len(self.known_populations)))}
        fusion = Fusion(classes, nesting).double()
        tables = []
        for start in range(0, len(copies), BATCH_SIZE):
            part = torch.from_numpy(copies[start : start + BATCH_SIZE]).long()
            scores = self.likelihood.scores(part)
            network_scores = {h: torch.zeros(len(part), n).double() for h, n in classes.items()}
            logs = fusion(network_scores | scores, torch.ones(len(part)).double())
            margin = scores.get(NOVELTY, torch.full((len(part),), -1.0))
            tables.append((logs["superpop"].exp(), logs["pop"].argmax(1), margin))
        group_NG, population_N, margin_N = (
            torch.cat(column).numpy() for column in zip(*tables, strict=True)
        )
        present = np.unique(self.group_of[self.known_populations])
        return Predictions(
            present[group_NG.argmax(1)],
            group_NG.max(1),
            self.known_populations[population_N],
            margin_N > 0,
            margin_N > 1,
        )


def naive_bayes(copies: Copies, populations: Rows, group_of: Rows, test_copies: Copies) -> Rows:
    """The groups (N,) predicted by naive Bayes from the pooled allele counts of each group's members."""
    present = np.unique(group_of[populations])
    counts = LabelledGenotypes(
        copies, np.searchsorted(present, group_of[populations]), present.tolist()
    )
    alternate_GS, total_GS = counts.counts()
    f_GS = (alternate_GS + 0.5) / (total_GS + 1)
    prior_G = np.log(total_GS.max(1) / total_GS.max(1).sum())
    known = test_copies >= 0
    log_NG = np.where(known, test_copies, 0) @ np.log(f_GS).T + prior_G
    log_NG = log_NG + np.where(known, 2 - test_copies, 0) @ np.log1p(-f_GS).T
    return np.asarray(present[log_NG.argmax(1)])


# --- parts


def groups_left_out(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """People of a group that the model was not trained on, and a test fold of the other groups."""
    copies = data.copies[:, sites]
    held_out = data.folds(FOLDS) == 0
    for group in (*LEFT_OUT, None):
        known = data.group != (-1 if group is None else data.groups.index(group))
        train = known & ~held_out
        classifier = LikelihoodClassifier.fitted(
            copies[train], data.population[train], data.group_of, novel=True
        )
        without = "nobody" if group is None else group
        masks = {f"{without}, left out": ~known, f"known, {without} left out": known & held_out}
        for title, rows in masks.items():
            if rows.any():
                predictions = classifier(copies[rows])
                yield row(data, "groups", kind, title, predictions, np.flatnonzero(rows))


def populations_left_out(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """Each population in turn, its group being known; all together, and without the admixed ones of America."""
    copies = data.copies[:, sites]
    parts = []
    for number, name in enumerate(data.populations):
        rows = data.population == number
        if (data.group_of == data.group_of[number]).sum() < 2:
            continue
        classifier = LikelihoodClassifier.fitted(
            copies[~rows], data.population[~rows], data.group_of, novel=True
        )
        predictions, baseline = (
            classifier(copies[rows]),
            naive_bayes(copies[~rows], data.population[~rows], data.group_of, copies[rows]),
        )
        parts.append((predictions, baseline, np.flatnonzero(rows)))
        yield row(data, "populations", kind, name, predictions, parts[-1][2], baseline)
    american = data.groups.index("AMR")
    for title, selected in (
        ("all", parts),
        ("all but AMR", [p for p in parts if data.group[p[2][0]] != american]),
    ):
        pooled = Predictions(
            *(
                np.concatenate([getattr(p[0], f.name) for p in selected])
                for f in fields(Predictions)
            )
        )
        baseline, rows = (np.concatenate([p[i] for p in selected]) for i in (1, 2))
        yield row(data, "populations", kind, title, pooled, rows, baseline)


def variants_only(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """People of whom only the sites with an alternate allele are there, out of fold."""
    copies, folds = data.copies[:, sites], data.folds(FOLDS)
    masked = np.where(copies > 0, copies, -1).astype(np.int8)
    parts = []
    for fold in range(FOLDS):
        rows = folds != fold
        classifier = LikelihoodClassifier.fitted(
            copies[rows], data.population[rows], data.group_of, novel=False
        )
        parts.append((classifier(masked[~rows]), np.flatnonzero(~rows)))
    pooled = Predictions(
        *(np.concatenate([getattr(p[0], f.name) for p in parts]) for f in fields(Predictions))
    )
    rows = np.concatenate([p[1] for p in parts])
    yield row(data, "variants", kind, "members", pooled, rows)


def simulated_outsiders(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """Simulated people of six parts of the world, by a classifier trained on everybody."""
    classifier = LikelihoodClassifier.fitted(
        data.copies[:, sites], data.population, data.group_of, novel=True
    )
    frequency_of = known_frequencies(
        data.copies[:, sites], [data.populations[number] for number in data.population]
    )
    for number, (region, outsider) in enumerate(OUTSIDERS.items()):
        rng = np.random.default_rng([number, 0x0075])
        predictions = classifier(
            draw_genotypes(frequencies(outsider, frequency_of, rng), SIMULATED_COUNT, rng)
        )
        no_rows = np.full(SIMULATED_COUNT, -1)
        yield row(data, "outsiders", kind, f"{region} (simulated)", predictions, no_rows)


def row(
    data: Genotypes,
    part: str,
    kind: str,
    title: str,
    predictions: Predictions,
    rows: Rows,
    baseline: Rows | None = None,
) -> Row:
    """The shares among these people."""
    flagged = predictions.flagged | predictions.unknown
    made_up = rows.min() < 0  # of no population
    accuracy = float("nan") if made_up else (predictions.group == data.group[rows]).mean()
    population_accuracy = (
        float("nan") if made_up else (predictions.population == data.population[rows]).mean()
    )
    baseline_accuracy = (
        float("nan") if baseline is None else float((baseline == data.group[rows]).mean())
    )
    counts = Counter(data.groups[g] for g in predictions.group[~predictions.unknown])
    counts["UNKNOWN"] += int(predictions.unknown.sum())
    return Row(
        part,
        kind,
        title,
        len(rows),
        float(flagged.mean()),
        float(predictions.unknown.mean()),
        float(((predictions.probability > MIN_CONFIDENCE) & ~flagged).mean()),
        float(accuracy),
        baseline_accuracy,
        float(population_accuracy),
        _most_common(counts, len(rows)),
    )


def _most_common(labels: Counter[str], sample_count: int) -> str:
    shares = [(label, count / sample_count) for label, count in labels.most_common(3) if count]
    return " ".join(f"{label} {share:.2f}" for label, share in shares)


# --- the program


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table as it grows, and write the Markdown at the end."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    data = Genotypes.read(options.data)
    say(f"{len(data.copies)} people, {data.copies.shape[1]} sites")
    evaluators: dict[str, Callable[[Genotypes, str, Rows], Iterator[Row]]] = {
        "groups": groups_left_out,
        "populations": populations_left_out,
        "variants": variants_only,
        "outsiders": simulated_outsiders,
    }
    rows: list[Row] = []
    print("\t".join(f.name for f in fields(Row)), flush=True)
    for part in options.parts:
        for kind, sites in kinds_of(data).items():
            if kind not in options.kinds or (part == "populations" and len(sites) > options.most):
                continue
            for new_row in evaluators[part](data, kind, sites):
                rows.append(new_row)
                print("\t".join(map(_cell, astuple(new_row))), flush=True)
    if options.markdown:
        options.markdown.write_text(markdown(rows))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "." if np.isnan(value) else f"{value:.4f}"
    return str(value)


def markdown(rows: Sequence[Row]) -> str:
    """One table a part, of the rows that stand for many."""
    return "\n".join(
        _table(part, [r for r in rows if r.part == part])
        for part in dict.fromkeys(r.part for r in rows)
    )


TITLES = {
    "groups": "A group left out, and members out of fold",
    "populations": "Each population left out in turn, its group being known",
    "outsiders": "Made-up people of other parts of the world (simulated, see `outsiders.py`)",
    "variants": "Only the sites with an alternate allele, five folds",
}


def _table(part: str, rows: Sequence[Row]) -> str:
    if part == "populations":
        rows = [r for r in rows if r.people.startswith("all")]
    head = "| sites | people | n | NOVEL or UNKNOWN | UNKNOWN | sure, no flag | right | naive Bayes | labels |"
    lines = [
        f"### {TITLES[part]}",
        "",
        head,
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in rows:
        low, high = wilson_interval(round(r.flagged * r.n), r.n)
        cells = [r.sites, r.people, str(r.n), f"{r.flagged:.3f} ({low:.3f}-{high:.3f})"]
        cells += [_short(v) for v in (r.unknown, r.sure, r.right, r.naive_bayes)]
        lines.append(f"| {' | '.join([*cells, r.labels])} |")
    return "\n".join([*lines, ""])


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def parser() -> argparse.ArgumentParser:
    """The options."""
    description, _, _ = (__doc__ or "").partition("\n")
    command_line = argparse.ArgumentParser(description=description)
    command_line.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s"
    )
    command_line.add_argument("--parts", type=names, default=names(PARTS), metavar="NAME,...",
                      help=f"default: {PARTS}")  # fmt: skip
    command_line.add_argument("--kinds", type=names, metavar="NAME,...",
                      default=names("kidd55,aisnp169,snp967,exome-tenth,exome"),
                      help="kinds of sites; default: all")  # fmt: skip
    command_line.add_argument("--most", type=int, default=3000, metavar="N",
                      help="leave populations out at so many sites at most; default: %(default)s")  # fmt: skip
    command_line.add_argument("--markdown", type=Path, metavar="FILE", help="a compact table")
    return command_line


if __name__ == "__main__":
    main()
