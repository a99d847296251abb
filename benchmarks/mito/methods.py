"""The rows of the mitochondrial table: the baselines, and our models trained anew in every fold."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from benchmarks.crossvalidation.baselines import Array
from benchmarks.crossvalidation.trials import Letters, Method, Outcome, Rows
from benchmarks.mito import genome_baselines
from benchmarks.mito.genome_baselines import Model, Variants, shares_of_nearest
from benchmarks.mito.genomes import COMPLETE, HALVES, GenomeFold, apply_mask, part_masks, part_of
from genomai_cli.alphabet import MISSING, reverse_complement
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.device import exact_precision
from genomai_cli.inference.classify import classify_records
from genomai_cli.inference.embed import Embedder
from genomai_cli.inputs.samples import Samples
from genomai_cli.phylogeny.genome_input import GenomeInput
from genomai_cli.records import SequenceRecord
from genomai_cli.training import finetuning, recipe

MIN_COUNT = 4  # people of a class in the training of our models
ROTATED, REVERSED = "rotated", "reversed"
Trainer = Callable[[Variants, Letters, Rows, int], Model]


@dataclass(frozen=True, eq=False)
class BaselineMethod:
    """A baseline on the variants of the training people; each head is trained by itself."""

    name: str
    train: Trainer
    placeholder: bool = False
    settings: str = ""

    def run(self, fold: GenomeFold) -> Outcome:
        """Train, then predict from every part of the genomes."""
        began = time.perf_counter()
        train_letters = fold.train.letters
        reference = fold.reference.letters
        variants = Variants.of(train_letters, reference, placeholder=self.placeholder)
        models = {
            head: self.train(variants, train_letters, labels, len(fold.train.classes[head]))
            for head, labels in fold.train.labels.items()
        }
        seconds = time.perf_counter() - began
        tables = {
            (condition, head): model(fold.letters, mask)
            for condition, mask in part_masks(len(fold.reference)).items()
            for head, model in models.items()
        }
        return Outcome(tables, seconds, len(variants.position))


@dataclass(frozen=True, eq=False)
class EmbeddingMethod:
    """The nearest neighbour by the cosine of a pretrained model's vectors, with its labels; no network has seen any."""

    pretrained: Bundle
    name: str = "embedding"

    @property
    def settings(self) -> str:
        """Which model it is."""
        return self.pretrained.weights_sha256

    def run(self, fold: GenomeFold) -> Outcome:
        """Compare complete genomes and halves with complete genomes."""
        began = time.perf_counter()
        train_vectors = self._vectors(fold.train.letters)
        seconds = time.perf_counter() - began
        tables = {}
        for condition, mask in part_masks(len(fold.reference)).items():
            if part_of(condition) not in (COMPLETE, HALVES):
                continue
            distance = 1 - self._vectors(apply_mask(fold.letters, mask)) @ train_vectors.T
            for head, labels in fold.train.labels.items():
                classes = len(fold.train.classes[head])
                tables[condition, head] = shares_of_nearest(distance, labels, classes)
        return Outcome(tables, seconds, len(self.pretrained.input.columns))

    def _vectors(self, letters: Letters) -> Array:
        """Vectors of length 1."""
        vectors = vectors_of(self.pretrained, letters)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class OurMethod:
    """A model trained by a recipe on the fold's training people, from scratch or beginning with a pretrained one."""

    name: str
    recipe: str
    start: Bundle | None = None
    changes: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    say: Callable[[str], None] = lambda _: None

    @property
    def settings(self) -> str:
        """The recipe as it is used, and what it begins with."""
        text = recipe.read(self.recipe, self.changes)[1]
        return f"{text}# start: {self.start.weights_sha256 if self.start else None}\n"

    def run(self, fold: GenomeFold) -> Outcome:
        """Train as `genomai train`, then predict as `genomai classify`."""
        plan, _ = recipe.read(self.recipe, self.changes)
        began = time.perf_counter()
        fitted = finetuning.fit(
            without_rare_classes(fold.train),
            plan,
            self.start.input if self.start else GenomeInput(fold.reference),
            seed=fold.seed,
            device=self.device,
            start=self.start,
            report=self._report,
        )
        seconds = time.perf_counter() - began
        bundle = fitted.bundle
        bundle.classifier.to(dtype=exact_precision(self.device)).eval().requires_grad_(False)
        tables = {}
        for condition, sequences in test_sequences(fold):
            tables |= class_probabilities(bundle, condition, sequences, fold.train.classes)
        return Outcome(tables, seconds, len(bundle.input.columns))

    def _report(self, member: int, step: int, loss: float, best: float) -> None:
        self.say(
            f"{self.name}: network {member + 1}, step {step}, loss {loss:.3f}, best {best:.3f}"
        )


