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

RESULTS_FOLDER = RUNS / "ancestry" / "kinds"
WIDE = "wide"
OURS, PREVIOUS = "ancestry", "ancestry-967"
MISSING = ord("N")
MIN_FREQUENCY = 0.05  # least frequency of the rarer allele on an array
MIN_CONFIDENCE = 0.9
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
    """Labelled people at all sites of `ancestry`, tested on files of several kinds."""

    @classmethod
    def read(cls, folder: Path) -> "WideCohort":
        """The training individuals in a folder as shared/data/1kgp."""
        panel = Panel.read(MODELS / OURS / "panel.tsv")
        table = read_labels(folder / LABELS)
        labels = {head: table.column(column) for head, column in HEADS.items()}
        barcodes = read_barcodes(open_inputs([folder / VCF, folder / WIDE_VCF]), panel)
        return cls(gather(barcodes.records(), labels)[0], panel)

    @property
    def test_conditions(self) -> Sequence[object]:
        """The kinds of files."""
        return list(TITLES)

    def fold(self, number: int, seed: int, rows: Rows) -> Fold:
        """See `Cohort`."""
        known = kinds_of_files(self.samples.letters, self.panel, seed)
        letters = self.samples.letters[rows]
        test = {
            kind: np.where(mask[rows], letters, np.uint8(MISSING)) for kind, mask in known.items()
        }
        train = subset(self.samples, remaining_rows(self.samples, rows))
        return Fold(number, seed, self.panel, train, test)


def kinds_of_files(letters: Letters, panel: Panel, seed: int) -> Conditions:
    """For every kind which sites are known (people, sites).

    Files of one kind have the same sites, but where some of the 967 are missing person by person, and where only
    variants are listed.
    """
    sample_count = len(letters)
    rng = np.random.default_rng([seed, 0x41DE])
    everyone, draws_by_sample = (
        np.ones((sample_count, 1), np.bool_),
        rng.random(letters.shape, np.float32),
    )
    draws_by_site = rng.random(len(panel))
    tagged = panel.by_tag()
    wide, kidd = tagged[WIDE], tagged["kidd55"]
    previous_sites = np.array([tags != WIDE for tags in panel.tags])
    is_reference, is_alternate = letters == panel.ref_codes, letters == panel.alt_codes
    frequency = (1 + is_alternate.mean(axis=0) - is_reference.mean(axis=0)) / 2
    common = np.minimum(frequency, 1 - frequency) > MIN_FREQUENCY
    chromosome = np.array(panel.chrom)
    known = {
        "complete": everyone & np.ones(len(panel), np.bool_),
        "wide": everyone & wide,
        "967": everyone & previous_sites,
        **{
            f"967, {percent} %": previous_sites & (draws_by_sample >= percent / 100)
            for percent in (50, 75, 90)
        },
        "tenth": everyone & (draws_by_site < 0.1),
        "hundredth": everyone & (draws_by_site < 0.01),
        "array": everyone & common & (draws_by_site < 1 / 3),
        "chr1": everyone & (chromosome == "1"),
        "chr21": everyone & (chromosome == "21"),
        "aisnp169": everyone & (kidd | tagged["seldin128"]),
        "kidd55": everyone & kidd,
        "variants": ~is_reference & wide,
        "variants 967": ~is_reference & previous_sites,
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
        """Train and test at these sites."""
        previous_sites = np.flatnonzero([tags != WIDE for tags in fold.panel.tags])
        letters = fold.train.letters[:, previous_sites]
        sequences = [row.tobytes().decode("ascii") for row in letters]
        train = replace(fold.train, sequences=sequences)
        test = {kind: table[:, previous_sites] for kind, table in fold.test.items()}
        return self.method.run(
            Fold(fold.number, fold.seed, fold.panel.subset(previous_sites), train, test)
        )


Predictor = Callable[[Array], Array]
"""Features of people (N, F) to probabilities or votes (N, C)."""


@dataclass(frozen=True, eq=False)
class KernelMethod:
    """A linear classifier on the standardised genotypes of the sites that a kind of file has, a missing one being the
    mean. Its regularisation is chosen by cross-validation within the training people, at all sites."""

    name: str
    fit: Callable[[Array, Rows, int, float], Predictor]
    settings: str = f"{STRENGTHS}"

    def run(self, fold: Fold) -> Outcome:
        """Learn every head for every kind."""
        train_copies, test_letters = fold.copies(fold.train.letters), fold.test
        began = time.perf_counter()
        all_features, _ = features(train_copies, train_copies[:1])
        strength = {head: self._strength(all_features, fold, head) for head in fold.train.labels}
        tables = {}
        for kind, letters in test_letters.items():
            sites = np.flatnonzero((letters != MISSING).any(axis=0))
            train_features, test_features = features(
                train_copies[:, sites], fold.copies(letters)[:, sites]
            )
            for head, labels in fold.train.labels.items():
                classes = len(fold.train.classes[head])
                tables[kind, head] = self.fit(train_features, labels, classes, strength[head])(
                    test_features
                )
        note = ", ".join(f"{head}: {value:g}" for head, value in strength.items())
        return Outcome(tables, time.perf_counter() - began, len(fold.panel), f"(chosen: {note})")

    def _strength(self, all_features: Array, fold: Fold, head: str) -> float:
        labels, classes = fold.train.labels[head], len(fold.train.classes[head])
        parts = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=fold.seed)

        def correct_count(strength: float) -> int:
            return sum(
                int(
                    (
                        self.fit(all_features[train], labels[train], classes, strength)(
                            all_features[test]
                        ).argmax(axis=1)
                        == labels[test]
                    ).sum()
                )
                for train, test in parts.split(all_features, labels)
            )

        return max(STRENGTHS, key=correct_count)


