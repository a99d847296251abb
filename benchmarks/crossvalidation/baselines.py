"""What anyone would try first on genotypes: majority class, logistic regression, naive Bayes, PCA + SVM.

A trainer makes a model of one head: allele copies (N, S), 0 1 2 or -1 where missing, and class numbers (N,)
in; a function from copies to probabilities (N, C) out. A baseline tries a few trainers by cross-validation
within the people that it learns from, keeps the most accurate, and learns every head with it.

Shape suffixes: N samples, S sites, C classes of a head, G groups of classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from genomai_cli.metrics.classification import log_losses

Array = NDArray[np.float64]
Copies = NDArray[np.int8]
Rows = NDArray[np.int64]
Model = Callable[[Copies], Array]
Trainer = Callable[[Copies, Rows, int], Model]

INNER_FOLDS = 4
COMPONENTS = 20
PSEUDO_ALLELES = 0.5  # of each allele, Jeffreys' prior for a frequency
LOGISTIC_C = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SVM_C = (1.0, 3.0, 10.0, 30.0)
SHRINKAGE = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)  # haplotypes at the group's frequency


@dataclass(frozen=True, eq=False)
class Problem:
    """Training people: `labels[head]` (N,) numbers the `classes[head]` classes from 0."""

    copies: Copies
    labels: Mapping[str, Rows]
    classes: Mapping[str, int]

    def rows(self, rows: Rows) -> "Problem":
        """Only these people."""
        labels = {head: numbers[rows] for head, numbers in self.labels.items()}
        return Problem(self.copies[rows], labels, self.classes)


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A trained model for every head, and which setting was chosen for it."""

    models: Mapping[str, Model]
    chosen: Mapping[str, float]

    def probabilities(self, copies: Copies) -> dict[str, Array]:
        """The probabilities (N, C) of every head."""
        return {head: model(copies) for head, model in self.models.items()}


Baseline = Callable[[Problem, int], FittedBaseline]
"""Learns every head from a problem; the number seeds the inner folds."""


def each_head(grid: Mapping[float, Trainer]) -> Baseline:
    """A baseline that is trained for each head independently."""

    def fit(problem: Problem, seed: int) -> FittedBaseline:
        chosen = {head: choose(grid, problem, head, seed) for head in problem.labels}
        models = {head: _train(grid[value], problem, head) for head, value in chosen.items()}
        return FittedBaseline(models, chosen)

    return fit


def summed(grid_of: Callable[[Rows], Mapping[float, Trainer]], fine: str = "pop") -> Baseline:
    """A baseline that learns the head `fine`; a class of another head gets the sum of its classes.

    `grid_of` makes the trainers from the group (superpopulation) that each class lies in.
    """

    def fit(problem: Problem, seed: int) -> FittedBaseline:
        coarse = [head for head in problem.labels if head != fine]
        parents = {head: parents_of(problem, fine, head) for head in coarse}
        grid = grid_of(next(iter(parents.values())))
        value = choose(grid, problem, fine, seed)
        model = _train(grid[value], problem, fine)
        sums = {head: _sum_of(model, parents[head], problem.classes[head]) for head in coarse}
        return FittedBaseline({fine: model, **sums}, {fine: value})

    return fit


def parents_of(problem: Problem, fine: str, coarse: str) -> Rows:
    """The class of `coarse` that each class of `fine` (C,) lies in; 0 for a class without people."""
    parents = np.zeros(problem.classes[fine], np.int64)
    parents[problem.labels[fine]] = problem.labels[coarse]
    return parents


def choose(grid: Mapping[float, Trainer], problem: Problem, head: str, seed: int) -> float:
    """The setting with the best accuracy in cross-validation, the lower log loss deciding ties."""
    if len(grid) == 1:
        return next(iter(grid))
    return max(grid, key=lambda value: _inner_score(grid[value], problem, head, seed))


def _inner_score(trainer: Trainer, problem: Problem, head: str, seed: int) -> tuple[float, float]:
    labels = problem.labels[head]
    folds = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    table = np.zeros((len(labels), problem.classes[head]))
    for train, test in folds.split(problem.copies, labels):
        table[test] = _train(trainer, problem.rows(train), head)(problem.copies[test])
    accuracy = float((table.argmax(axis=1) == labels).mean())
    return accuracy, -float(log_losses(table, labels).mean())


def _train(trainer: Trainer, problem: Problem, head: str) -> Model:
    return trainer(problem.copies, problem.labels[head], problem.classes[head])


def _sum_of(model: Model, parents: Rows, classes: int) -> Model:
    member_CG = (parents[:, None] == np.arange(classes)).astype(np.float64)
    return lambda copies: model(copies) @ member_CG


# --- trainers ---


def majority(copies_NS: Copies, labels: Rows, classes: int) -> Model:
    """The share of every class among the training people, for everybody."""
    share = np.bincount(labels, minlength=classes) / len(labels)
    return lambda copies: np.tile(share, (len(copies), 1))


