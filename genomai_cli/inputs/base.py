"""What the samples of a run are made of: barcodes of a panel, anchored genomes, or plain sequences.

A material knows what the letters of its samples mean: which sizes a network gets from that, which tables it is
given before it learns, and how its samples become batches. Shape suffixes: N samples, S sites, L letters.

Batches: rows of the samples turned into ids, varied while training and plain while judging.

What of a record the network reads: a barcode, its two haplotypes, an anchored genome, or a sequence's windows.

What the letters of a row of the corpus stand for.

What a recipe for unlabelled DNA needs, and what it may not be given.

Shape suffixes: B samples, S letters.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli import tokenizers
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.diffusion.denoisers import NoisedTokens
from genomai_cli.errors import TrainingError
from genomai_cli.mapping.reference import Reference, VariableSites
from genomai_cli.population.labels import HaplotypeRows, Phenotypes
from genomai_cli.population.panel import Panel
from genomai_cli.population.phenotype_encoding import DescribedRows
from genomai_cli.population.phenotypes import Columns
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import Ids
from genomai_cli.training.labelled_data import Rows, Samples

if TYPE_CHECKING:
    from genomai_cli.training.recipe import Recipe

BARCODE, SEQUENCE, ANCHORED, PEOPLE = "barcode", "sequence", "anchored", "people"
KINDS = (BARCODE, SEQUENCE, ANCHORED, PEOPLE)


@dataclass(frozen=True)
class InputRecipe:
    """What a sample is: a `barcode` of a panel (read as two `haplotypes` or as it is), a `sequence`, a genome
    `anchored` to a reference, or `people`: both haplotypes and the `phenotypes`, columns from coarse to fine.

    `best_sites` keeps only so many sites of the panel, those most informative about `best_for`. An anchored
    genome is read where it varies: a letter counts as a variant if `fewest` genomes have it. The reference is
    `circular`, or else what its file says.
    """

    kind: str = SEQUENCE
    haplotypes: bool = False
    best_sites: int | None = None
    best_for: str | None = None
    fewest: int = 2
    circular: bool = False
    phenotypes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ViewsRecipe:
    """How samples are varied while training.

    `cross` is the share of samples made by crossing members of a class; `hide` the largest share of sites hidden,
    uniformly up to it, in the share `hide_often` of the samples; `partial` the share of genomes of which only a
    stretch is shown; `haploid` the share shown as one haplotype only; `reverse_complement` the share of sequences
    read on the other strand.
    """

    cross: float = 0.0
    hide: float = 0.0
    hide_often: float = 0.0
    partial: float = 0.0
    haploid: float = 0.0
    reverse_complement: float = 0.0


Letters = NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Ids (pieces * B, T), all first pieces before all second ones, and labels (B,) of every head.

    `share` (B,) is the part of each sample's letters that is known.
    """

    ids: Tensor
    pieces: int
    share: Tensor
    labels: dict[str, Tensor]

    def mean(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over each sample's pieces: (B, C)."""
        return {
            name: rows.reshape(self.pieces, -1, rows.shape[1]).mean(0)
            for name, rows in logits.items()
        }


class Views(Protocol):
    """Makes the batches of one set of samples."""

    def varied(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """The samples in these rows, changed at random as the recipe says."""

    def plain(self, rows: Rows, hidden: float = 0.0, seed: int = 0) -> Batch:
        """The samples as they are, with a share of their letters hidden."""


def _labels(samples: Samples, rows: Rows) -> dict[str, Tensor]:
    return {head: torch.from_numpy(labels[rows]) for head, labels in samples.labels.items()}


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


def material(
    samples: Samples,
    recipe: "Recipe",
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
    from genomai_cli.inputs.sequences import Sequences
    from genomai_cli.phylogeny.genome_input import Genomes
    from genomai_cli.population.barcode_input import Barcodes

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


def _words(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"vocabulary": len(tokenizer.vocabulary), "pad_id": tokenizer.pad_id}


_MISSING = ord("N")


@dataclass(frozen=True, eq=False)
class Reading:
    """A record as the network reads it: ids of its pieces, and how many letters there are to use.

    `letters` are those that mean something to the model, of `known` that it could use; `heterozygous`
    of them stand for two bases. `identity` is how like the model's reference an anchored genome is, 0 for a
    record that does not belong to it, None for a model without a reference and a record without letters.
    """

    name: str
    pieces: list[Ids]
    letters: int
    known: int
    heterozygous: int = 0
    identity: float | None = None

    @property
    def share(self) -> float:
        """The part of what the model can use that the record has."""
        return self.letters / self.known if self.known else 0.0


Reader = Callable[[SequenceRecord], Reading]


def reader(bundle: Bundle, panels: Mapping[str, Panel]) -> Reader:
    """What turns records into readings for this model.

    `panels` are other panels whose barcodes are accepted too, where they hold the model's sites.
    """
    from genomai_cli.inputs.sequences import SequenceReader
    from genomai_cli.phylogeny.genome_input import AnchoredReader
    from genomai_cli.population.barcode_input import BarcodeReader

    if bundle.panel is not None:
        return BarcodeReader(bundle, bundle.panel, panels)
    if bundle.reference is not None:
        return AnchoredReader(bundle, bundle.reference)
    return SequenceReader(bundle)


@dataclass(frozen=True)
class Places:
    """What the letters of a row stand for: the sites of a panel, or those of a reference that are read.

    Of a reference the corpus holds whole genomes; where `sites` are not given, they follow from the corpus. With
    `phenotypes`, which may be none, a row is a person; with `columns`, a person's barcode and phenotype record.
    """

    panel: Panel | None = None
    reference: Reference | None = None
    sites: VariableSites | None = None
    phenotypes: Phenotypes | None = None
    columns: Columns | None = None

    @property
    def people(self) -> HaplotypeRows | None:
        """How the rows hold people, if they do."""
        if self.panel is None or self.phenotypes is None:
            return None
        return HaplotypeRows(len(self.panel), len(self.phenotypes.labels))

    @property
    def described(self) -> DescribedRows | None:
        """How the rows hold people with phenotype records, if they do."""
        if self.panel is None or self.columns is None:
            return None
        return DescribedRows(len(self.panel), self.columns)

    @property
    def row(self) -> int | None:
        """How many letters a record of the corpus has; None for sequences of any length."""
        if self.people is not None:
            return len(self.people)
        if self.described is not None:
            return len(self.described)
        if self.panel is not None:
            return len(self.panel)
        return len(self.reference) if self.reference is not None else None


NOWHERE = Places()


def require_places(recipe: "Recipe", places: Places) -> None:
    """TrainingError unless the places are those that the recipe's input and objectives need."""
    kind = recipe.input.kind
    if kind == PEOPLE and set(recipe.objectives) != {"diffusion"}:
        raise TrainingError(f"recipe {recipe.name}: people are learnt from by diffusion alone")
    if "diffusion" in recipe.objectives:
        _require_diffusion(recipe)
    _require_columns(recipe, places)
    given = (places.panel is not None, places.reference is not None)
    if given != (kind in (BARCODE, PEOPLE), kind == ANCHORED):
        raise TrainingError(
            f"recipe {recipe.name}: barcodes need a panel, anchored genomes a reference, sequences neither"
        )
    best = recipe.input.best_sites
    if best is not None and places.panel is not None and best < len(places.panel):
        raise TrainingError(
            f"input.best_sites = {best} of {len(places.panel)} sites are chosen by labels, of which there "
            "are none here: give a --panel of so many sites"
        )


def _require_columns(recipe: "Recipe", places: Places) -> None:
    if {places.columns is None} != {name != "crossmodal" for name in recipe.objectives}:
        raise TrainingError(
            f"recipe {recipe.name}: the objective crossmodal needs phenotypes, and is the only one that does"
        )
    if (recipe.network["kind"] == "crossmodal") != (places.columns is not None):
        raise TrainingError(
            f"recipe {recipe.name}: the objective crossmodal is the one for networks of kind crossmodal"
        )
    groups = recipe.crossmodal.groups
    if places.columns is not None and groups:
        names = [category.name for category in places.columns.categories]
        if groups not in names:
            there = ", ".join(names) or "none"
            raise TrainingError(f"crossmodal.groups: no category {groups!r} (there are: {there})")


def _require_diffusion(recipe: "Recipe") -> None:
    doubting = "denoiser" if recipe.input.kind == PEOPLE else "transformer"
    if recipe.input.kind != PEOPLE:
        try:
            NoisedTokens.of(tokenizers.from_config(recipe.tokenizer))
        except ValueError as error:
            raise TrainingError(f"recipe {recipe.name}: {error}") from error
    kernel, _ = recipe.diffusion.process
    if kernel.substitutions and recipe.network["kind"] != doubting:
        raise TrainingError(
            f"recipe {recipe.name}: diffusion.kernel = {kernel.name!r} needs a network of kind {doubting}"
        )
