"""Haplotypes with the phenotype labels of their individuals: rows of both alleles at the sites of a panel.

From a corpus of them follow, before training, the allele frequencies of the phenotypes, and, for networks that keep
one, the library of reference genotypes.

Shape suffixes: N individuals, S sites, P phenotypes, Q labels of the finest column, B individuals of a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import MISSING
from genomai_cli.backbones.base import Network, network_class
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.diffusion.phenotypes import Phenotypes
from genomai_cli.errors import InputError, TrainingError, UsageError
from genomai_cli.formats.tables import LabelTable, read_labels
from genomai_cli.inputs.base import InputKind, Model, Reader, Recipe
from genomai_cli.inputs.card_text import CardText
from genomai_cli.inputs.samples import Letters, Rows, Samples, TrainingRows, Views
from genomai_cli.objectives.base import Alphabet
from genomai_cli.population.barcode import letters_to_alleles
from genomai_cli.population.evaluation.genotypes import SampleGenotypes
from genomai_cli.population.evaluation.summary import FILE, Summary, to_bytes
from genomai_cli.population.generation.denoiser import HaplotypeNoising
from genomai_cli.population.haplotype_rows import HaplotypeRows
from genomai_cli.population.imputation.preparation import PRIVACY_NOTE
from genomai_cli.population.networks.denoiser import GenotypeDenoiser, LabelledHaplotypes
from genomai_cli.population.networks.likelihood_fit import likeliest_shrinkage, shrunken_frequencies
from genomai_cli.population.packed_haplotypes import paired
from genomai_cli.population.panel import Panel
from genomai_cli.population.panel_files import panel_in, panel_or_default
from genomai_cli.population.panel_input import PanelInput
from genomai_cli.population.phenotype_encoding import EncodedPhenotypes, HaplotypeGroups, encode
from genomai_cli.population.phenotypes import Columns, PhenotypeTable, read_phenotypes
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer

LIMITATIONS = """\
New people are as varied as those trained on, no more. The loss bounds the negative log-likelihood of a site given all
others of the person; whether people are realistic, and none a copy, `genomai evaluate --task generation` tells."""
WITHOUT_LIBRARY = """
`--set network.people=0` makes a model without them, which restores less well."""
STORED_ARRAYS = {
    False: ("genotypes", "the tensor `library.copies`"),
    True: ("haplotypes", "the tensors `library.copies` and `library.haplotypes.packed`"),
}
MIN_FREQUENCY = 0.003
PRIOR_HAPLOTYPES = 2.0  # haplotypes
EMPTY_GROUP_HAPLOTYPES = 1e9  # the weight of the frequencies of a group without members
SAMPLES_PER_BLOCK = 128  # of a corpus


@dataclass(frozen=True)
class HaplotypeSettings:
    """Both haplotypes of an individual, and its `phenotypes`, columns of the labels from coarse to fine."""

    kind: str = "people"
    haplotypes: bool = True
    phenotypes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NoViews:
    """No augmentation besides the objective's."""


