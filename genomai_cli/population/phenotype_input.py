"""Barcodes with phenotype records: what networks of DNA and phenotypes are trained on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genomai_cli.backbones.base import Network, network_class
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.errors import InputError, TrainingError, UsageError
from genomai_cli.inputs.base import InputKind, Recipe
from genomai_cli.inputs.card_text import CardText
from genomai_cli.inputs.samples import Letters, TrainingRows
from genomai_cli.objectives.base import Alphabet
from genomai_cli.population.alignment.objective import chance_loss
from genomai_cli.population.barcode_input import BarcodeInput
from genomai_cli.population.haplotype_input import group_frequencies
from genomai_cli.population.networks.crossmodal import CrossmodalNetwork
from genomai_cli.population.panel_files import panel_or_default
from genomai_cli.population.phenotype_encoding import (
    HaplotypeGroups,
    PhenotypeLayout,
    PhenotypeRows,
    common_records,
    encode,
)
from genomai_cli.population.phenotypes import RECORDS, Columns, PhenotypeTable, read_phenotypes
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer

PURPOSE = """\
It ranks phenotype records by how similar they are to DNA: `genomai align --model DIR`. It knows the columns """
LIMITATIONS = """\
A similarity is no cause: it says what records people with such DNA had among those trained on. What DNA cannot tell
(sex, from autosomes) is ranked by chance. How well records of held-out people are found has to be measured."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PhenotypeInput(BarcodeInput):
    """Barcodes of a panel and the phenotype records of their individuals, in some `columns` of the table.

    `groups` are those whose members are crossed while training.
    """

    columns_read: Columns
    table: PhenotypeTable | None = None
    groups: HaplotypeGroups | None = None

    files_used = frozenset({"panel", "phenotypes"})

    @classmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: InputKind | None
    ) -> InputKind:
        """The panel, and the columns of the table of phenotypes; UsageError without one."""
        del initial_input
        file = files.get("phenotypes")
        if file is None:
            raise UsageError("--objective crossmodal needs --phenotypes")
        table, settings = read_phenotypes(file), recipe.settings["crossmodal"]
        columns = Columns.of(table, categories=settings.categories, numbers=settings.numbers)
        panel = panel_or_default(files.get("panel"))
        return cls(panel, recipe.input.haplotypes, columns_read=columns, table=table)

    @property
    def layout(self) -> PhenotypeRows:
        """The layout of a row."""
        return PhenotypeRows(len(self.panel), self.columns_read)

    @property
    def row_length(self) -> int | None:
        """The letters of the sites and the bytes of the record."""
        return len(self.layout)

    def corpus_rows(
        self, records: Iterable[SequenceRecord], warn: Callable[[str], None]
    ) -> Iterator[tuple[str, Letters]]:
        """The barcodes followed by their records; those without a record are left out.

        Raises InputError where nobody has one.
        """
        assert self.table is not None
        encoded = encode(self.table, self.columns_read)
        row_of = {name: row for row, name in enumerate(self.table.names)}
        with_record = without_record = 0
        for name, letters in super().corpus_rows(records, warn):
            if name not in row_of:
                without_record += 1
                continue
            with_record += 1
            record_row = np.array([row_of[name]])
            yield name, self.layout.rows(letters[None], encoded.rows(record_row))[0]
        if not with_record:
            raise InputError("none of the samples has a record here", path=self.table.path)
        if without_record:
            warn(f"{without_record} samples have no phenotypes and are left out")

    def check(self, recipe: Recipe) -> None:
        """TrainingError for other objectives or networks, and for groups that are no category."""
        super().check(recipe)
        if set(recipe.objectives) != {"crossmodal"}:
            raise TrainingError(
                f"recipe {recipe.name}: the objective crossmodal needs phenotypes, and is the only one that does"
            )
        if not issubclass(network_class(recipe.network.get("kind")), CrossmodalNetwork):
            raise TrainingError(
                f"recipe {recipe.name}: the objective crossmodal is the one for networks of kind crossmodal"
            )
        groups = recipe.settings["crossmodal"].groups
        names = [category.name for category in self.columns_read.categories]
        if groups and groups not in names:
            available = ", ".join(names) or "none"
            raise TrainingError(
                f"crossmodal.groups: no category {groups!r} (there are: {available})"
            )

    def prepared(
        self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> "PhenotypeInput":
        """The groups to cross within, from the rows to train on."""
        del tokenizer
        groups = recipe.settings["crossmodal"].groups
        if not groups:
            return self
        return replace(
            self, groups=HaplotypeGroups.of(rows.training_letters(), self.layout, groups)
        )

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The number of sites, and the columns."""
        del rows, tokenizer
        columns, groups = self.columns_read.to_config(), recipe.settings["crossmodal"].groups
        return {"sites": len(self.panel), "columns": columns, "groups": groups}

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """As for barcodes, and the allele frequencies of the groups."""
        super().initialize(classifier, rows, recipe, tokenizer)
        if self.groups is None:
            return
        frequency_PS, worth_P = group_frequencies(self.groups, self.panel)
        for network in classifier.networks:
            assert isinstance(network, CrossmodalNetwork)
            network.dna.evidence.worth.copy_(torch.from_numpy(worth_P))
            network.dna.evidence.frequency.copy_(torch.from_numpy(frequency_PS.T.copy()))

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """Barcodes with records."""
        del rows, recipe
        return Alphabet(
            tokenizer, aligned=True, phenotype_layout=PhenotypeLayout(self.layout, self.groups)
        )

    def baseline(
        self, network: Network, objective: str, views: Mapping[str, Tensor]
    ) -> float | None:
        """Any order of the individuals that a record could be of, and the other way round."""
        del network
        return chance_loss(views) if objective == "crossmodal" else None

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """Which columns of phenotypes can be ranked."""
        del config, objectives, network
        baseline_text = "any order of those that differ: log(1 + number of negatives)"
        purpose = f"{PURPOSE}{', '.join(self.columns_read.fields)}."
        return CardText(purpose, LIMITATIONS, {"crossmodal": baseline_text})

    def extra_files(self, rows: TrainingRows, recipe: Recipe) -> dict[str, bytes]:
        """The records that the model ranks by default."""
        del rows
        assert self.table is not None
        groups = recipe.settings["crossmodal"].groups
        records = common_records(self.table, self.columns_read, groups)
        text = "".join("\t".join(fields) + "\n" for fields in records)
        return {RECORDS: text.encode()}