def features(train: Array, test: Array) -> tuple[Array, Array]:
    """Genotypes as coordinates in which a linear classifier is the same as on all sites, and there are fewer of them:
    the principal components of the training people, of the mean over the sites."""
    scaler = Scaler.of(train)
    train_scaled, test_scaled = scaler(train), scaler(test)
    values, vectors = np.linalg.eigh(train_scaled @ train_scaled.T / train_scaled.shape[1])
    retained = values > values[-1] * 1e-9
    scale = np.sqrt(values[retained])
    kernel = test_scaled @ train_scaled.T / train_scaled.shape[1]
    return vectors[:, retained] * scale, kernel @ (vectors[:, retained] / scale)


def logistic(train_features: Array, labels: Rows, classes: int, strength: float) -> Predictor:
    """Multinomial logistic regression."""
    del classes
    return LogisticRegression(C=strength, max_iter=500).fit(train_features, labels).predict_proba


def svm(train_features: Array, labels: Rows, classes: int, strength: float) -> Predictor:
    """A linear support vector machine, one class against another; it votes, and has no probabilities."""
    classifier = SVC(kernel="linear", C=strength).fit(train_features, labels)
    return lambda test_features: np.eye(classes)[classifier.predict(test_features)]


@dataclass(frozen=True, eq=False)
class ShrunkenBayes:
    """Naive Bayes over populations, whose frequencies are shrunk towards their group's; groups get sums."""

    name: str = "bayes-shrunken"
    settings: str = f"{PSEUDO_HAPLOTYPES}"

    def run(self, fold: Fold) -> Outcome:
        """Learn once; missing sites are skipped."""
        began = time.perf_counter()
        parent = np.array(nesting(fold.train, "pop")["superpop"])
        train = shrunken_bayes(PSEUDO_HAPLOTYPES, parent)
        train_labels = fold.train.labels["pop"], len(fold.train.classes["pop"])
        model = train(fold.copies(fold.train.letters), *train_labels)
        tables = {}
        for kind, letters in fold.test.items():
            table = model(fold.copies(letters))
            tables[kind, "pop"] = table
            tables[kind, "superpop"] = table @ np.eye(parent.max() + 1)[parent]
        return Outcome(tables, time.perf_counter() - began, len(fold.panel))


@dataclass(frozen=True, eq=False)
class Majority:
    """The most frequent class."""

    name: str = "majority"
    settings: str = ""

    def run(self, fold: Fold) -> Outcome:
        """The classes' shares, for everybody."""
        tables = {}
        for head, labels in fold.train.labels.items():
            share = np.bincount(labels, minlength=len(fold.train.classes[head])) / len(labels)
            for kind, letters in fold.test.items():
                tables[kind, head] = np.tile(share, (len(letters), 1))
        return Outcome(tables, 0.0, 0)


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
    sure_wrong: int  # with more than `MIN_CONFIDENCE`
    behind: float
    behind_low: float
    behind_high: float