def logistic(c: float) -> Trainer:
    """Multinomial logistic regression on standardised genotypes, a missing one being the mean."""

    def train(copies_NS: Copies, labels: Rows, classes: int) -> Model:
        scaler = Scaler.of(copies_NS)
        regression = LogisticRegression(C=c, max_iter=2000).fit(scaler(copies_NS), labels)
        return _aligned(regression, scaler, classes)

    return train


def pca_svm(c: float) -> Trainer:
    """A Gaussian SVM on principal components, its probabilities by Platt's sigmoid."""

    def train(copies_NS: Copies, labels: Rows, classes: int) -> Model:
        scaler = Scaler.of(copies_NS, standardise=False)
        count = min(COMPONENTS, *copies_NS.shape)
        components = PCA(count, svd_solver="full").fit(scaler(copies_NS))
        svm = CalibratedClassifierCV(SVC(C=c), method="sigmoid", ensemble=False)
        svm.fit(components.transform(scaler(copies_NS)), labels)
        return _aligned(svm, lambda copies: components.transform(scaler(copies)), classes)

    return train


def bayes() -> Trainer:
    """Allele-frequency naive Bayes in Hardy-Weinberg proportions; missing sites are skipped."""

    def train(copies_NS: Copies, labels: Rows, classes: int) -> Model:
        alternate_CS, total_CS = allele_counts(copies_NS, labels, classes)
        frequency_CS = (alternate_CS + PSEUDO_ALLELES) / (total_CS + 2 * PSEUDO_ALLELES)
        return _naive(frequency_CS, labels)

    return train


def shrunken_bayes(pseudo: float, parents: Rows) -> Trainer:
    """The same, every class seeing `pseudo` more haplotypes at the frequency of its group."""

    def train(copies_NS: Copies, labels: Rows, classes: int) -> Model:
        alternate_CS, total_CS = allele_counts(copies_NS, labels, classes)
        member_GC = (np.arange(parents.max() + 1)[:, None] == parents).astype(np.float64)
        group_GS = member_GC @ alternate_CS + PSEUDO_ALLELES
        group_GS /= member_GC @ total_CS + 2 * PSEUDO_ALLELES
        return _naive((alternate_CS + pseudo * group_GS[parents]) / (total_CS + pseudo), labels)

    return train


@dataclass(frozen=True, eq=False)
class Scaler:
    """Copies (N, S) to centred numbers, missing ones to 0; also divided by the deviation if `standardise`."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, copies_NS: Copies, *, standardise: bool = True) -> "Scaler":
        """With the means and deviations of the known genotypes."""
        known = np.ma.masked_less(copies_NS.astype(np.float64), 0)
        deviation_S = known.std(axis=0).filled(0)
        varies = standardise & (deviation_S > 0)
        return cls(known.mean(axis=0).filled(0), np.where(varies, deviation_S, 1.0))

    def __call__(self, copies_NS: Copies) -> Array:
        return np.where(copies_NS >= 0, (copies_NS - self.mean) / self.scale, 0.0)


def allele_counts(copies_NS: Copies, labels: Rows, classes: int) -> tuple[Array, Array]:
    """Alternate alleles and all alleles seen in every class (C, S)."""
    member_CN = (np.arange(classes)[:, None] == labels).astype(np.float64)
    known_NS = copies_NS >= 0
    return member_CN @ np.where(known_NS, copies_NS, 0), member_CN @ (2.0 * known_NS)


def _naive(frequency_CS: Array, labels: Rows) -> Model:
    members = np.bincount(labels, minlength=len(frequency_CS))
    log_prior_C = np.log(np.maximum(members, 1e-3) / len(labels))
    log_alternate_SC, log_ref_SC = np.log(frequency_CS).T, np.log1p(-frequency_CS).T

    def model(copies_NS: Copies) -> Array:
        known_NS = copies_NS >= 0
        fit_NC = np.where(known_NS, copies_NS, 0) @ log_alternate_SC
        fit_NC += np.where(known_NS, 2 - copies_NS, 0) @ log_ref_SC
        return np.exp(log_softmax(fit_NC + log_prior_C, axis=1))

    return model


def _aligned(
    estimator: LogisticRegression | CalibratedClassifierCV,
    features: Callable[[Copies], Array],
    classes: int,
) -> Model:
    """The estimator's probabilities with a column for every class, also for those it never saw."""

    def model(copies_NS: Copies) -> Array:
        table_NC = np.zeros((len(copies_NS), classes))
        table_NC[:, estimator.classes_] = estimator.predict_proba(features(copies_NS))
        return table_NC

    return model


MAJORITY = each_head({0.0: majority})
LOGISTIC = each_head({c: logistic(c) for c in LOGISTIC_C})
BAYES = summed(lambda parents: {PSEUDO_ALLELES: bayes()})
SHRUNKEN_BAYES = summed(lambda parents: {a: shrunken_bayes(a, parents) for a in SHRINKAGE})
PCA_SVM = each_head({c: pca_svm(c) for c in SVM_C})