@dataclass(frozen=True, eq=False)
class HaplotypeInput(PanelInput):
    """Pairs of haplotypes at a panel's sites, with the labels of their individuals, and their phenotype records in the
    columns `record_columns`, if there are any."""

    phenotypes: Phenotypes
    labels: LabelTable | None = None
    record_columns: Columns = field(default_factory=Columns)
    records: PhenotypeTable | None = None

    name = "people"
    settings = HaplotypeSettings
    views_settings = NoViews
    files_used = frozenset({"panel", "labels", "phenotypes"})

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The panel and the phenotypes of the bundle."""
        return cls(panel_in(folder, config), Phenotypes.from_config(config))

    def config(self) -> dict[str, Any]:
        """See `InputKind`."""
        return {"kind": self.name, "haplotypes": True}

    def reader(self, model: Model, other_inputs: Mapping[str, InputKind]) -> Reader:
        """UsageError: individuals are generated, not read."""
        del other_inputs
        filled = any(network.stores_samples for network in model.classifier.networks)
        purpose = "restores genotypes (genomai denoise)" if filled else "generates people"
        raise UsageError(f"the model {model.name!r} {purpose}: it has no vectors of them")

    @classmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: InputKind | None
    ) -> InputKind:
        """The panel and the tables of labels and of records; without labels there are no phenotypes."""
        del initial_input
        file = files.get("labels")
        labels = None if file is None else read_labels(file)
        phenotypes = Phenotypes()
        if labels is not None:
            columns = recipe.input.phenotypes or list(labels.columns)
            phenotypes = Phenotypes.of(labels, columns)
        panel, records_file = panel_or_default(files.get("panel")), files.get("phenotypes")
        if records_file is None:
            return cls(panel, phenotypes, labels)
        records = read_phenotypes(records_file)
        return cls(panel, phenotypes, labels, Columns.of(records), records)

    @property
    def rows(self) -> HaplotypeRows:
        """The layout of a row."""
        return HaplotypeRows(len(self.panel), len(self.phenotypes.labels), self.record_columns)

    @property
    def row_length(self) -> int | None:
        """The alleles of both haplotypes and the labels."""
        return len(self.rows)

    def corpus_rows(
        self, records: Iterable[SequenceRecord], warn: Callable[[str], None]
    ) -> Iterator[tuple[str, Letters]]:
        """The individuals, each made of two records that follow one another, NAME_A and NAME_B.

        Raises InputError for records that are not such pairs, or no barcodes of the panel.
        """
        layout, labels, record_of = self.rows, self.labels, self._records()
        labelled_names = set() if labels is None else set(labels.samples)
        record_names = set() if self.records is None else set(self.records.names)
        without_labels = without_record = with_record = 0
        for name, pair in paired(records, self.panel):
            letters = np.frombuffer("".join(r.held for r in pair).encode("ascii"), np.uint8)
            label_row = labels.row(name) if labels is not None and name in labelled_names else {}
            without_labels += labels is not None and name not in labelled_names
            without_record += name not in record_names
            with_record += name in record_names
            alleles = letters_to_alleles(letters.reshape(2, -1), self.panel)
            yield name, layout.row(alleles, self.phenotypes.numbers(label_row), record_of(name))
        if without_labels:
            warn(f"{without_labels} people have no labels and are trained on without")
        if self.records is not None and not with_record:
            raise InputError("none of the people has a record here", path=self.records.path)
        if self.records is not None and without_record:
            warn(f"{without_record} people have no record and are trained on without")

    def _records(self) -> Callable[[str], EncodedPhenotypes | None]:
        """The record of a person of this name, an empty one where there is none; None without columns."""
        if self.records is None:
            return lambda _: None
        encoded = encode(self.records, self.record_columns)
        empty = encoded.rows(np.zeros(1, np.int64)).with_columns(
            np.zeros((1, len(self.record_columns)), np.bool_)
        )
        row_of = {name: row for row, name in enumerate(self.records.names)}
        return lambda name: encoded.rows(np.array([row_of[name]])) if name in row_of else empty

    def check(self, recipe: Recipe) -> None:
        """TrainingError for another objective than diffusion, or a network that does not denoise genotypes."""
        kind = network_class(recipe.network.get("kind"))
        if set(recipe.objectives) != {"diffusion"}:
            raise TrainingError(
                f"recipe {recipe.name}: individuals are trained on by diffusion alone"
            )
        if not issubclass(kind, GenotypeDenoiser):
            raise TrainingError(
                f"recipe {recipe.name}: people need a network that denoises genotypes"
            )
        if self.records is not None and not kind.reads_records:
            raise TrainingError(
                f"recipe {recipe.name}: a network of kind {recipe.network['kind']} reads no --phenotypes"
            )

    def prepared(
        self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> "HaplotypeInput":
        """The phenotypes with the numbers of individuals to train on."""
        del recipe, tokenizer
        return replace(self, phenotypes=with_sample_counts(rows, self.rows, self.phenotypes))

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The numbers of sites and phenotypes, and what the network's kind counts besides."""
        del tokenizer
        kind = network_class(recipe.network.get("kind"))
        assert issubclass(kind, GenotypeDenoiser)
        sizes: dict[str, Any] = {"sites": len(self.panel), "phenotypes": len(self.phenotypes)}
        if len(self.record_columns):
            sizes["columns"] = self.record_columns.to_config()
        return sizes | kind.sizes_of(recipe.network, self.panel, len(rows))

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """How frequent alleles are, where the sites lie, and the reference genotypes."""
        del recipe, tokenizer
        for network in classifier.networks:
            assert isinstance(network, GenotypeDenoiser)
            frequency_PS = frequencies(rows, self.rows, self.phenotypes, network.min_frequency)
            network.frequency.copy_(torch.from_numpy(frequency_PS))
            network.initialize(self.panel, lambda: _training_samples(rows, self.rows))

    def views(self, samples: Samples, train: Rows, recipe: Recipe, tokenizer: Tokenizer) -> Views:
        """TrainingError: these networks have no heads."""
        raise TrainingError(f"recipe {recipe.name}: it makes generators, with `genomai pretrain`")

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """Alleles of both haplotypes, and labels."""
        del rows, recipe
        return Alphabet(tokenizer, aligned=True, noising=HaplotypeNoising(self.rows))

    def baseline(
        self, network: Network, objective: str, views: Mapping[str, Tensor]
    ) -> float | None:
        """The nats a site where sites are independent, at the frequencies of the phenotypes."""
        del objective
        assert isinstance(network, GenotypeDenoiser)
        return independent_loss(network, views)

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """The phenotypes that can be generated, and the reference genotypes in the model."""
        del objectives, network
        names = ", ".join(self.phenotypes.names)
        purpose = (
            "It makes new people: `genomai generate --model DIR --phenotype NAME`. "
            f"It knows {names}."
        )
        if len(self.record_columns):
            fields = ", ".join(self.record_columns.fields)
            purpose += f" With `--phenotypes TSV` it makes people by records of {fields}."
        network_config = config["network"]
        sample_count, copying = (
            network_config.get("people", 0),
            network_config.get("copying", False),
        )
        baseline_text = "independent sites, at the allele frequencies of the person's phenotype"
        stored, tensors = STORED_ARRAYS[copying]
        library_text = PRIVACY_NOTE.format(people=sample_count, what=stored, tensors=tensors)
        purpose += library_text + WITHOUT_LIBRARY if sample_count else ""
        return CardText(purpose, LIMITATIONS, {"diffusion": baseline_text})

    def extra_config(self, rows: TrainingRows) -> dict[str, Any]:
        """The phenotypes."""
        del rows
        return {"phenotypes": self.phenotypes.to_config()}

    def extra_files(self, rows: TrainingRows, recipe: Recipe) -> dict[str, bytes]:
        """The summaries of all individuals of the corpus, those held out included."""
        del recipe
        letters = rows.all_letters()
        alleles = self.rows.alleles(letters)
        summary = Summary.of(SampleGenotypes([""] * len(letters), alleles, phased=True))
        return {FILE: to_bytes(summary)}


