"""The rows of label efficiency: a few labels, and what learns from them.

All networks are trained by one recipe: that of the shipped model without the evidence attached to its
networks, one network instead of five, and a fixed number of steps, since a twentieth of few labels is too little to
stop by. A row's name is its start; with `frozen-` before it, the pretrained network stays as it is, and a logistic
regression learns from its vectors. The row `shipped` is the recipe as it is, but for one network instead of five.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.crossvalidation import baselines
from benchmarks.crossvalidation.baselines import Array
from benchmarks.crossvalidation.label_subsets import draw_label_subset
from benchmarks.crossvalidation.trials import Cohort, CohortLike, Letters, Outcome, subset
from benchmarks.mito import genome_baselines
from benchmarks.mito.genomes import COMPLETE, Genomes
from benchmarks.mito.methods import as_strings, class_probabilities, vectors_of
from benchmarks.pretraining.pretrained_networks import VariantStore, genomes_of_vcf
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import exact_precision
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.samples import Samples
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.population.barcode import letters_to_genotypes
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.training import finetuning, recipe
from genomai_cli.training.recipe import Recipe

LOGISTIC, PCA_ROW, SCRATCH, SHIPPED = "logistic", "pca", "scratch", "shipped"
VARIANTS = ("contrastive", "masked", "both")
FROZEN = "frozen-"
ROWS = (LOGISTIC, PCA_ROW, SCRATCH, *VARIANTS, *(f"{FROZEN}{name}" for name in VARIANTS), SHIPPED)
HEADS = ("superpop", "pop")
MITO_START = "masked"  # mito-pretrained is trained so; the ancestry model begins from scratch

ONE_NETWORK = ("split.folds=1", "split.holdout=0.2")
PLAIN = ("split.folds=1", "split.holdout=0.05", "optimization.evaluate_every=100000")
STEPS = {"mito": 500, "ancestry": 200}
PRETRAINING = {
    "mito": ("optimization.steps=1000",),
    "ancestry": ("optimization.steps=300", "optimization.batch_size=128"),
}
# Of the 8,000 sites of a genome some 30 differ from the common letter: a tenth of them replaced would bury those.
GENOME_VIEWS = ("contrastive.substitute=0.002",)
# Weights with which the two losses begin alike: the masked one is a mean over sites that hardly vary.
WEIGHTS = {
    "mito": {"contrastive": 0.005, "masked": 1.0},
    "ancestry": {"contrastive": 1.0, "masked": 1.0},
}
COMPONENTS = 20  # or as many as there are people
FROZEN_C = 1.0  # of the logistic regression on standardised vectors
ANCESTRY_C = {
    "superpop": 0.1,
    "pop": 0.01,
}  # what cross-validation chooses in benchmarks/ancestry/classification.py

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of network and its training data; `name` is that of its recipe as well.

    `variants` returns the pretrained networks of a fold, `test_letters` its test data; `regression` trains one head on
    samples and returns the probabilities of letters; `features` turns letters into numbers, whose principal components
    are fitted to all training people of a fold, labelled or not. The row `shipped` begins with the variant
    `shipped_start`, if any; `scratch_changes` are changes of the recipe of the row `scratch`.
    """

    name: str
    cohort: CohortLike
    folder: Path
    changes: tuple[str, ...]
    variants: Callable[[Any], dict[str, Bundle]]
    test_letters: Callable[[Any], Letters]
    regression: Callable[[Samples, str, Letters], Array]
    features: Callable[[Any, Letters], Array]
    pretraining: str  # what the pretrained networks depend on
    input: InputKind
    shipped_start: str | None = None
    scratch_changes: tuple[str, ...] = ()

    def settings(self, row: str) -> str:
        """What a row's results depend on, except the code."""
        if row in (LOGISTIC, PCA_ROW):
            return ""
        if row.startswith(FROZEN):
            return f"{FROZEN_C}\n{self.pretraining}"
        start = "" if row == SCRATCH else self.pretraining
        return f"{recipe.read(self.name, self._changes(row))[1]}\n{start}"

    def plan(self, row: str, heads: Sequence[str]) -> Recipe:
        """The recipe by which the row's networks are trained."""
        full_recipe, _ = recipe.read(self.name, self._changes(row))
        if row != SHIPPED:
            full_recipe = replace(full_recipe, evidence=None)
        return recipe.for_heads(full_recipe, heads)

    def _changes(self, row: str) -> list[str]:
        """The changes of the shipped recipe."""
        if row == SHIPPED:
            return [*ONE_NETWORK, *self.changes]
        changes = [*PLAIN, f"optimization.steps={STEPS[self.name]}"]
        if row == SCRATCH:
            changes += self.scratch_changes
        return [*changes, *self.changes]

    def outcome(self, row: str, percent: int, fold: Any) -> Outcome:
        """The predictions of the row in a fold with this share of the labels."""
        rng = np.random.default_rng([fold.seed, fold.number, percent])
        train = draw_label_subset(only_populations(fold.train), percent, rng)
        letters = self.test_letters(fold)
        start = self._start(row, fold)
        began = time.perf_counter()
        if row == LOGISTIC:
            tables = {h: self.regression(train, h, letters) for h in train.labels}
        elif row == PCA_ROW or row.startswith(FROZEN):
            tables = classify_vectors(self._vectors(fold, start), train, letters)
        else:
            tables = self._train_network(row, train, letters, fold.seed, start)
        seconds = time.perf_counter() - began
        probabilities = {(str(percent), head): table for head, table in tables.items()}
        return Outcome(probabilities, seconds, len(train))

    def _vectors(self, fold: Any, start: Bundle | None) -> Callable[[Letters], Array]:
        """The function from letters to vectors: the pretrained network, or principal components."""
        if start is not None:
            return partial(vectors_of, start)
        components = PCA(COMPONENTS, random_state=fold.seed)
        components.fit(self.features(fold, fold.train.letters))
        return lambda letters: np.asarray(components.transform(self.features(fold, letters)))

    def _train_network(
        self, row: str, train: Samples, letters: Letters, seed: int, start: Bundle | None
    ) -> dict[str, Array]:
        plan = self.plan(row, list(train.labels))
        kind = start.input if start else self.input
        fitted = finetuning.fit(train, plan, kind, seed=seed, start=start)
        bundle = fitted.bundle
        bundle.classifier.to(dtype=exact_precision(torch.device("cpu"))).eval()
        tables = class_probabilities(bundle, COMPLETE, as_strings(letters), train.classes)
        return {head: table for (_, head), table in tables.items()}

    def _start(self, row: str, fold: Any) -> Bundle | None:
        if row in (LOGISTIC, PCA_ROW, SCRATCH):
            return None
        variant = self.shipped_start if row == SHIPPED else row.removeprefix(FROZEN)
        return None if variant is None else self.variants(fold)[variant]


