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

from benchmarks.ancestry.outsiders import OUTSIDERS, frequencies, known_frequencies, people
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
SURE = 0.95
MADE_UP = 300  # people of each outsider
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Row:
    """One kind of people at one kind of sites; shares of them, `.` where they make no sense."""

    part: str
    sites: str
    people: str
    n: int
    flagged: float  # NOVEL or UNKNOWN
    unknown: float
    sure: float  # a label above SURE without a flag
    right: float  # super-population
    naive_bayes: float  # super-population, by naive Bayes over the groups
    pop_right: float
    labels: str


@dataclass(frozen=True)
class Answers:
    """Numbers of the groups and populations called (N,), the group's probability, and who is flagged or UNKNOWN."""

    group: Rows
    probability: Array
    population: Rows
    flagged: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class Judge:
    """The likelihood of some people's populations, numbered anew, with its fusion."""

    likelihood: PopulationLikelihood
    kept: Rows
    group_of: Rows  # of all populations

    @classmethod
    def fitted(cls, copies: Copies, populations: Rows, group_of: Rows, *, novel: bool) -> "Judge":
        """Learnt from these people as the recipe `ancestry` says."""
        settings = recipe.read("ancestry")[0].evidence
        kept, numbers = np.unique(populations, return_inverse=True)
        groups = np.unique(group_of[kept], return_inverse=True)[1].tolist()
        nesting = {"superpop": groups, "pop": list(range(len(kept)))}
        likelihood = fit_likelihood(
            copies,
            numbers,
            len(kept),
            axes=settings.axes,
            shrinkage=settings.shrinkage,
            nesting=nesting,
        )
        if novel:
            shrunken = partial(shrunken_frequencies, shrinkage=settings.shrinkage)
            likelihood.novelty = fit_novelty(LabelledGenotypes(copies, numbers, groups), shrunken)
        return cls(likelihood.eval(), kept, group_of)

    @torch.inference_mode()
    def __call__(self, copies: Copies) -> Answers:
        """What the model would say of them, had it no networks."""
        groups = self.likelihood.groups
        classes = {"superpop": max(groups) + 1, "pop": len(self.kept)}
        nesting = {"superpop": groups, "pop": list(range(len(self.kept)))}
        fusion = Fusion(classes, nesting).double()
        tables = []
        for start in range(0, len(copies), ROWS_AT_ONCE):
            part = torch.from_numpy(copies[start : start + ROWS_AT_ONCE]).long()
            scores = self.likelihood.scores(part)
            votes = {h: torch.zeros(len(part), n).double() for h, n in classes.items()}
            logs = fusion(votes | scores, torch.ones(len(part)).double())
            margin = scores.get(NOVELTY, torch.full((len(part),), -1.0))
            tables.append((logs["superpop"].exp(), logs["pop"].argmax(1), margin))
        group_NG, best_N, margin_N = (
            torch.cat(column).numpy() for column in zip(*tables, strict=True)
        )
        present = np.unique(self.group_of[self.kept])
        return Answers(
            present[group_NG.argmax(1)],
            group_NG.max(1),
            self.kept[best_N],
            margin_N > 0,
            margin_N > 1,
        )


def naive_bayes(copies: Copies, populations: Rows, group_of: Rows, judged: Copies) -> Rows:
    """The groups (N,) that naive Bayes says, from the pooled counts of their members."""
    present = np.unique(group_of[populations])
    counts = LabelledGenotypes(
        copies, np.searchsorted(present, group_of[populations]), present.tolist()
    )
    alternate_GS, total_GS = counts.counts()
    f_GS = (alternate_GS + 0.5) / (total_GS + 1)
    prior_G = np.log(total_GS.max(1) / total_GS.max(1).sum())
    known = judged >= 0
    log_NG = np.where(known, judged, 0) @ np.log(f_GS).T + prior_G
    log_NG = log_NG + np.where(known, 2 - judged, 0) @ np.log1p(-f_GS).T
    return np.asarray(present[log_NG.argmax(1)])


# --- parts


