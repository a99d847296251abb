"""The networks that label efficiency begins with: pretrained without labels, one for every objective, and kept.

The variants of one kind of network differ in their objectives alone: corpus, batches and steps are the same.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.crossvalidation.trials import Letters
from genomai_cli.alphabet import as_letters
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.bundles.writing import Extras
from genomai_cli.formats.streams import open_inputs
from genomai_cli.inputs.base import InputKind
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.vcf_genomes import read_genomes
from genomai_cli.training import corpus_writer
from genomai_cli.training.corpus import Corpus, is_finished
from genomai_cli.training.pretraining import RunContext, piece_cutter, pretrain
from genomai_cli.training.progress import StepMetrics
from genomai_cli.training.recipe import Recipe

KEY, CORPUS, CARD = "key.txt", "corpus", "A network pretrained for a benchmark.\n"
EVERY = 100  # steps between lines of progress

Rows = Iterable[tuple[str, Letters]]
Weights = Mapping[str, Mapping[str, float]]
"""The objectives of every variant, weighted."""


@dataclass(frozen=True)
class VariantStore:
    """Trains the variants of one recipe on one corpus in a folder, or loads them from there."""

    folder: Path
    recipe: Recipe
    text: str  # of the recipe
    input: InputKind
    weights: Weights
    seed: int
    say: Callable[[str], None] = lambda _: None

    def variants(self, source: str, rows: Callable[[], Rows]) -> dict[str, Bundle]:
        """The variants by name; `source` is a digest of what `rows` returns. All are trained again if anything has
        changed."""
        found = {name: self._load(name, source) for name in self.weights}
        if None not in found.values():
            return {name: bundle for name, bundle in found.items() if bundle is not None}
        corpus = self._corpus(source, rows)
        return {
            name: bundle or self._pretrain(name, source, corpus) for name, bundle in found.items()
        }

    def _load(self, name: str, source: str) -> Bundle | None:
        file = self.folder / name / KEY
        if not file.is_file() or file.read_text(encoding="utf-8") != self._key(name, source):
            return None
        return bundles.load(str(self.folder / name), torch.device("cpu"))

    def _key(self, name: str, source: str) -> str:
        text = f"{self.text}\n{dict(self.weights[name])}\n{self.seed}\n{source}\n"
        return hashlib.sha256(text.encode()).hexdigest()

    def _recipe(self, name: str) -> Recipe:
        return replace(self.recipe, name=name, objectives=dict(self.weights[name]))

    def _corpus(self, source: str, rows: Callable[[], Rows]) -> Corpus:
        folder = self.folder / CORPUS
        source_file = folder / KEY
        if not (
            is_finished(folder) and source_file.is_file() and source_file.read_text() == source
        ):
            shutil.rmtree(folder, ignore_errors=True)
            cut, holdout = piece_cutter(self.recipe, self.input), self.recipe.split.holdout
            corpus_writer.write(folder, rows(), cut, holdout=holdout, seed=self.seed)
            source_file.write_text(source)
        return Corpus.open(folder)

    def _pretrain(self, name: str, source: str, corpus: Corpus) -> Bundle:
        recipe, key = self._recipe(name), self._key(name, source)
        work = self.folder / f"{name}-{key[:12]}.training"  # a run that was interrupted goes on
        work.mkdir(parents=True, exist_ok=True)

        def report(metrics: StepMetrics) -> None:
            if metrics.held_out is not None or metrics.step % EVERY == 0:
                self.say(
                    f"{self.folder.name}, {name}: step {metrics.step}, loss {metrics.loss:.4f}"
                )

        context = RunContext(work=work, report=report)
        pretrained = pretrain(corpus, recipe, self.input, seed=self.seed, context=context)
        facts = pretrained.facts
        self.say(
            f"{self.folder.name}, {name}: held out {facts['held_out']}, without learning "
            f"{facts['baseline']}, {facts['seconds']} s"
        )
        bundles.save(pretrained.bundle, self.folder / name, Extras(CARD, repr(recipe), {KEY: key}))
        shutil.rmtree(work)
        return bundles.load(str(self.folder / name), torch.device("cpu"))


def genomes_of_vcf(file: Path, reference: Reference) -> Rows:
    """The genomes of a VCF that lists variants only, in the reference's coordinates."""
    for cohort in read_genomes(open_inputs([file]), reference, absent_is_ref=True):
        for record in cohort.records():
            yield record.name, as_letters(record.held)