def classify_vectors(
    vectors: Callable[[Letters], Array], train: Samples, letters: Letters
) -> dict[str, Array]:
    """The probabilities by logistic regression on standardised vectors of letters."""
    x_train, x_test = vectors(train.letters), vectors(letters)
    scaler = StandardScaler().fit(x_train)
    tables = {}
    for head, labels in train.labels.items():
        regression = LogisticRegression(C=FROZEN_C, max_iter=2000)
        regression.fit(scaler.transform(x_train), labels)
        tables[head] = regression.predict_proba(scaler.transform(x_test))
    return tables


def mito_kind(
    folder: Path,
    data: Path,
    mito: Path,
    seed: int,
    changes: Sequence[str],
    pretraining: Sequence[str],
    say: Say,
) -> Kind:
    """Mitochondrial genomes; the networks are pretrained on the world's, none of which is labelled."""
    cohort = Genomes.read(data, mito / "rCRS.fa")
    world = mito / "world.vcf.gz"
    settings = [*PRETRAINING["mito"], *GENOME_VIEWS, *pretraining]
    plan, text = _without_early_stopping("mito-pretrained", settings)
    kind, weights = GenomeInput(cohort.reference), _weights("mito")
    pretrained = VariantStore(folder / "pretrained", plan, text, kind, weights, seed, say)

    @cache
    def variants() -> dict[str, Bundle]:
        source = f"{world.name} {world.stat().st_size}"
        return pretrained.variants(source, lambda: genomes_of_vcf(world, cohort.reference))

    def regression(train: Samples, head: str, letters: Letters) -> Array:
        known_variants = genome_baselines.Variants.of(train.letters, cohort.reference.letters)
        classes = len(train.classes[head])
        model = genome_baselines.logistic(
            known_variants, train.letters, train.labels[head], classes
        )
        return model(letters, np.ones(letters.shape[1], np.bool_))

    def features(fold: Any, letters: Letters) -> Array:
        known_variants = genome_baselines.Variants.of(fold.train.letters, cohort.reference.letters)
        return known_variants.presence(letters).astype(np.float64)

    return Kind(
        "mito",
        cohort,
        folder,
        tuple(changes),
        lambda fold: variants(),
        lambda fold: fold.letters,
        regression,
        features,
        f"{text}\n{weights}",
        kind,
        shipped_start=MITO_START,
        scratch_changes=("input.fewest=1",),  # everything there is to see in a few genomes
    )


