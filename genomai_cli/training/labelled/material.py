"""What the samples of a run are made of: barcodes of a panel, anchored genomes, or plain sequences.

A material knows what the letters of its samples mean: which sizes a network gets from that, which tables it is
given before it learns, and how its samples become batches. Shape suffixes: N samples, S sites, L letters.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.anchoring.reference import Reference
from genomai_cli.anchoring.sites import BASES, VariableSites
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import TrainingError
from genomai_cli.nets.classifier import Classifier, Evidence, complete_config
from genomai_cli.nets.profile import ProfileNetwork, VariantTable
from genomai_cli.nets.sites import SitesNetwork
from genomai_cli.objectives.labelled import MISSING
from genomai_cli.panels.barcode import (
    copies_of_letters,
    genotypes_to_letters,
    letters_to_genotypes,
)
from genomai_cli.panels.informativeness import most_informative
from genomai_cli.panels.panel import Panel
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import letters_of_words
from genomai_cli.training.labelled.frequencies import fit_likelihood
from genomai_cli.training.labelled.regression import fit_regression
from genomai_cli.training.labelled.samples import Rows, Samples
from genomai_cli.training.labelled.views import BarcodeViews, GenomeViews, SequenceViews, Views
from genomai_cli.training.recipe import ANCHORED, BARCODE, Recipe
from genomai_cli.training.unlabelled import genomes

JUDGED_HIDDEN = (0.0, 0.5, 0.85)  # shares of sites hidden in the validation loss
CALIBRATED_HIDDEN = (0.0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99)


class Material(ABC):
    """What the samples of a run are made of."""

    panel: Panel | None = None
    reference: Reference | None = None
    sites: VariableSites | None = None
    judged: tuple[float, ...] = (0.0,)  # shares of letters to hide when judging
    calibrated: tuple[float, ...] = (0.0,)  # and when calibrating

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """The sizes of a network that follow from the material, as its config names them."""

    @abstractmethod
    def fill(self, classifier: Classifier) -> None:
        """Give the networks what they know without learning."""

    @abstractmethod
    def views(self, learn: Rows) -> Views:
        """Batches of the samples, of which the rows `learn` may be mixed with each other."""

    def evidence(self, rows: Rows) -> Evidence:
        """What these rows say about the classes without a network, as the recipe asks for."""
        raise NotImplementedError  # `material` has refused the recipe


class Barcodes(Material):
    """Samples that are barcodes of a panel, cut down to its best sites if the recipe asks for that."""

    panel: Panel
    calibrated = CALIBRATED_HIDDEN

    def __init__(
        self, samples: Samples, recipe: Recipe, tokenizer: Tokenizer, panel: Panel, learn: Rows
    ) -> None:
        self.samples, self.recipe, self.tokenizer = samples, recipe, tokenizer
        self.panel = panel
        self.copies_NS = letters_to_genotypes(samples.letters, panel)
        self.judged = JUDGED_HIDDEN if recipe.views.hide else (0.0,)
        best = recipe.input.best_sites
        if best is not None and best < len(panel):
            chosen = self._best_sites(best, learn)
            self.panel, self.copies_NS = panel.subset(chosen), self.copies_NS[:, chosen]

    def _best_sites(self, best: int, learn: Rows) -> NDArray[np.int64]:
        head = self.recipe.input.best_for or next(iter(self.samples.labels))
        if head not in self.samples.labels:
            raise TrainingError(f"input.best_for is the head {head!r}, which has no labels")
        groups = self.samples.labels[head]
        learn = learn[groups[learn] != MISSING]
        return most_informative(self.copies_NS[learn], groups[learn], best)

    def sizes(self) -> dict[str, Any]:
        if self.recipe.network["kind"] == "sites":
            return {"sites": len(self.panel)}
        return _words(self.tokenizer)

    def fill(self, classifier: Classifier) -> None:
        """The meaning of the words at each site, and the frequencies of its alleles."""
        if classifier.genotypes is None:
            return
        words = letters_of_words(self.tokenizer.vocabulary)
        table = copies_of_letters(words, self.panel).T
        classifier.genotypes.table.copy_(torch.from_numpy(table.copy()))
        known = self.copies_NS >= 0
        total = np.maximum(2 * known.sum(axis=0), 1)
        frequency = torch.from_numpy(np.where(known, self.copies_NS, 0).sum(axis=0) / total).float()
        for member in classifier.members:
            if isinstance(member, SitesNetwork):
                member.frequency.copy_(frequency)

    def views(self, learn: Rows) -> Views:
        letters = genotypes_to_letters(self.copies_NS, self.panel)
        haplotypes = self.recipe.input.haplotypes
        recipe = self.recipe.views
        return BarcodeViews(
            self.samples, letters, learn, self.tokenizer, recipe, haplotypes=haplotypes
        )

    def evidence(self, rows: Rows) -> Evidence:
        recipe = self.recipe.likelihood
        assert recipe is not None
        labels = self.samples.labels[recipe.head]
        rows = rows[labels[rows] != MISSING]
        return fit_likelihood(
            self.copies_NS[rows],
            labels[rows],
            len(self.samples.classes[recipe.head]),
            axes=recipe.axes,
            shrinkage=recipe.shrinkage,
        )


class Genomes(Material):
    """Samples that are genomes in the coordinates of a reference, read at the sites where genomes differ.

    The sites, and the letters that count as variants there, are those of the model begun from, or else
    those of the samples to learn from.
    """

    sites: VariableSites
    reference: Reference
    judged = JUDGED_HIDDEN
    calibrated = CALIBRATED_HIDDEN

    def __init__(
        self,
        samples: Samples,
        recipe: Recipe,
        tokenizer: Tokenizer,
        reference: Reference,
        sites: VariableSites | None,
        learn: Rows,
    ) -> None:
        self.samples, self.recipe, self.tokenizer = samples, recipe, tokenizer
        self.reference = reference
        letters_NL = samples.letters
        self.sites = genomes.sites_to_read(
            sites, lambda: letter_counts(letters_NL[learn]), reference, recipe
        )
        self.letters_NS = letters_NL[:, self.sites.positions]

    def sizes(self) -> dict[str, Any]:
        return genomes.sizes(self.sites, self.recipe)

    def fill(self, classifier: Classifier) -> None:
        """Which variants there are, and how frequent they are."""
        for member in classifier.members:
            assert isinstance(member, ProfileNetwork)
            member.table.learn(torch.from_numpy(self.sites.counts), self.recipe.input.fewest)

    def views(self, learn: Rows) -> Views:
        del learn  # genomes are not mixed: they are inherited whole
        places = self.sites.positions / len(self.reference)
        recipe = self.recipe.views
        return GenomeViews(self.samples, self.letters_NS, places, self.tokenizer, recipe)

    def evidence(self, rows: Rows) -> Evidence:
        recipe = self.recipe.regression
        assert recipe is not None
        labels = self.samples.labels[recipe.head]
        rows = rows[labels[rows] != MISSING]
        ids_NS = self.views(rows).plain(rows).ids
        count = len(self.samples.classes[recipe.head])
        table = VariantTable(len(self.sites), self.sizes()["variants"])
        table.learn(torch.from_numpy(self.sites.counts), self.recipe.input.fewest)
        classes_N = torch.from_numpy(labels[rows])
        return fit_regression(table, ids_NS, classes_N, count, penalty=recipe.penalty)


class Sequences(Material):
    """Samples that are sequences of any length."""

    def __init__(self, samples: Samples, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.samples, self.recipe, self.tokenizer = samples, recipe, tokenizer

    def sizes(self) -> dict[str, Any]:
        return _words(self.tokenizer)

    def fill(self, classifier: Classifier) -> None:
        del classifier  # what a word means has to be learnt

    def views(self, learn: Rows) -> Views:
        del learn
        longest = int(complete_config(self.recipe.network)["positions"])
        return SequenceViews(self.samples, self.tokenizer, self.recipe.views, longest=longest)


def material(
    samples: Samples,
    recipe: Recipe,
    tokenizer: Tokenizer,
    *,
    panel: Panel | None,
    reference: Reference | None,
    start: Bundle | None,
    learn: Rows,
) -> Material:
    """The material of the recipe's kind of input; what depends on samples is taken from the rows `learn` alone.

    Raises TrainingError where the panel or the reference is missing, or is not for this kind of input.
    """
    kind = recipe.input.kind
    if (kind == BARCODE) != (panel is not None) or (kind == ANCHORED) != (reference is not None):
        raise TrainingError(
            f"recipe {recipe.name}: barcodes need a panel, anchored genomes a reference, sequences neither"
        )
    if (recipe.likelihood and kind != BARCODE) or (recipe.regression and kind != ANCHORED):
        raise TrainingError(
            "[likelihood] is for barcodes, whose sites are inherited apart, [regression] for anchored genomes"
        )
    if panel is not None:
        return Barcodes(samples, recipe, tokenizer, panel, learn)
    if reference is not None:
        sites = start.sites if start else None
        return Genomes(samples, recipe, tokenizer, reference, sites, learn)
    return Sequences(samples, recipe, tokenizer)


def letter_counts(letters_NL: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many of the genomes have each of the bases A C G T at each position (L, 4)."""
    return np.stack([(letters_NL == ord(base)).sum(axis=0) for base in BASES], axis=1)


def _words(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}
