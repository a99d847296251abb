"""TODO genomai_cli.population.barcode_input."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genomai_cli.augmentations import Pool, hide
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import InputError, TrainingError
from genomai_cli.inputs.base import (
    CALIBRATED_HIDDEN,
    JUDGED_HIDDEN,
    Batch,
    Letters,
    Material,
    Reading,
    Views,
    ViewsRecipe,
    _labels,
    _words,
)
from genomai_cli.objectives.base import MISSING
from genomai_cli.population.barcode import (
    copies_of_letters,
    genotypes_to_letters,
    join,
    letters_to_genotypes,
    resolve,
)
from genomai_cli.population.networks.genotype_mlp import SitesNetwork
from genomai_cli.population.networks.likelihood_fit import fit_likelihood
from genomai_cli.population.panel import GRCH37, GRCH38, Panel, most_informative
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import letters_of_words
from genomai_cli.training.labelled_data import Rows, Samples, nesting
from genomai_cli.training.recipe import Recipe


class BarcodeViews:
    """Views of barcodes, each one sequence of IUPAC letters or two resolved haplotypes.

    Crossing draws from the samples in `parents` only, the ones that a network may learn from.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        parents: Rows,
        tokenizer: Tokenizer,
        recipe: ViewsRecipe,
        *,
        haplotypes: bool,
    ) -> None:
        self.samples, self.letters = samples, letters
        self.tokenizer, self.recipe, self.haplotypes = tokenizer, recipe, haplotypes
        self.groups = np.unique(samples.groups(), return_inverse=True)[1]
        present, numbers = np.unique(self.groups[parents], return_inverse=True)
        self.pool = Pool.of(resolve(letters[parents]), numbers)
        self.pool_of_group = {int(group): number for number, group in enumerate(present)}

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        pair_2BS = resolve(self.letters[rows], rng)
        crossed = round(self.recipe.cross * len(rows))
        if crossed:
            groups = np.array([self.pool_of_group[int(g)] for g in self.groups[rows[:crossed]]])
            pair_2BS[:, :crossed] = [self.pool.cross(groups, rng) for _ in range(2)]
        alone = rng.random(len(rows)) < self.recipe.haploid
        pair_2BS[1, alone] = pair_2BS[0, alone]
        shares = rng.random(len(rows)) * self.recipe.hide
        shares *= rng.random(len(rows)) < self.recipe.hide_often
        hidden_BS = hide(join(*pair_2BS), shares, rng) == ord("N")
        pair_2BS = np.where(hidden_BS, np.uint8(ord("N")), pair_2BS)
        # One haplotype of each of many people teaches more than both of half as many.
        return self._batch(rows, pair_2BS[:1] if self.haplotypes else join(*pair_2BS)[None])

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        rng = np.random.default_rng([seed, len(rows)])
        letters_BS = hide(self.letters[rows], np.full(len(rows), hidden), rng)
        pair_2BS = resolve(letters_BS)
        return self._batch(rows, pair_2BS if self.haplotypes else letters_BS[None])

    def _batch(self, rows: Rows, pieces_PBS: Letters) -> Batch:
        flat = pieces_PBS.reshape(-1, pieces_PBS.shape[-1])
        ids = np.stack([self.tokenizer.encode(row.tobytes().decode("ascii")) for row in flat])
        share = torch.from_numpy((pieces_PBS[0] != ord("N")).mean(axis=1))
        labels = _labels(self.samples, rows)
        return Batch(torch.from_numpy(ids).long(), len(pieces_PBS), share, labels)


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
            nesting=nesting(self.samples, recipe.head),
        )


class BarcodeReader:
    """Reads barcodes of the model's panel, or of a larger panel that contains it."""

    def __init__(self, bundle: Bundle, panel: Panel, panels: Mapping[str, Panel]) -> None:
        self.model, self.panel = bundle.name, panel
        self.tokenizer = bundle.tokenizer
        self.haplotypes = bool(bundle.config["input"]["haplotypes"])
        self.places = {len(panel): np.arange(len(panel))}
        for other in panels.values():
            places = _places(panel, other)
            if places is not None:
                self.places.setdefault(len(other), places)

    def __call__(self, record: SequenceRecord) -> Reading:
        letters = np.frombuffer(record.sequence.encode("ascii"), np.uint8)
        places = self.places.get(len(letters))
        if places is None:
            sizes = " or ".join(map(str, sorted(self.places)))
            raise InputError(
                f"{record.name} has {len(letters)} letters: a barcode for the model {self.model} "
                f"has {sizes}",
                path=record.path,
                line=record.line or None,
            )
        copies = letters_to_genotypes(letters[places], self.panel)
        letters = genotypes_to_letters(copies, self.panel)
        strands = resolve(letters) if self.haplotypes else letters[None]
        pieces = [self.tokenizer.encode(row.tobytes().decode("ascii")) for row in strands]
        used = int((copies >= 0).sum())
        return Reading(record.name, pieces, used, len(self.panel), int((copies == 1).sum()))


def _places(panel: Panel, other: Panel) -> NDArray[np.int64] | None:
    """Where the sites of `panel` stand in `other`; None unless all of them do."""
    keys = [site_keys(p) for p in (panel, other)]
    index = {key: place for place, key in enumerate(keys[1])}
    found = [index.get(key) for key in keys[0]]
    if None in found:
        return None
    return np.array(found, np.int64)


def site_keys(panel: Panel) -> list[tuple[str, int, int, frozenset[str]]]:
    """What tells the sites of one panel in another: where they are, and their two alleles in either order."""
    columns = (panel.chrom, panel.positions[GRCH37].tolist(), panel.positions[GRCH38].tolist())
    alleles = [frozenset(pair) for pair in zip(panel.ref, panel.alt, strict=True)]
    return list(zip(*columns, alleles, strict=True))
