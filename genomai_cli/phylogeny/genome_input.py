"""TODO genomai_cli.phylogeny.genome_input

What a network of genomes reads: the sites at which they differ, and the variants there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli import tokenizers
from genomai_cli.augmentations import outside
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import (
    _MISSING,
    CALIBRATED_HIDDEN,
    JUDGED_HIDDEN,
    Batch,
    Letters,
    Material,
    Places,
    Reading,
    Views,
    ViewsRecipe,
    _labels,
)
from genomai_cli.mapping.mapper import Anchored, Anchorer
from genomai_cli.mapping.reference import BASES, FEWEST_LETTERS, Reference, VariableSites
from genomai_cli.objectives.base import MISSING
from genomai_cli.phylogeny.lineages import Lineages, lineages_of, variants_of
from genomai_cli.phylogeny.regression_fit import fit_regression
from genomai_cli.phylogeny.variant_network import ProfileNetwork, VariantTable, known_variants
from genomai_cli.records import SequenceRecord
from genomai_cli.registry import complete_config
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.training.corpus import Corpus
from genomai_cli.training.labelled_data import Rows, Samples
from genomai_cli.training.recipe import Recipe


class GenomeViews:
    """Views of anchored genomes, one letter a site; `places` (S,) tells where on the genome, from 0 to 1.

    What is missing of a genome is mostly a stretch (a partial sequence) and sometimes single letters.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        places: NDArray[np.float64],
        tokenizer: Tokenizer,
        recipe: ViewsRecipe,
    ) -> None:
        self.samples, self.places, self.recipe = samples, places, recipe
        words = [int(tokenizer.encode(chr(code))[0]) for code in range(128)]
        self.ids = np.array(words, np.int8)[letters]
        self.unknown = words[ord("N")]

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        shares = rng.random(len(rows)) * self.recipe.hide
        shares *= rng.random(len(rows)) < self.recipe.hide_often
        hidden_BS = rng.random((len(rows), len(self.places)), dtype=np.float32) < shares[:, None]
        lengths = np.where(rng.random(len(rows)) < self.recipe.partial, rng.random(len(rows)), 1.0)
        return self._batch(rows, hidden_BS | outside(self.places, lengths, rng))

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        rng = np.random.default_rng([seed, len(rows)])
        return self._batch(rows, outside(self.places, np.full(len(rows), 1 - hidden), rng))

    def _batch(self, rows: Rows, hidden_BS: NDArray[np.bool_]) -> Batch:
        ids_BS = np.where(hidden_BS, np.int8(self.unknown), self.ids[rows])
        share = torch.from_numpy((ids_BS != self.unknown).mean(axis=1))
        return Batch(torch.from_numpy(ids_BS).long(), 1, share, _labels(self.samples, rows))


KINDS = ("profile", "lineages")  # of networks that read genomes


def sites_to_read(
    given: VariableSites | None,
    counts: Callable[[], NDArray[np.int64]],
    reference: Reference,
    recipe: Recipe,
) -> VariableSites:
    """The sites that are given, or else where the genomes with these letter counts (L, 4) differ.

    Raises TrainingError if they do so nowhere, or if the recipe's network reads no genomes.
    """
    if recipe.network["kind"] not in KINDS:
        raise TrainingError(
            f"recipe {recipe.name}: anchored genomes need a network of kind {' or '.join(KINDS)}"
        )
    sites = given or VariableSites.of(counts(), reference, recipe.input.fewest)
    if not len(sites):
        raise TrainingError("the genomes differ nowhere: there is nothing to learn from")
    return sites


def sizes(sites: VariableSites, recipe: Recipe) -> dict[str, int]:
    """The sizes of the network that follow from the sites."""
    known = known_variants(torch.from_numpy(sites.counts), recipe.input.fewest)
    return {"sites": len(sites), "variants": int(known.sum())}


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
        self.sites = sites_to_read(
            sites, lambda: letter_counts(letters_NL[learn]), reference, recipe
        )
        self.letters_NS = letters_NL[:, self.sites.positions]

    def sizes(self) -> dict[str, Any]:
        return sizes(self.sites, self.recipe)

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


def letter_counts(letters_NL: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many of the genomes have each of the bases A C G T at each position (L, 4)."""
    return np.stack([(letters_NL == ord(base)).sum(axis=0) for base in BASES], axis=1)


LEAST_IDENTITY = 0.95  # of people 0.993, Neanderthals 0.988, the chimpanzee 0.91
MOST_EXPECTED, EXPECTED = (
    10,
    0.04,
)  # differences of people in the control region, and their share of letters


class AnchoredReader:
    """Reads the letters at the model's sites of genomes that belong to its reference, complete or partial.

    A record that does not belong to the reference, or not to its species, has no pieces.
    """

    def __init__(self, bundle: Bundle, reference: Reference) -> None:
        self.tokenizer = bundle.tokenizer
        self.anchorer = Anchorer(reference)
        everywhere = np.arange(len(reference))
        self.sites = everywhere if bundle.sites is None else bundle.sites.positions

    def __call__(self, record: SequenceRecord) -> Reading:
        anchored = self.anchorer(record.sequence)
        nothing = Reading(record.name, [], 0, len(self.sites))
        if anchored is None:
            letters = sum(map(record.sequence.count, "ACGT"))
            return replace(nothing, identity=0.0) if letters >= FEWEST_LETTERS else nothing
        identity = identity_of(anchored)
        if identity < LEAST_IDENTITY:
            return replace(nothing, identity=identity)
        letters_S = anchored.letters[self.sites]
        used = int((letters_S != _MISSING).sum())
        ids = self.tokenizer.encode(letters_S.tobytes().decode("ascii"))
        return replace(nothing, pieces=[ids], letters=used, identity=identity)


def identity_of(anchored: Anchored) -> float:
    """How like the reference, 0 to 1. A few differences say nothing: in the control region people have them, and
    a short sequence may hold nothing else. A record that is mostly something else has 0."""
    if anchored.left_out > anchored.aligned:
        return 0.0
    expected = min(MOST_EXPECTED, EXPECTED * anchored.compared)
    return 1 - max(0.0, anchored.differences - expected) / max(1, anchored.compared)


def _grown(
    recipe: Recipe, corpus: Corpus, places: Places, sites: VariableSites | None
) -> Lineages | None:
    """The lineages of the genomes, for a network of them."""
    if recipe.network["kind"] != "lineages":
        return None
    if places.reference is None or sites is None:
        raise TrainingError(f"recipe {recipe.name}: only anchored genomes have lineages")
    least = int(complete_config(recipe.network)["least"])
    table = variants_of(sites, places.reference, recipe.input.fewest)
    return lineages_of(corpus, table, tokenizers.from_config(recipe.tokenizer), least)