@dataclass(frozen=True, eq=False)
class Table:
    """The predictions of all methods, and the true labels."""

    cohort: WideCohort
    seed: int
    pooled: dict[str, Pooled] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """Every kind, head and method."""
        known = kinds_of_files(self.cohort.samples.letters, self.cohort.panel, self.seed)
        sample_rows = next(iter(self.pooled.values())).rows
        for kind in TITLES:
            sites = float(known[kind][sample_rows].sum(axis=1).mean())
            for head in HEADS:
                for method in self.pooled:
                    yield self._row(kind, head, method, sites)

    def _row(self, kind: str, head: str, method: str, sites: float) -> Row:
        table, truth = self._table(method, kind, head), self._truth(head)
        n, accuracy, low, high, _, ece, _ = measures(table, truth)
        label, is_known = most_probable(table)
        confident = np.nan_to_num(table).max(axis=1) > MIN_CONFIDENCE
        ours_correct = is_correct(self._table(OURS, kind, head), truth)
        method_correct = is_correct(table, truth)

        def difference(rows: Rows) -> dict[str, float]:
            return {"behind": float((ours_correct[rows] - method_correct[rows]).mean())}

        interval = bootstrap_intervals(difference, n, np.random.default_rng(self.seed))["behind"]
        only_votes = method == "svm"
        return Row(
            kind,
            head,
            method,
            sites,
            n,
            accuracy,
            low,
            high,
            float("nan") if only_votes else ece,
            float((~is_known).mean()),
            0 if only_votes else int((confident & (label != truth)).sum()),
            float((ours_correct - method_correct).mean()),
            *interval,
        )

    def _table(self, method: str, kind: str, head: str) -> Array:
        return self.pooled[method].probabilities[kind, head]

    def _truth(self, head: str) -> Rows:
        rows = next(iter(self.pooled.values())).rows
        return self.cohort.samples.labels[head][rows]

    def confusions(self, kind: str) -> Iterator[tuple[str, int, float, float, str]]:
        """By population: people, accuracy of population and of super-population, and the most frequent wrong
        predictions."""
        names = self.cohort.samples.classes["pop"]
        truth = self._truth("pop")
        predicted, is_known = most_probable(self._table(OURS, kind, "pop"))
        group_correct = is_correct(self._table(OURS, kind, "superpop"), self._truth("superpop"))
        for number, name in enumerate(names):
            members = truth == number
            wrong = Counter(
                names[c] if k else "UNKNOWN"
                for c, k in zip(predicted[members], is_known[members], strict=True)
                if not k or c != number
            )
            confused = ", ".join(f"{other} {count}" for other, count in wrong.most_common(3)) or "."
            accuracy = float((is_known & (predicted == number))[members].mean())
            yield name, int(members.sum()), accuracy, float(group_correct[members].mean()), confused


def most_probable(table: Array) -> tuple[Rows, Array]:
    """The most probable class of each (N,), and whether there is one."""
    known = ~np.isnan(table).any(axis=1)
    return np.nan_to_num(table).argmax(axis=1), known


def is_correct(table: Array, truth: Rows) -> Array:
    """1 where the most probable class is the true one (N,)."""
    predicted, known = most_probable(table)
    return (known & (predicted == truth)).astype(np.float64)


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
        f"| {name} | {n} | {accuracy:.2f} | {group:.3f} | {confused} |"
        for name, n, accuracy, group, confused in table.confusions("complete")
    ]
    return "\n".join([*parts, "\n".join(lines) + "\n"])


def _head_table(rows: Sequence[Row], head: str) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = [
        f"| {HEAD_TITLES[head]} | sites | {' | '.join(methods)} | ECE | less {PREVIOUS}, 95 % |",
        "| --- | ---: |" + " ---: |" * (len(methods) + 2),
    ]
    for kind, title in TITLES.items():
        by_method = {row.method: row for row in rows if row.kind == kind}
        ours = by_method[OURS]
        cells = [f"{by_method[method].accuracy:.3f}" for method in methods]
        previous = by_method.get(PREVIOUS)
        text = (
            "."
            if previous is None
            else f"{previous.behind:+.3f} ({previous.behind_low:+.3f} to {previous.behind_high:+.3f})"
        )
        lines.append(
            f"| {title} | {ours.sites:.0f} | {' | '.join(cells)} | {ours.ece:.3f} | {text} |"
        )
    return "\n".join(lines) + "\n"


def methods_of(options: argparse.Namespace) -> list[Method]:
    """Our models, then the baselines."""
    cpu = torch.device("cpu")
    changes = tuple(options.set)
    methods: list[Method] = [
        OurMethod(OURS, changes, cpu, say_on_terminal),
        At967(OurMethod(PREVIOUS, (), cpu, say_on_terminal)),
        Majority(),
        ShrunkenBayes(),
        KernelMethod("logistic", logistic),
        KernelMethod("svm", svm),
    ]
    requested = options.methods
    return [m for m in methods if requested is None or m.name == OURS or m.name in requested]


def main(arguments: Sequence[str] | None = None) -> None:
    """The table goes to standard output, progress to standard error."""
    parser = parser_of(
        __doc__, data=DATA, folds=5, judged=None, methods=None, fresh=[], seed=0, set=[],
        runs=RESULTS_FOLDER, output=None, markdown=None,
    )  # fmt: skip
    options = parser.parse_args(arguments)
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