def ancestry_kind(
    folder: Path,
    data: Path,
    seed: int,
    changes: Sequence[str],
    pretraining: Sequence[str],
    say: Say,
) -> Kind:
    """Barcodes; the networks are pretrained on those of all training people, without labels."""
    cohort = Cohort.read(data)
    panel, kind = cohort.panel, BarcodeInput(cohort.panel)
    plan, text = _without_early_stopping("barcodes", [*PRETRAINING["ancestry"], *pretraining])
    weights = _weights("ancestry")

    @cache
    def variants(number: int, fold: Any) -> dict[str, Bundle]:
        fold_folder = folder / f"pretrained-fold{number}"
        pretrained = VariantStore(fold_folder, plan, text, kind, weights, seed, say)
        rows = zip(fold.train.names, fold.train.letters, strict=True)
        return pretrained.variants(f"{cohort.digest()} {number}", lambda: rows)

    def regression(train_samples: Samples, head: str, letters: Letters) -> Array:
        train_copies, test_copies = (
            letters_to_genotypes(rows, panel) for rows in (train_samples.letters, letters)
        )
        train = baselines.logistic(ANCESTRY_C[head])
        return train(train_copies, train_samples.labels[head], len(train_samples.classes[head]))(
            test_copies
        )

    def features(fold: Any, letters: Letters) -> Array:
        del fold
        return letters_to_genotypes(letters, panel).astype(np.float64)

    return Kind(
        "ancestry",
        cohort,
        folder,
        tuple(changes),
        lambda fold: variants(fold.number, fold),
        lambda fold: fold.test["0"],
        regression,
        features,
        f"{text}\n{weights}",
        kind,
    )


def only_populations(samples: Samples) -> Samples:
    """The samples with the labels of populations only, the coarser first."""
    labels = {head: samples.labels[head] for head in HEADS}
    classes = {head: samples.classes[head] for head in HEADS}
    chosen = subset(samples, np.arange(len(samples)))
    return Samples(chosen.names, chosen.sequences, labels, classes, chosen.individuals)


def _without_early_stopping(name: str, changes: Sequence[str]) -> tuple[Recipe, str]:
    """A recipe of pretraining that takes all of its steps, and its text."""
    return recipe.read(name, ["optimization.patience=100000", *changes])


def _weights(kind: str) -> dict[str, dict[str, float]]:
    both = WEIGHTS[kind]
    return {"contrastive": {"contrastive": 1.0}, "masked": {"masked": 1.0}, "both": dict(both)}