def test_sequences(fold: GenomeFold) -> Iterator[tuple[str, list[str]]]:
    """The genomes as they are tested: every part of them, and complete ones cut open elsewhere, on either strand."""
    for condition, mask in part_masks(len(fold.reference)).items():
        yield condition, as_strings(apply_mask(fold.letters, mask))
    rng = np.random.default_rng([fold.seed, 0x2072, fold.number])
    rotated_rows = [rotated(row, rng) for row in fold.letters]
    yield ROTATED, [row.tobytes().decode("ascii") for row in rotated_rows]
    yield REVERSED, [reverse_complement(row).tobytes().decode("ascii") for row in rotated_rows]


def rotated(letters_L: Letters, rng: np.random.Generator) -> Letters:
    """The genome without its unknown letters, cut open anywhere."""
    known = letters_L[letters_L != ord("N")]
    return np.roll(known, int(rng.integers(len(known))))


def without_rare_classes(samples: Samples) -> Samples:
    """The samples without the labels of rare classes: the people of one may all be held out at once."""
    labels, classes = {}, {}
    for head, numbers in samples.labels.items():
        counts = np.bincount(numbers[numbers != MISSING], minlength=len(samples.classes[head]))
        retained = np.flatnonzero(counts >= MIN_COUNT)
        new_numbers = np.full(len(counts) + 1, MISSING)
        new_numbers[retained] = np.arange(len(retained))
        labels[head] = new_numbers[numbers]
        classes[head] = [samples.classes[head][number] for number in retained]
    return replace(samples, labels=labels, classes=classes)


def class_probabilities(
    bundle: Bundle, condition: str, sequences: list[str], classes: dict[str, list[str]]
) -> dict[tuple[str, str], Array]:
    """The probabilities (n, classes) of every head, NaN where UNKNOWN; 0 for a class that the model does not know."""
    records = (SequenceRecord(str(number), text) for number, text in enumerate(sequences))
    calls = list(classify_records(bundle, records))
    tables = {}
    for head, labels in bundle.heads.items():
        columns = [classes[head].index(label) for label in labels]
        table = np.zeros((len(calls), len(classes[head])))
        for row, call in zip(table, calls, strict=True):
            probabilities = call.probabilities[head]
            row[columns] = np.nan if probabilities is None else probabilities
        tables[condition, head] = table
    return tables


def vectors_of(bundle: Bundle, letters: Letters) -> Array:
    """Vectors (n, width) as of `genomai embed`."""
    embeddings = Embedder(bundle).embed(records_of(letters))
    return np.stack([embedding.vector for embedding in embeddings]).astype(np.float64)


def records_of(letters: Letters) -> Iterator[SequenceRecord]:
    """The genomes as records."""
    return (SequenceRecord(str(number), text) for number, text in enumerate(as_strings(letters)))


def as_strings(letters: Letters) -> list[str]:
    """The rows as strings."""
    return [row.tobytes().decode("ascii") for row in letters]


def baselines() -> list[Method]:
    """Every baseline, the simplest first."""
    return [
        BaselineMethod(
            "majority",
            lambda variants, letters, labels, classes: genome_baselines.majority(labels, classes),
        ),
        BaselineMethod("nearest", genome_baselines.nearest),
        BaselineMethod("bayes", genome_baselines.bayes),
        BaselineMethod("logistic", genome_baselines.logistic),
        BaselineMethod("logistic-3107", genome_baselines.logistic, placeholder=True),
    ]
