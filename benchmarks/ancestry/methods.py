"""The rows of the table: the baselines, and our models trained anew in every fold by their recipes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.crossvalidation.baselines import (
    BAYES,
    LOGISTIC,
    MAJORITY,
    PCA_SVM,
    SHRUNKEN_BAYES,
    Baseline,
    Problem,
)
from benchmarks.crossvalidation.trials import (
    HEADS,
    Array,
    Fold,
    Letters,
    Method,
    Outcome,
    Rows,
    by_condition,
)
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import exact_precision
from genomai_cli.inference.classify import classify_records
from genomai_cli.inputs.samples import Samples
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.networks.genotype_mlp import allele_counts
from genomai_cli.population.networks.likelihood_fit import fit_likelihood
from genomai_cli.population.panel import GRCH37, Panel
from genomai_cli.records import SequenceRecord
from genomai_cli.training import finetuning, recipe
from genomai_cli.training.labelled_data import nesting

V2 = "genomai-v2"


@dataclass(frozen=True, eq=False)
class BaselineMethod:
    """A baseline on all sites, or on those that `sites` selects from the training people."""

    name: str
    baseline: Baseline
    sites: Callable[[Fold], Rows] | None = None
    settings: str = ""

    def run(self, fold: Fold) -> Outcome:
        """Train with the settings that inner cross-validation selects, then predict."""
        sites = np.arange(len(fold.panel)) if self.sites is None else self.sites(fold)
        began = time.perf_counter()
        fitted = self.baseline(_problem(fold, sites), fold.seed)
        seconds = time.perf_counter() - began

        def predict(letters: Letters) -> dict[str, Array]:
            return fitted.probabilities(fold.copies(letters)[:, sites])

        note = ", ".join(f"{head}: {value:g}" for head, value in fitted.chosen.items())
        return Outcome(by_condition(fold, predict), seconds, len(sites), f"(chosen: {note})")


@dataclass(frozen=True, eq=False)
class OurMethod:
    """A model of ours, trained by its recipe on the fold's training people."""

    name: str
    changes: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    say: Callable[[str], None] = lambda _: None

    @property
    def settings(self) -> str:
        """The recipe as it is used."""
        return recipe.read(self.name, self.changes)[1]

    def run(self, fold: Fold) -> Outcome:
        """Train as `genomai train`, then predict as `genomai classify`."""
        plan, _ = recipe.read(self.name, self.changes)
        train = training_samples(fold, plan)
        began = time.perf_counter()
        fitted = finetuning.fit(
            train,
            plan,
            BarcodeInput(fold.panel, plan.input.haplotypes),
            seed=fold.seed,
            device=self.device,
            report=self._report,
        )
        seconds = time.perf_counter() - began
        bundle = fitted.bundle
        bundle.classifier.to(dtype=exact_precision(self.device)).eval().requires_grad_(False)
        tables = by_condition(
            fold, lambda letters: class_probabilities(bundle, letters, fold.panel)
        )
        return Outcome(tables, seconds, len(bundle.coordinates))

    def _report(self, member: int, step: int, loss: float, best: float) -> None:
        self.say(
            f"{self.name}: network {member + 1}, step {step}, loss {loss:.3f}, best {best:.3f}"
        )


@dataclass(frozen=True, eq=False)
class LikelihoodMethod:
    """The population likelihood of the recipe `ancestry` by itself: no network, no calibration."""

    name: str = "likelihood"
    settings: str = ""

    def run(self, fold: Fold) -> Outcome:
        """Estimate it from the fold's training people, then predict by its posterior probabilities."""
        settings = recipe.read("ancestry-967")[0].evidence
        began = time.perf_counter()
        likelihood = fit_likelihood(
            fold.copies(fold.train.letters),
            fold.train.labels[settings.head],
            len(fold.train.classes[settings.head]),
            axes=settings.axes,
            shrinkage=settings.shrinkage,
        )
        seconds = time.perf_counter() - began
        parents = nesting(fold.train, settings.head)

        @torch.inference_mode()
        def predict(letters: Letters) -> dict[str, Array]:
            copies = torch.from_numpy(fold.copies(letters)).long()
            posteriors = likelihood(*allele_counts(copies, torch.float64)).softmax(1).numpy()
            return {
                head: _sum_classes(posteriors, np.array(parent)) for head, parent in parents.items()
            }

        return Outcome(by_condition(fold, predict), seconds, len(fold.panel))


def _sum_classes(posteriors: Array, parent: Rows) -> Array:
    """The probabilities of coarser classes: the sums over the finer ones inside them."""
    return np.stack(
        [posteriors[:, parent == c].sum(axis=1) for c in range(parent.max() + 1)], axis=1
    )


def class_probabilities(bundle: Bundle, letters: Letters, panel: Panel) -> dict[str, Array]:
    """The probabilities of every head (n, classes) for barcodes of the panel; NaN where UNKNOWN."""
    records = (
        SequenceRecord(str(number), row.tobytes().decode("ascii"))
        for number, row in enumerate(letters)
    )
    calls = list(classify_records(bundle, records, other_inputs={"all": BarcodeInput(panel)}))
    return {
        head: np.array([_row(call.probabilities[head], len(labels)) for call in calls])
        for head, labels in bundle.heads.items()
    }


def sites_of_v2(fold: Fold, changes: tuple[str, ...] = ()) -> Rows:
    """The sites that `genomai-v2` chooses when it is trained in this fold."""
    plan, _ = recipe.read(V2, changes)
    run = finetuning.Finetuning(
        training_samples(fold, plan),
        plan,
        BarcodeInput(fold.panel, plan.input.haplotypes),
        seed=fold.seed,
        device=torch.device("cpu"),
        start=None,
        adaptation=finetuning.FULL_ADAPTATION,
        work=None,
        report=lambda *_: None,
    )
    index = fold.panel.index(GRCH37)
    chosen_panel = run.input.coordinates
    positions = zip(chosen_panel.chrom, chosen_panel.positions[GRCH37].tolist(), strict=True)
    return np.array([index[position] for position in positions], np.int64)


def training_samples(fold: Fold, plan: recipe.Recipe) -> Samples:
    """The fold's training people with the labels of the recipe's heads only, and its strata."""
    train = fold.train
    labels = {head: numbers for head, numbers in train.labels.items() if head in plan.heads}
    classes = {head: names for head, names in train.classes.items() if head in plan.heads}
    strata = {column: train.labels[head] for head, column in HEADS.items()}.get(plan.input.strata)
    return Samples(train.names, train.sequences, labels, classes, train.individuals, strata)


def baselines() -> list[Method]:
    """Every baseline, the simplest first."""
    return [
        BaselineMethod("majority", MAJORITY),
        BaselineMethod("logistic", LOGISTIC),
        BaselineMethod("bayes", BAYES),
        BaselineMethod("bayes-shrunken", SHRUNKEN_BAYES),
        BaselineMethod("pca-svm", PCA_SVM),
        BaselineMethod("logistic-200", LOGISTIC, sites=sites_of_v2),
        BaselineMethod("bayes-200", BAYES, sites=sites_of_v2),
        LikelihoodMethod(),
    ]


def _problem(fold: Fold, sites: Rows) -> Problem:
    train = fold.train
    classes = {head: len(names) for head, names in train.classes.items()}
    return Problem(fold.copies(train.letters)[:, sites], train.labels, classes)


def _row(probabilities: Array | None, classes: int) -> Array:
    return np.full(classes, np.nan) if probabilities is None else probabilities