def groups_left_out(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """People of a group that the model has never heard of, beside a fold of those that it knows."""
    copies = data.copies[:, sites]
    aside = data.folds(FOLDS) == 0
    for group in (*LEFT_OUT, None):
        known = data.group != (-1 if group is None else data.groups.index(group))
        learn = known & ~aside
        judge = Judge.fitted(copies[learn], data.population[learn], data.group_of, novel=True)
        without = "nobody" if group is None else group
        judged = {f"{without}, left out": ~known, f"known, {without} left out": known & aside}
        for who, rows in judged.items():
            if rows.any():
                answers = judge(copies[rows])
                yield row(data, "groups", kind, who, answers, np.flatnonzero(rows))


def populations_left_out(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """Each population in turn, its group being known; all together, and without the admixed ones of America."""
    copies = data.copies[:, sites]
    parts = []
    for number, name in enumerate(data.populations):
        rows = data.population == number
        if (data.group_of == data.group_of[number]).sum() < 2:
            continue
        judge = Judge.fitted(copies[~rows], data.population[~rows], data.group_of, novel=True)
        answers, plain = (
            judge(copies[rows]),
            naive_bayes(copies[~rows], data.population[~rows], data.group_of, copies[rows]),
        )
        parts.append((answers, plain, np.flatnonzero(rows)))
        yield row(data, "populations", kind, name, answers, parts[-1][2], plain)
    american = data.groups.index("AMR")
    for who, chosen in (
        ("all", parts),
        ("all but AMR", [p for p in parts if data.group[p[2][0]] != american]),
    ):
        together = Answers(
            *(np.concatenate([getattr(p[0], f.name) for p in chosen]) for f in fields(Answers))
        )
        plain, rows = (np.concatenate([p[i] for p in chosen]) for i in (1, 2))
        yield row(data, "populations", kind, who, together, rows, plain)


def variants_only(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """People of whom only the sites with an alternate allele are there, out of fold."""
    copies, folds = data.copies[:, sites], data.folds(FOLDS)
    chosen = np.where(copies > 0, copies, -1).astype(np.int8)
    parts = []
    for fold in range(FOLDS):
        rows = folds != fold
        judge = Judge.fitted(copies[rows], data.population[rows], data.group_of, novel=False)
        parts.append((judge(chosen[~rows]), np.flatnonzero(~rows)))
    together = Answers(
        *(np.concatenate([getattr(p[0], f.name) for p in parts]) for f in fields(Answers))
    )
    rows = np.concatenate([p[1] for p in parts])
    yield row(data, "variants", kind, "members", together, rows)


def outsiders(data: Genotypes, kind: str, sites: Rows) -> Iterator[Row]:
    """Made-up people of six parts of the world, by a judge that has learnt from everybody."""
    judge = Judge.fitted(data.copies[:, sites], data.population, data.group_of, novel=True)
    known = known_frequencies(
        data.copies[:, sites], [data.populations[number] for number in data.population]
    )
    for number, (who, outsider) in enumerate(OUTSIDERS.items()):
        rng = np.random.default_rng([number, 0x0075])
        answers = judge(people(frequencies(outsider, known, rng), MADE_UP, rng))
        nobody = np.full(MADE_UP, -1)
        yield row(data, "outsiders", kind, f"{who} (simulated)", answers, nobody)


def row(
    data: Genotypes,
    part: str,
    kind: str,
    who: str,
    answers: Answers,
    rows: Rows,
    plain: Rows | None = None,
) -> Row:
    """The shares among these people."""
    flagged = answers.flagged | answers.unknown
    made_up = rows.min() < 0  # of no population
    right = float("nan") if made_up else (answers.group == data.group[rows]).mean()
    fine = float("nan") if made_up else (answers.population == data.population[rows]).mean()
    beside = float("nan") if plain is None else float((plain == data.group[rows]).mean())
    called = Counter(data.groups[g] for g in answers.group[~answers.unknown])
    called["UNKNOWN"] += int(answers.unknown.sum())
    return Row(
        part,
        kind,
        who,
        len(rows),
        float(flagged.mean()),
        float(answers.unknown.mean()),
        float(((answers.probability > SURE) & ~flagged).mean()),
        float(right),
        beside,
        float(fine),
        _most_common(called, len(rows)),
    )


def _most_common(labels: Counter[str], people: int) -> str:
    shown = [(label, count / people) for label, count in labels.most_common(3) if count]
    return " ".join(f"{label} {share:.2f}" for label, share in shown)


# --- the program


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table as it grows, and write the Markdown at the end."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    data = Genotypes.read(options.data)
    say(f"{len(data.copies)} people, {data.copies.shape[1]} sites")
    run: dict[str, Callable[[Genotypes, str, Rows], Iterator[Row]]] = {
        "groups": groups_left_out,
        "populations": populations_left_out,
        "variants": variants_only,
        "outsiders": outsiders,
    }
    rows: list[Row] = []
    print("\t".join(f.name for f in fields(Row)), flush=True)
    for part in options.parts:
        for kind, sites in kinds_of(data).items():
            if kind not in options.kinds or (part == "populations" and len(sites) > options.most):
                continue
            for found in run[part](data, kind, sites):
                rows.append(found)
                print("\t".join(map(_cell, astuple(found))), flush=True)
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
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="default: %(default)s")
    made.add_argument("--parts", type=names, default=names(PARTS), metavar="NAME,...",
                      help=f"default: {PARTS}")  # fmt: skip
    made.add_argument("--kinds", type=names, metavar="NAME,...",
                      default=names("kidd55,aisnp169,snp967,exome-tenth,exome"),
                      help="kinds of sites; default: all")  # fmt: skip
    made.add_argument("--most", type=int, default=3000, metavar="N",
                      help="leave populations out at so many sites at most; default: %(default)s")  # fmt: skip
    made.add_argument("--markdown", type=Path, metavar="FILE", help="a compact table")
    return made


if __name__ == "__main__":
    main()
