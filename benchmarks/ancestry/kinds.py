"""How well the kinds of files that people have are told: `ancestry` beside `ancestry-967` and simple baselines.

    python -m benchmarks.ancestry.kinds --judged 1 --markdown kinds.md > kinds.tsv

Everybody is judged by a fold that nothing was learnt from, at the sites that a file of each kind has, by all methods:
differences are of the same people. The baselines learn anew from the sites of each kind; our models are made once a
fold by their recipes, and have to cope.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from benchmarks.ancestry.methods import OurMethod
from benchmarks.ancestry.scores import measures
from benchmarks.ancestry.sites import WIDE_VCF
from benchmarks.command_line import (
    DATA,
    MODELS,
    RUNS,
    parser_of,
    say,
    say_on_terminal,
    write_optional,
)
from benchmarks.crossvalidation.baselines import INNER_FOLDS, Scaler, shrunken_bayes
from benchmarks.crossvalidation.trials import (
    HEADS,
    LABELS,
    VCF,
    Array,
    Cohort,
    Conditions,
    Fold,
    Letters,
    Method,
    Outcome,
    Pooled,
    Rows,
    Trial,
    subset,
)
from genomai_cli.formats.streams import open_inputs
from genomai_cli.formats.tables import read_labels
from genomai_cli.metrics.resampling import bootstrap_intervals
from genomai_cli.population.barcode import read_barcodes
from genomai_cli.population.panel import Panel
from genomai_cli.training.labelled_data import gather, nesting, remaining_rows

KEPT = RUNS / "ancestry" / "kinds"
WIDE = "wide"
OURS, BEFORE = "ancestry", "ancestry-967"
MISSING = ord("N")
COMMON = 0.05  # least frequency of the rarer allele on an array
SURE = 0.9
PSEUDO_HAPLOTYPES = 20.0  # of shrunken naive Bayes, as the baselines choose it at the 967 sites
STRENGTHS = (0.3, 3.0, 30.0, 300.0)  # C of machines on a kernel that is a mean over sites
TITLES = {
    "complete": "all sites",
    "wide": "exome",
    "967": "the 967 sites",
    "967, 50 %": "half of the 967 missing",
    "967, 75 %": "three quarters of the 967 missing",
    "967, 90 %": "nine tenths of the 967 missing",
    "tenth": "a random tenth of all",
    "hundredth": "a random hundredth of all",
    "array": "a third of the common sites",
    "chr1": "chromosome 1 only",
    "chr21": "chromosome 21 only",
    "aisnp169": "Kidd's and Seldin's sites",
    "kidd55": "Kidd's 55 sites",
    "variants": "exome, variants only",
    "variants 967": "the 967, variants only",
}
HEAD_TITLES = {"superpop": "Super-population", "pop": "Population"}


@dataclass(frozen=True, eq=False)
class WideCohort(Cohort):
    """Labelled people at all sites of `ancestry`, judged by files of several kinds."""

    @classmethod
    def read(cls, folder: Path) -> "WideCohort":
        """The training individuals in a folder as shared/data/1kgp."""
        panel = Panel.read(MODELS / OURS / "panel.tsv")
        table = read_labels(folder / LABELS)
        labels = {head: table.column(column) for head, column in HEADS.items()}
        barcodes = read_barcodes(open_inputs([folder / VCF, folder / WIDE_VCF]), panel)
        return cls(gather(barcodes.records(), labels)[0], panel)

    @property
    def judged_when(self) -> Sequence[object]:
        """The kinds of files."""
        return list(TITLES)

    def fold(self, number: int, seed: int, rows: Rows) -> Fold:
        """See `Cohort`."""
        known = kinds_of_files(self.samples.letters, self.panel, seed)
        letters = self.samples.letters[rows]
        judged = {
            kind: np.where(mask[rows], letters, np.uint8(MISSING)) for kind, mask in known.items()
        }
        learn = subset(self.samples, remaining_rows(self.samples, rows))
        return Fold(number, seed, self.panel, learn, judged)


def kinds_of_files(letters: Letters, panel: Panel, seed: int) -> Conditions:
    """For every kind which sites are known (people, sites).

    Files of one kind have the same sites, but where some of the 967 are missing person by person, and where only
    variants are listed.
    """
    people = len(letters)
    rng = np.random.default_rng([seed, 0x41DE])
    every, by_person = np.ones((people, 1), np.bool_), rng.random(letters.shape, np.float32)
    by_file = rng.random(len(panel))
    chosen = panel.by_tag()
    wide, kidd = chosen[WIDE], chosen["kidd55"]
    old = np.array([tags != WIDE for tags in panel.tags])
    is_reference, is_alternate = letters == panel.ref_codes, letters == panel.alt_codes
    frequency = (1 + is_alternate.mean(axis=0) - is_reference.mean(axis=0)) / 2
    common = np.minimum(frequency, 1 - frequency) > COMMON
    chromosome = np.array(panel.chrom)
    known = {
        "complete": every & np.ones(len(panel), np.bool_),
        "wide": every & wide,
        "967": every & old,
        **{f"967, {percent} %": old & (by_person >= percent / 100) for percent in (50, 75, 90)},
        "tenth": every & (by_file < 0.1),
        "hundredth": every & (by_file < 0.01),
        "array": every & common & (by_file < 1 / 3),
        "chr1": every & (chromosome == "1"),
        "chr21": every & (chromosome == "21"),
        "aisnp169": every & (kidd | chosen["seldin128"]),
        "kidd55": every & kidd,
        "variants": ~is_reference & wide,
        "variants 967": ~is_reference & old,
    }
    return {kind: known[kind] for kind in TITLES}


@dataclass(frozen=True, eq=False)
class At967:
    """The model for the 967 sites, which knows no others."""

    method: OurMethod

    @property
    def name(self) -> str:
        """See `Method`."""
        return self.method.name

    @property
    def settings(self) -> str:
        """See `Method`."""
        return self.method.settings

    def run(self, fold: Fold) -> Outcome:
        """Train and judge at these sites."""
        old = np.flatnonzero([tags != WIDE for tags in fold.panel.tags])
        letters = fold.learn.letters[:, old]
        sequences = [row.tobytes().decode("ascii") for row in letters]
        learn = replace(fold.learn, sequences=sequences)
        judged = {kind: table[:, old] for kind, table in fold.judged.items()}
        return self.method.run(Fold(fold.number, fold.seed, fold.panel.subset(old), learn, judged))


Judge = Callable[[Array], Array]
"""Features of people (N, F) to probabilities or votes (N, C)."""


@dataclass(frozen=True, eq=False)
class KernelMethod:
    """A linear machine on the standardised genotypes of the sites that a kind of file has, a missing one being the
    mean. Its strength is chosen by cross-validation within the people to learn from, at all sites."""

    name: str
    fit: Callable[[Array, Rows, int, float], Judge]
    settings: str = f"{STRENGTHS}"

    def run(self, fold: Fold) -> Outcome:
        """Learn every head for every kind."""
        learn, judged = fold.copies(fold.learn.letters), fold.judged
        began = time.perf_counter()
        whole, _ = features(learn, learn[:1])
        strength = {head: self._strength(whole, fold, head) for head in fold.learn.labels}
        found = {}
        for kind, letters in judged.items():
            sites = np.flatnonzero((letters != MISSING).any(axis=0))
            own, theirs = features(learn[:, sites], fold.copies(letters)[:, sites])
            for head, labels in fold.learn.labels.items():
                classes = len(fold.learn.classes[head])
                found[kind, head] = self.fit(own, labels, classes, strength[head])(theirs)
        note = ", ".join(f"{head}: {value:g}" for head, value in strength.items())
        return Outcome(found, time.perf_counter() - began, len(fold.panel), f"(chosen: {note})")

    def _strength(self, whole: Array, fold: Fold, head: str) -> float:
        labels, classes = fold.learn.labels[head], len(fold.learn.classes[head])
        parts = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=fold.seed)

        def right(strength: float) -> int:
            return sum(
                int(
                    (
                        self.fit(whole[learn], labels[learn], classes, strength)(
                            whole[judge]
                        ).argmax(axis=1)
                        == labels[judge]
                    ).sum()
                )
                for learn, judge in parts.split(whole, labels)
            )

        return max(STRENGTHS, key=right)


def features(learn: Array, judged: Array) -> tuple[Array, Array]:
    """Genotypes as coordinates in which a linear machine is the same as on all sites, and there are fewer of them:
    the principal components of the people to learn from, of the mean over the sites."""
    scaler = Scaler.of(learn)
    own, theirs = scaler(learn), scaler(judged)
    values, vectors = np.linalg.eigh(own @ own.T / own.shape[1])
    kept = values > values[-1] * 1e-9
    scale = np.sqrt(values[kept])
    kernel = theirs @ own.T / own.shape[1]
    return vectors[:, kept] * scale, kernel @ (vectors[:, kept] / scale)


def logistic(own: Array, labels: Rows, classes: int, strength: float) -> Judge:
    """Multinomial logistic regression."""
    del classes
    return LogisticRegression(C=strength, max_iter=500).fit(own, labels).predict_proba


def svm(own: Array, labels: Rows, classes: int, strength: float) -> Judge:
    """A linear support vector machine, one class against another; it votes, and has no probabilities."""
    machine = SVC(kernel="linear", C=strength).fit(own, labels)
    return lambda theirs: np.eye(classes)[machine.predict(theirs)]


@dataclass(frozen=True, eq=False)
class ShrunkenBayes:
    """Naive Bayes over populations, whose frequencies are shrunk towards their group's; groups get sums."""

    name: str = "bayes-shrunken"
    settings: str = f"{PSEUDO_HAPLOTYPES}"

    def run(self, fold: Fold) -> Outcome:
        """Learn once; missing sites are skipped."""
        began = time.perf_counter()
        parent = np.array(nesting(fold.learn, "pop")["superpop"])
        train = shrunken_bayes(PSEUDO_HAPLOTYPES, parent)
        learnt = fold.learn.labels["pop"], len(fold.learn.classes["pop"])
        model = train(fold.copies(fold.learn.letters), *learnt)
        found = {}
        for kind, letters in fold.judged.items():
            table = model(fold.copies(letters))
            found[kind, "pop"] = table
            found[kind, "superpop"] = table @ np.eye(parent.max() + 1)[parent]
        return Outcome(found, time.perf_counter() - began, len(fold.panel))