def with_sample_counts(
    corpus: TrainingRows, rows: HaplotypeRows, phenotypes: Phenotypes
) -> Phenotypes:
    """The phenotypes with the numbers of people to train on."""
    numbers_NP = rows.numbers(corpus.training_letters())
    if not numbers_NP.shape[1]:
        return phenotypes
    return phenotypes.with_counts(int(n) for n in numbers_NP[:, -1] if n)


def frequencies(
    corpus: TrainingRows,
    rows: HaplotypeRows,
    phenotypes: Phenotypes,
    min_frequency: float = MIN_FREQUENCY,
) -> NDArray[np.float64]:
    """The frequency (P, S) of allele 1 among the people to train on, for `null` and every label; none below
    `min_frequency`.

    The frequencies of the finest labels are shrunken towards the prediction from the other labels, as far as that is
    likely for each.
    """
    train_NL = corpus.training_letters()
    alleles_N2S, numbers_NP = rows.alleles(train_NL), rows.numbers(train_NL)
    alternate_PS = np.zeros((len(phenotypes), rows.sites))
    total_PS = np.zeros_like(alternate_PS)
    alternate_NS = (alleles_N2S == 1).sum(axis=1)
    total_NS = (alleles_N2S != MISSING).sum(axis=1)
    for number in range(len(phenotypes)):
        has_label_N = (numbers_NP == number).any(axis=1) if number else np.ones(len(train_NL), bool)
        alternate_PS[number] = alternate_NS[has_label_N].sum(axis=0)
        total_PS[number] = total_NS[has_label_N].sum(axis=0)
    frequency_PS = (alternate_PS + 0.5) / (total_PS + 1)
    frequency_PS = np.where(total_PS > 0, frequency_PS, frequency_PS[:1])  # else everybody's
    finest = len(list(phenotypes.labels.values())[-1]) if phenotypes.labels else 0
    if finest > 2:  # to predict one population takes two others
        counts = alternate_PS[-finest:], total_PS[-finest:]
        frequency_PS[-finest:] = shrunken_frequencies(*counts, likeliest_shrinkage(*counts))
    clipped: NDArray[np.float64] = np.clip(frequency_PS, min_frequency, 1 - min_frequency)
    return clipped


