"""Barcodes of a panel: one IUPAC letter a site, read as they are or as two resolved haplotypes.

Shape suffixes: N samples, B samples of a batch, P windows (haplotypes), S sites, A letters that are counted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli import tokenizers
from genomai_cli.alphabet import MISSING
from genomai_cli.backbones.base import network_class
from genomai_cli.backbones.classifier import Classifier, Evidence
from genomai_cli.bundles import catalog
from genomai_cli.errors import TrainingError
from genomai_cli.inputs.base import (
    LOW_CALL_RATE_BELOW,
    VALIDATION_MASKED_SHARES,
    InputKind,
    Measure,
    Model,
    ModelInput,
    Reader,
    Recipe,
    ReferenceSpace,
)
from genomai_cli.inputs.samples import (
    COUNTED,
    Letters,
    Rows,
    Samples,
    TrainingRows,
    Views,
    observed_letters,
)
from genomai_cli.inputs.sequences import vocabulary_sizes
from genomai_cli.objectives.base import Alphabet
from genomai_cli.population import barcode_calls
from genomai_cli.population.barcode import (
    copies_of_letters,
    genotypes_to_letters,
    is_haplotype,
    letters_to_genotypes,
    require_barcode,
    resolve,
)
from genomai_cli.population.barcode_reader import BarcodeReader
from genomai_cli.population.barcode_views import BarcodeViews, BarcodeViewsSettings
from genomai_cli.population.measures import measures_of, reference_space_of
from genomai_cli.population.networks.genotype_mlp import GenotypeLookup
from genomai_cli.population.networks.likelihood import PopulationLikelihood
from genomai_cli.population.networks.likelihood_fit import fit_likelihood, shrunken_frequencies
from genomai_cli.population.networks.novelty_fit import fit_novelty
from genomai_cli.population.networks.novelty_trials import LabelledGenotypes
from genomai_cli.population.panel import Panel, most_informative
from genomai_cli.population.panel_files import panel_in, panel_or_default
from genomai_cli.population.panel_input import PanelInput
from genomai_cli.population.structure import Structure, fit_structure
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.base import letters_of_tokens
from genomai_cli.training.labelled_data import nesting


@dataclass(frozen=True)
class BarcodeSettings:
    """A barcode is read as two `haplotypes`, or as it is. `best_sites` keeps only so many sites of the panel, those
    most informative about the head `best_for`. `mixtures` are labels whose members are themselves mixtures of the
    coarser labels, and no sources of others (`population.structure`). `strata` is a column of the labels, finer than
    the heads, that is used in training only (`Samples.strata`). With less than `min_share` of its sites a sample is
    flagged LOW_CALL_RATE by a model that does not score how informative its sites are."""

    kind: str = "barcode"
    haplotypes: bool = False
    best_sites: int | None = None
    best_for: str | None = None
    mixtures: list[str] = field(default_factory=list)
    strata: str | None = None
    min_share: float = LOW_CALL_RATE_BELOW


@dataclass(frozen=True, eq=False)
class BarcodeInput(PanelInput):
    """Barcodes of a panel."""

    haplotypes: bool = False
    structure: Structure | None = None
    min_share: float = LOW_CALL_RATE_BELOW

    name = "barcode"
    settings = BarcodeSettings
    views_settings = BarcodeViewsSettings
    evidence_kind = "likelihood"
    files_used = frozenset({"panel"})
    calibration_masked_shares = (0.0, 0.5, 0.9)
    rows_per_batch = 64  # the likelihood prepares the sites of a batch once
    flag_texts = barcode_calls.FLAG_TEXTS

    # --- in a bundle

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The panel of the bundle; BundleError if it has none."""
        file = catalog.file_in(folder, catalog.STRUCTURE)
        structure = Structure.read(file) if file else None
        settings = config["input"]
        haplotypes = bool(settings.get("haplotypes", False))
        min_share = float(settings.get("min_share", LOW_CALL_RATE_BELOW))
        return cls(panel_in(folder, config), haplotypes, structure, min_share)

    def write(self, folder: Path) -> None:
        """Write the panel, and the structure if there is one."""
        super().write(folder)
        if self.structure is not None:
            self.structure.write(folder / catalog.STRUCTURE)

    def config(self) -> dict[str, Any]:
        """See `InputKind`."""
        changed = {} if self.min_share == LOW_CALL_RATE_BELOW else {"min_share": self.min_share}
        return {"kind": self.name, "haplotypes": self.haplotypes, **changed}

    def encoder(self, config: Mapping[str, Any]) -> GenotypeLookup | None:
        """The table of genotypes, for networks that read allele counts."""
        if not network_class(config["network"].get("kind")).reads_allele_counts:
            return None
        vocabulary = tokenizers.from_config(config["tokenizer"]).vocabulary
        return GenotypeLookup(torch.zeros(len(self.panel), len(vocabulary)))

    def evidence(self, config: Mapping[str, Any]) -> PopulationLikelihood | None:
        """The population likelihood, if the config has one."""
        settings = config.get("likelihood")
        if settings is None:
            return None
        nested = settings["nesting"]
        return PopulationLikelihood(
            len(nested[settings["head"]]),
            len(self.panel),
            settings["axes"],
            nested,
            settings.get("novelty_axes", 0),
            information=settings.get("information", False),
        )

    # --- inference

    def reader(self, model: Model, other_inputs: Mapping[str, InputKind]) -> Reader:
        """See `BarcodeReader`."""

        def panels() -> Iterator[Panel]:
            return (other.coordinates for other in other_inputs.values() if other.name == self.name)

        return BarcodeReader(
            self.panel,
            model.name,
            model.tokenizer,
            panels,
            haplotypes=self.haplotypes,
            frequency=self._mean_frequency(model) if self.reads_likelihoods(model) else None,
        )

    def reads_likelihoods(self, model: Model) -> bool:
        """If its networks do, and there is a population likelihood."""
        likelihood = isinstance(model.classifier.evidence, PopulationLikelihood)
        return likelihood and all(net.reads_likelihoods for net in model.classifier.networks)

    def _mean_frequency(self, model: Model) -> NDArray[np.float64]:
        likelihood = model.classifier.evidence
        assert isinstance(likelihood, PopulationLikelihood)
        return likelihood.mean_frequency().double().cpu().numpy()

    def flags(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> Iterator[str]:
        """LOW_CALL_RATE, HAPLOID, VARIANTS_ONLY, ADMIXED, NOVEL."""
        yield from super().flags(model_input, scores)
        yield from barcode_calls.flags(model_input, scores)

    def has_low_call_rate(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> bool:
        """By how informative the known sites are; for a model without this score, by their share."""
        enough = barcode_calls.is_enough(scores)
        return model_input.share < self.min_share if enough is None else not enough

    def withholds_label(self, model_input: ModelInput, scores: Mapping[str, Tensor]) -> bool:
        """Calls chosen by genotype that are no evidence, and samples far from every population."""
        return barcode_calls.withheld(model_input, scores)

    def measures(self, requests: Mapping[str, str | int]) -> Sequence[Measure]:
        """Proportions by a head, principal components."""
        return measures_of(self.structure, self.panel, requests)

    def reference_space(self) -> ReferenceSpace | None:
        """The principal axes, and the fractions by the head of fewest labels."""
        return None if self.structure is None else reference_space_of(self.structure, self.panel)

    # --- training

    @classmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: InputKind | None
    ) -> InputKind:
        """The panel that was given, or the default one."""
        del initial_input
        settings = recipe.input
        return cls(
            panel_or_default(files.get("panel")), settings.haplotypes, min_share=settings.min_share
        )

    def corpus_rows(
        self, records: Iterable[SequenceRecord], warn: Callable[[str], None]
    ) -> Iterator[tuple[str, Letters]]:
        """Barcodes with the letters of their sites only, or both their haplotypes, NAME_A and NAME_B."""
        for name, record_letters in super().corpus_rows(records, warn):
            copies_1S = letters_to_genotypes(record_letters[None], self.panel)
            letters_S = genotypes_to_letters(copies_1S, self.panel)[0]
            if not self.haplotypes or is_haplotype(letters_S):
                yield name, letters_S
                continue
            for suffix, haplotype_S in zip("AB", resolve(letters_S), strict=True):
                yield f"{name}_{suffix}", haplotype_S

    @property
    def row_length(self) -> int | None:
        """The number of sites."""
        return len(self.panel)

    def check_record(self, record: SequenceRecord) -> None:
        """InputError for a record that is no barcode of the panel."""
        require_barcode(record, self.panel)

    def check(self, recipe: Recipe) -> None:
        """See `InputKind`; sites are chosen by labels."""
        best = recipe.input.best_sites
        if recipe.objectives and best is not None and best < len(self.panel):
            raise TrainingError(
                f"input.best_sites = {best} of {len(self.panel)} sites are chosen by labels, of which there "
                "are none here: give a --panel of so many sites"
            )

    def select_sites(
        self, samples: Samples, train: Rows, recipe: Recipe
    ) -> tuple["BarcodeInput", Samples]:
        """The best sites if the recipe asks for them, and the samples at these."""
        best = recipe.input.best_sites
        if best is None or best >= len(self.panel):
            return self, samples
        head = recipe.input.best_for or next(iter(samples.labels))
        if head not in samples.labels:
            raise TrainingError(f"input.best_for is the head {head!r}, which has no labels")
        groups = samples.labels[head]
        train = train[groups[train] != MISSING]
        copies_NS = letters_to_genotypes(samples.letters, self.panel)
        sites = most_informative(copies_NS[train], groups[train], best)
        letters_NS = samples.letters[:, sites]
        sequences = [row.tobytes().decode("ascii") for row in letters_NS]
        return replace(self, panel=self.panel.subset(sites)), replace(samples, sequences=sequences)

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The number of sites for a network of allele counts, else the sizes of the vocabulary."""
        del rows
        if network_class(recipe.network.get("kind")).reads_allele_counts:
            return {"sites": len(self.panel)}
        return vocabulary_sizes(tokenizer)

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """The meaning of the tokens at each site, and the frequencies of its alleles."""
        del recipe
        if classifier.encoder is None or rows.counts is None:
            return
        table_WS = copies_of_letters(letters_of_tokens(tokenizer.vocabulary), self.panel)
        classifier.encoder.table.copy_(torch.from_numpy(table_WS.T.copy()))  # type: ignore[operator]
        copies_AS = copies_of_letters(np.frombuffer(COUNTED, np.uint8), self.panel)
        known_AS = (copies_AS >= 0) * rows.counts[: len(self.panel)].T
        total_S = np.maximum(2 * known_AS.sum(axis=0), 1)
        frequency_S = torch.from_numpy((copies_AS * known_AS).sum(axis=0) / total_S)
        for network in classifier.networks:
            network.frequency.copy_(frequency_S)  # type: ignore[operator]

    def views(self, samples: Samples, train: Rows, recipe: Recipe, tokenizer: Tokenizer) -> Views:
        """See `BarcodeViews`; TrainingError for hints to tokens that do not follow the letters one by one."""
        reads_counts = network_class(recipe.network.get("kind")).reads_allele_counts
        if recipe.views.hints and (reads_counts or tokenizer.stride != 1):
            raise TrainingError(
                "views.hints is for networks that read overlapping tokens of a barcode"
            )
        letters_NS = genotypes_to_letters(
            letters_to_genotypes(samples.letters, self.panel), self.panel
        )
        return BarcodeViews(
            samples,
            letters_NS,
            train,
            tokenizer,
            recipe.views,
            panel=self.panel,
            haplotypes=self.haplotypes,
        )

    def fit_evidence(self, samples: Samples, rows: Rows, recipe: Recipe) -> Evidence:
        """The population likelihood of the recipe's head."""
        settings = recipe.evidence
        labels = samples.labels[settings.head]
        rows = rows[labels[rows] != MISSING]
        return fit_likelihood(
            letters_to_genotypes(samples.letters[rows], self.panel),
            labels[rows],
            len(samples.classes[settings.head]),
            axes=settings.axes,
            shrinkage=settings.shrinkage,
        )

    def complete_evidence(self, evidence: Evidence, samples: Samples, recipe: Recipe) -> None:
        """The fit of novelty: when a sample is unlike every group."""
        assert isinstance(evidence, PopulationLikelihood)
        settings = recipe.evidence
        labels = samples.labels[settings.head]
        rows = np.flatnonzero(labels != MISSING)
        groups = min(nesting(samples, settings.head).values(), key=lambda of: len(set(of)))
        training_samples = LabelledGenotypes(
            letters_to_genotypes(samples.letters[rows], self.panel), labels[rows], groups
        )
        evidence.novelty = fit_novelty(
            training_samples, partial(shrunken_frequencies, shrinkage=settings.shrinkage)
        )

    def with_training_summary(self, samples: Samples, recipe: Recipe) -> "BarcodeInput":
        """The sources of mixtures and the axes of principal components."""
        copies_NS = letters_to_genotypes(samples.letters, self.panel)
        mixtures = recipe.input.mixtures
        structure = fit_structure(copies_NS, samples.labels, samples.classes, mixtures)
        return replace(self, structure=structure)

    def validation_masked_shares(self, recipe: Recipe) -> tuple[float, ...]:
        """Shares of sites masked for validation: some if the recipe masks sites at all."""
        return VALIDATION_MASKED_SHARES if recipe.views.hide else (0.0,)

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """Rows of one set of sites."""
        del recipe
        assert rows.counts is not None
        return Alphabet(tokenizer, aligned=True, choices=observed_letters(rows.counts))