@dataclass(frozen=True, eq=False)
class Majority:
    """The most frequent class."""

    name: str = "majority"
    settings: str = ""

    def run(self, fold: Fold) -> Outcome:
        """The classes' shares, for everybody."""
        found = {}
        for head, labels in fold.learn.labels.items():
            share = np.bincount(labels, minlength=len(fold.learn.classes[head])) / len(labels)
            for kind, letters in fold.judged.items():
                found[kind, head] = np.tile(share, (len(letters), 1))
        return Outcome(found, 0.0, 0)


@dataclass(frozen=True)
class Row:
    """A method at a kind of file. `behind` is the accuracy of `ancestry` less the method's, on the same people."""

    kind: str
    head: str
    method: str
    sites: float  # known, on average
    n: int
    accuracy: float
    low: float
    high: float
    ece: float  # of those with a label
    unknown: float  # share
    sure_wrong: int  # with more than `SURE`
    behind: float
    behind_low: float
    behind_high: float


@dataclass(frozen=True, eq=False)
class Table:
    """What all methods said, and the truth."""

    cohort: WideCohort
    seed: int
    pooled: dict[str, Pooled] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """Every kind, head and method."""
        known = kinds_of_files(self.cohort.samples.letters, self.cohort.panel, self.seed)
        people = next(iter(self.pooled.values())).rows
        for kind in TITLES:
            sites = float(known[kind][people].sum(axis=1).mean())
            for head in HEADS:
                for method in self.pooled:
                    yield self._row(kind, head, method, sites)

    def _row(self, kind: str, head: str, method: str, sites: float) -> Row:
        table, truth = self._table(method, kind, head), self._truth(head)
        n, accuracy, low, high, _, ece, _ = measures(table, truth)
        label, is_known = best(table)
        sure = np.nan_to_num(table).max(axis=1) > SURE
        ours = right(self._table(OURS, kind, head), truth)
        theirs = right(table, truth)

        def difference(drawn: Rows) -> dict[str, float]:
            return {"behind": float((ours[drawn] - theirs[drawn]).mean())}

        around = bootstrap_intervals(difference, n, np.random.default_rng(self.seed))["behind"]
        votes = method == "svm"
        return Row(
            kind,
            head,
            method,
            sites,
            n,
            accuracy,
            low,
            high,
            float("nan") if votes else ece,
            float((~is_known).mean()),
            0 if votes else int((sure & (label != truth)).sum()),
            float((ours - theirs).mean()),
            *around,
        )

    def _table(self, method: str, kind: str, head: str) -> Array:
        return self.pooled[method].probabilities[kind, head]

    def _truth(self, head: str) -> Rows:
        rows = next(iter(self.pooled.values())).rows
        return self.cohort.samples.labels[head][rows]

    def confusions(self, kind: str) -> Iterator[tuple[str, int, float, float, str]]:
        """By population: people, accuracy of population and of super-population, and what the others are called."""
        names = self.cohort.samples.classes["pop"]
        truth = self._truth("pop")
        called, is_known = best(self._table(OURS, kind, "pop"))
        group_right = right(self._table(OURS, kind, "superpop"), self._truth("superpop"))
        for number, name in enumerate(names):
            of = truth == number
            wrong = Counter(
                names[c] if k else "UNKNOWN"
                for c, k in zip(called[of], is_known[of], strict=True)
                if not k or c != number
            )
            told = ", ".join(f"{other} {count}" for other, count in wrong.most_common(3)) or "."
            hits = float((is_known & (called == number))[of].mean())
            yield name, int(of.sum()), hits, float(group_right[of].mean()), told


