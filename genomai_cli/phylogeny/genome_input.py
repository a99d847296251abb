"""Genomes without recombination, mapped to a reference: read at the sites where genomes differ.

Shape suffixes: N genomes, B genomes of a batch, S sites, L positions of the reference, A letters that are counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli import tokenizers
from genomai_cli.alphabet import MISSING, UNKNOWN_LETTER
from genomai_cli.augmentations import outside_arcs
from genomai_cli.backbones.base import complete_config, network_class
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError, InputError, TrainingError, UsageError
from genomai_cli.inputs.base import (
    CALIBRATION_MASKED_SHARES,
    FEW_LETTERS,
    VALIDATION_MASKED_SHARES,
    FlagText,
    InputKind,
    Model,
    ModelInput,
    Reader,
    Recipe,
)
from genomai_cli.inputs.samples import (
    Letters,
    Rows,
    SampleRows,
    Samples,
    TrainingBatch,
    TrainingRows,
    Views,
    labels_of,
    observed_letters,
)
from genomai_cli.mapping.mapper import MappedSequence, Mapper, RecordMapper
from genomai_cli.mapping.reference import MIN_LETTERS, Reference, VariableSites
from genomai_cli.objectives.base import Alphabet
from genomai_cli.phylogeny.lineages import Lineages, fit_lineages, variant_table_of
from genomai_cli.phylogeny.regression import VariantRegression, fit_regression
from genomai_cli.phylogeny.variant_network import GenomeNetwork, VariantTable, known_variants
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer

BASES = 4  # the first counted letters
MIN_IDENTITY = 0.95  # of people 0.993, Neanderthals 0.988, the chimpanzee 0.91
NOVEL_IDENTITY = 0.985  # below it; see LEAST_IDENTITY
# Differences of people in the control region, and their share of letters.
MAX_EXPECTED_DIFFERENCES, EXPECTED_DIVERGENCE = 10, 0.04


@dataclass(frozen=True)
class GenomeSettings:
    """A letter counts as a variant if `fewest` genomes have it. The reference is `circular`, or else what its file
    says."""

    kind: str = "anchored"
    haplotypes: bool = False
    fewest: int = 2
    circular: bool = False


@dataclass(frozen=True)
class GenomeViewsSettings:
    """How genomes are varied while training: `hide` is the largest share of sites masked, uniformly up to it, in
    the share `hide_often` of the genomes; `partial` the share of genomes of which only a stretch is shown."""

    hide: float = 0.0
    hide_often: float = 0.0
    partial: float = 0.0


@dataclass(frozen=True, eq=False)
class GenomeModelInput(ModelInput):
    """A genome as a network reads it; `identity` is that with the reference, 0 for a record that does not
    belong to it, None for one without enough letters."""

    identity: float | None = None


@dataclass(frozen=True, eq=False)
class GenomeInput(InputKind):
    """Genomes mapped to a reference, read at its variable `sites`; `lineages` are those of the genomes to train on, for
    networks of them."""

    reference: Reference
    sites: VariableSites | None = None
    lineages: Lineages | None = None

    name = "anchored"
    settings = GenomeSettings
    views_settings = GenomeViewsSettings
    evidence_kind = "regression"
    files_used = frozenset({"reference"})
    explain_alternative = (
        "it reads genomes by their differences from a reference; `genomai classify --probs` tells all labels' "
        "probabilities, and nothing tells what each letter adds"
    )
    calibration_masked_shares = CALIBRATION_MASKED_SHARES
    flag_texts: ClassVar[Mapping[str, FlagText]] = {
        "LOW_CALL_RATE": FEW_LETTERS,
        "NOVEL": FlagText(
            "Farther from the reference than human mitochondrial genomes are, or not of it at all.",
            "Do not use the label: another species or chromosome, a nuclear copy of mitochondrial DNA, or errors "
            "of assembly.",
        ),
    }  # fmt: skip

    # --- in a bundle

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The reference and the sites of the bundle; BundleError if it has no reference."""
        file, sites = (catalog.file_in(folder, n) for n in (catalog.REFERENCE, catalog.SITES))
        if file is None:
            path = folder / catalog.REFERENCE
            raise BundleError(f"{config.get('name')}: a model of genomes needs a reference, {path}")
        variable = VariableSites.read(sites) if sites else None
        expected = config["network"].get("sites")
        if variable is not None and expected not in (None, len(variable.positions)):
            count = len(variable.positions)
            raise BundleError(f"{sites}: {count} sites, where the network has {expected}")
        return cls(Reference.read(file), variable)

    def write(self, folder: Path) -> None:
        """Write the reference and the sites."""
        self.reference.write(folder / catalog.REFERENCE)
        if self.sites is not None:
            self.sites.write(folder / catalog.SITES)

    @property
    def coordinates(self) -> Reference:
        """The reference."""
        return self.reference

    @property
    def columns(self) -> Rows | None:
        """The positions of the sites."""
        return None if self.sites is None else self.sites.positions

    def evidence(self, config: Mapping[str, Any]) -> VariantRegression | None:
        """The logistic regression, if the config has one."""
        settings, network = config.get("regression"), config["network"]
        if settings is None:
            return None
        classes = len(settings["nesting"][settings["head"]])
        return VariantRegression(classes, network["sites"], network["variants"])

    # --- inference

    @cached_property
    def _mapper(self) -> RecordMapper:
        return RecordMapper(self.reference)

    def mapped(self, record: SequenceRecord) -> SequenceRecord | None:
        """The record in the coordinates of the reference."""
        return self._mapper.mapped(record)

    def reader(self, model: Model, other_inputs: Mapping[str, InputKind]) -> Reader:
        """See `GenomeReader`."""
        del other_inputs
        return GenomeReader(self, model.tokenizer)

    def flags(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> Iterator[str]:
        """LOW_CALL_RATE, NOVEL."""
        yield from super().flags(model_input, scores)
        if _identity(model_input, NOVEL_IDENTITY) < NOVEL_IDENTITY:
            yield "NOVEL"

    def unknown_flag(self, model_input: ModelInput) -> str:
        """NOVEL for what does not belong to the reference."""
        is_foreign = _identity(model_input, MIN_IDENTITY) < MIN_IDENTITY
        return "NOVEL" if is_foreign else super().unknown_flag(model_input)

    # --- training

    @classmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: InputKind | None
    ) -> InputKind:
        """The reference and the sites of the model to begin from, else the reference that was given."""
        if initial_input is not None and initial_input.name == cls.name:
            return initial_input
        file = files.get("reference")
        if file is None:
            raise UsageError(f"the recipe {recipe.name} reads mapped genomes: give a --reference")
        return cls(Reference.read(file, recipe.input.circular or None))

    @property
    def row_length(self) -> int | None:
        """The length of the reference."""
        return len(self.reference)

    def check_record(self, record: SequenceRecord) -> None:
        """InputError for a genome of another length than the reference's."""
        if len(record.sequence) != len(self.reference):
            message = f"{record.name} has {len(record.sequence)} letters, not {len(self.reference)}"
            raise InputError(message, path=record.path, line=record.line or None)

    def signature(self) -> dict[str, str]:
        """The reference's digest."""
        return {"reference": self.reference.sha256}

    def require_same(self, other: InputKind, name: str) -> None:
        """TrainingError for a model of another reference."""
        if self.signature() != other.signature():
            raise TrainingError(f"the model to begin from, {name}, has another reference")

    def validation_masked_shares(self, recipe: Recipe) -> tuple[float, ...]:
        """Some sites, or a stretch of the genome."""
        del recipe
        return VALIDATION_MASKED_SHARES

    def check(self, recipe: Recipe) -> None:
        """TrainingError for a network that reads no genomes."""
        if not issubclass(network_class(recipe.network.get("kind")), GenomeNetwork):
            raise TrainingError(
                f"recipe {recipe.name}: mapped genomes need a network of kind profile or lineages"
            )

    def fitted(self, rows: TrainingRows, recipe: Recipe) -> "GenomeInput":
        """Where the genomes to train on differ, unless that is given; TrainingError if they do so nowhere."""
        assert rows.counts is not None
        sites = self.sites or VariableSites.of(
            rows.counts[:, :BASES], self.reference, recipe.input.fewest
        )
        if not len(sites):
            raise TrainingError("the genomes differ nowhere: there is nothing to train on")
        return replace(self, sites=sites)

    def select_sites(
        self, samples: Samples, train: Rows, recipe: Recipe
    ) -> tuple["GenomeInput", Samples]:
        """The sites of the genomes to train on."""
        self.check(recipe)
        return self.fitted(SampleRows(samples, train), recipe), samples

    def prepared(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> "GenomeInput":
        """The same with the lineages of the genomes, if the recipe's network is one of them."""
        kind = network_class(recipe.network.get("kind"))
        if not (issubclass(kind, GenomeNetwork) and kind.reads_lineages):
            return self
        assert self.sites is not None
        min_genomes = int(complete_config(recipe.network)["least"])
        table = variant_table_of(self.sites, self.reference, recipe.input.fewest)
        return replace(self, lineages=fit_lineages(rows, table, tokenizer, min_genomes))

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The numbers of sites and variants, and of lineages if there are any."""
        del rows, tokenizer
        if self.lineages is not None:
            return self.lineages.sizes()
        return self._sizes(recipe)

    def _sizes(self, recipe: Recipe) -> dict[str, int]:
        assert self.sites is not None
        known = known_variants(torch.from_numpy(self.sites.counts), recipe.input.fewest)
        return {"sites": len(self.sites), "variants": int(known.sum())}

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """Which variants there are, and how frequent they are; and the lineages."""
        del rows, tokenizer
        assert self.sites is not None
        for network in classifier.networks:
            assert isinstance(network, GenomeNetwork)
            if self.lineages is not None:
                self.lineages.fill(network)
            else:
                self._fill(network.table, recipe)

    def _fill(self, table: VariantTable, recipe: Recipe) -> None:
        assert self.sites is not None
        table.fit(torch.from_numpy(self.sites.counts), recipe.input.fewest)

    def views(self, samples: Samples, train: Rows, recipe: Recipe, tokenizer: Tokenizer) -> Views:
        """See `GenomeViews`; genomes are not mixed: they are inherited whole."""
        del train
        assert self.sites is not None
        letters_NS = samples.letters[:, self.sites.positions]
        positions = self.sites.positions / len(self.reference)
        return GenomeViews(samples, letters_NS, positions, tokenizer, recipe.views)

    def fit_evidence(self, samples: Samples, rows: Rows, recipe: Recipe) -> Evidence:
        """The logistic regression of the recipe's head."""
        settings = recipe.evidence
        labels = samples.labels[settings.head]
        rows = rows[labels[rows] != MISSING]
        views = self.views(samples, rows, recipe, tokenizers.from_config(recipe.tokenizer))
        table = VariantTable(**self._sizes(recipe))
        self._fill(table, recipe)
        count = len(samples.classes[settings.head])
        classes_N = torch.from_numpy(labels[rows])
        return fit_regression(
            table, views.plain(rows).ids, classes_N, count, penalty=settings.penalty
        )

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """Rows of one set of sites."""
        del recipe
        assert rows.counts is not None
        return Alphabet(tokenizer, aligned=True, choices=observed_letters(rows.counts))


def _identity(read: ModelInput, default: float) -> float:
    assert isinstance(read, GenomeModelInput)
    return default if read.identity is None else read.identity


class GenomeReader:
    """Reads the letters at the model's sites of genomes that belong to its reference, complete or partial.

    A record that does not belong to the reference, or not to its species, has no windows.
    """

    def __init__(self, kind: GenomeInput, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.mapper = Mapper(kind.reference)
        everywhere = np.arange(len(kind.reference))
        self.positions = everywhere if kind.columns is None else kind.columns

    def __call__(self, record: SequenceRecord) -> GenomeModelInput:
        mapped = self.mapper(record.held)
        unread = GenomeModelInput(record.name, [], 0, len(self.positions))
        if mapped is None:
            letters = sum(map(record.sequence.count, "ACGT"))
            return replace(unread, identity=0.0) if letters >= MIN_LETTERS else unread
        identity = identity_of(mapped)
        if identity < MIN_IDENTITY:
            return replace(unread, identity=identity)
        letters_S = mapped.letters[self.positions]
        known = int((letters_S != UNKNOWN_LETTER).sum())
        ids = self.tokenizer.encode(letters_S.tobytes().decode("ascii"))
        return replace(unread, windows=[ids], used_letters=known, identity=identity)


def identity_of(mapped: MappedSequence) -> float:
    """The identity with the reference, 0 to 1. A few differences do not count: people have them in the control region,
    and a short sequence may hold nothing else. A record of which most is not mapped has 0."""
    if mapped.clipped > mapped.aligned:
        return 0.0
    expected = min(MAX_EXPECTED_DIFFERENCES, EXPECTED_DIVERGENCE * mapped.compared)
    return 1 - max(0.0, mapped.differences - expected) / max(1, mapped.compared)


class GenomeViews(Views):
    """Views of mapped genomes, one letter a site; `positions` (S,) are those on the genome, from 0 to 1.

    The missing part of a genome is mostly a stretch (a partial sequence) and sometimes single letters.
    """

    def __init__(
        self,
        samples: Samples,
        letters: Letters,
        positions: NDArray[np.float64],
        tokenizer: Tokenizer,
        settings: GenomeViewsSettings,
    ) -> None:
        self.samples, self.positions, self.settings = samples, positions, settings
        tokens = [int(tokenizer.encode(chr(code))[0]) for code in range(128)]
        self.ids = np.array(tokens, np.int8)[letters]
        self.unknown = tokens[UNKNOWN_LETTER]

    def varied(self, rows: Rows, rng: np.random.Generator) -> TrainingBatch:
        """See `Views`."""
        shares = rng.random(len(rows)) * self.settings.hide
        shares *= rng.random(len(rows)) < self.settings.hide_often
        masked_BS = rng.random((len(rows), len(self.positions)), dtype=np.float32) < shares[:, None]
        lengths = np.where(
            rng.random(len(rows)) < self.settings.partial, rng.random(len(rows)), 1.0
        )
        return self._batch(rows, masked_BS | outside_arcs(self.positions, lengths, rng))

    def plain(self, rows: Rows, masked_share: float = 0.0, seed: int = 0) -> TrainingBatch:
        """See `Views`."""
        rng = np.random.default_rng([seed, len(rows)])
        return self._batch(
            rows, outside_arcs(self.positions, np.full(len(rows), 1 - masked_share), rng)
        )

    def _batch(self, rows: Rows, masked_BS: NDArray[np.bool_]) -> TrainingBatch:
        ids_BS = np.where(masked_BS, np.int8(self.unknown), self.ids[rows])
        share = torch.from_numpy((ids_BS != self.unknown).mean(axis=1))
        return TrainingBatch(
            torch.from_numpy(ids_BS).long(), 1, share, labels_of(self.samples, rows)
        )