def group_frequencies(
    groups: HaplotypeGroups, panel: Panel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The frequency (P, S) of allele 1 among the people of every label of the category that groups them, and how many
    haplotypes it is worth (P,): their own and `PRIOR_HAPLOTYPES` at everybody's frequency.

    They are not drawn towards related groups', so that a person can be taken out of them again: see
    `networks.towers.GroupEvidence.own_evidence`.
    """
    pool, present = groups.pool, groups.numbers != MISSING
    alleles_HS = letters_to_alleles(pool.haplotypes, panel)
    pooled_S = (np.sum(alleles_HS == 1, axis=0) + 0.5) / (np.sum(alleles_HS >= 0, axis=0) + 1)
    alternate_PS = np.zeros((len(present), len(panel)))
    total_PS = np.zeros_like(alternate_PS)
    for label in np.flatnonzero(present):
        begin, size = (part[groups.numbers[label]] for part in (pool.starts, pool.counts))
        part_HS = alleles_HS[begin : begin + size]
        alternate_PS[label] = (part_HS == 1).sum(axis=0)
        total_PS[label] = (part_HS != MISSING).sum(axis=0)
    frequency_PS = (alternate_PS + PRIOR_HAPLOTYPES * pooled_S) / (total_PS + PRIOR_HAPLOTYPES)
    clipped_PS: NDArray[np.float64] = np.clip(frequency_PS, MIN_FREQUENCY, 1 - MIN_FREQUENCY)
    haplotypes_P = total_PS.mean(axis=1) + PRIOR_HAPLOTYPES
    return clipped_PS, np.where(present, haplotypes_P, EMPTY_GROUP_HAPLOTYPES)


def _training_samples(corpus: TrainingRows, rows: HaplotypeRows) -> LabelledHaplotypes:
    """The people to train on."""
    alleles_N2S = np.empty((len(corpus), 2, rows.sites), np.int8)
    finest_N = np.zeros(len(corpus), np.int64)
    start = 0
    for letters in corpus.training_blocks(SAMPLES_PER_BLOCK):
        rows_of_block = slice(start, start := start + len(letters))
        alleles_N2S[rows_of_block] = rows.alleles(letters)
        if rows.labels:
            finest_N[rows_of_block] = rows.numbers(letters)[:, -1]
    return LabelledHaplotypes(torch.from_numpy(alleles_N2S), torch.from_numpy(finest_N))


def independent_loss(network: GenotypeDenoiser, views: Mapping[str, Tensor]) -> float:
    """The nats a site of people whose sites are independent, at the frequencies of their phenotypes."""
    frequency_BS = network.frequency.cpu().double()[views["phenotype"][:, 0]]
    frequency_B2S = frequency_BS[:, None].expand(-1, 2, -1)
    truth_B2S = views["targets"].view(frequency_B2S.shape)
    chance_B2S = torch.where(truth_B2S == 1, frequency_B2S, 1 - frequency_B2S)
    known_B2S = truth_B2S != MISSING
    nats_B = -(chance_B2S.log() * known_B2S).sum((1, 2)) / known_B2S.sum((1, 2)).clamp(min=1)
    return float(nats_B.mean())