def best(table: Array) -> tuple[Rows, Array]:
    """The likeliest class of each (N,), and whether there is one."""
    known = ~np.isnan(table).any(axis=1)
    return np.nan_to_num(table).argmax(axis=1), known


def right(table: Array, truth: Rows) -> Array:
    """1 where the likeliest class is the true one (N,)."""
    label, known = best(table)
    return (known & (label == truth)).astype(np.float64)


def tsv(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "\t".join(f.name for f in fields(Row)) + "\n"
    for row in rows:
        cells = (f"{v:.4f}" if isinstance(v, float) else str(v) for v in astuple(row))
        yield "\t".join(cells) + "\n"


def markdown(rows: Sequence[Row], table: Table) -> str:
    """A table a head, accuracy by kind and method, and one of the populations."""
    parts = [_head_table([row for row in rows if row.head == head], head) for head in HEADS]
    lines = ["| population | people | right | super-population right | called instead |"]
    lines.append("| --- | ---: | ---: | ---: | --- |")
    lines += [
        f"| {name} | {n} | {hits:.2f} | {group:.3f} | {told} |"
        for name, n, hits, group, told in table.confusions("complete")
    ]
    return "\n".join([*parts, "\n".join(lines) + "\n"])


def _head_table(rows: Sequence[Row], head: str) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = [
        f"| {HEAD_TITLES[head]} | sites | {' | '.join(methods)} | ECE | less {BEFORE}, 95 % |",
        "| --- | ---: |" + " ---: |" * (len(methods) + 2),
    ]
    for kind, title in TITLES.items():
        of = {row.method: row for row in rows if row.kind == kind}
        ours = of[OURS]
        cells = [f"{of[method].accuracy:.3f}" for method in methods]
        less = of.get(BEFORE)
        text = (
            "."
            if less is None
            else f"{less.behind:+.3f} ({less.behind_low:+.3f} to {less.behind_high:+.3f})"
        )
        lines.append(
            f"| {title} | {ours.sites:.0f} | {' | '.join(cells)} | {ours.ece:.3f} | {text} |"
        )
    return "\n".join(lines) + "\n"


def methods_of(options: argparse.Namespace) -> list[Method]:
    """Our models, then the baselines."""
    cpu = torch.device("cpu")
    changes = tuple(options.set)
    found: list[Method] = [
        OurMethod(OURS, changes, cpu, say_on_terminal),
        At967(OurMethod(BEFORE, (), cpu, say_on_terminal)),
        Majority(),
        ShrunkenBayes(),
        KernelMethod("logistic", logistic),
        KernelMethod("svm", svm),
    ]
    wanted = options.methods
    return [m for m in found if wanted is None or m.name == OURS or m.name in wanted]


def main(arguments: Sequence[str] | None = None) -> None:
    """The table goes to standard output, progress to standard error."""
    made = parser_of(
        __doc__, data=DATA, folds=5, judged=None, methods=None, fresh=[], seed=0, set=[],
        runs=KEPT, output=None, markdown=None,
    )  # fmt: skip
    options = made.parse_args(arguments)
    cohort = WideCohort.read(options.data)
    say(f"{len(cohort.samples)} people, {len(cohort.panel)} sites")
    trial = Trial(cohort, options.seed, options.folds, options.runs, say, options.judged)
    table = Table(cohort, options.seed)
    for method in methods_of(options):
        table.pooled[method.name] = trial.pooled(method, fresh=method.name in options.fresh)
    rows = list(table.rows())
    write_optional(options.output, tsv(rows))
    write_optional(options.markdown, markdown(rows, table))
    sys.stdout.writelines(tsv(rows))


if __name__ == "__main__":
    main()
