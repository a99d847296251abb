"""The data of a classifier: labelled samples, a validation set, and test sequences that are checked for leaks."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from genomai_cli.bundles.catalog import TRAINING_KMERS
from genomai_cli.errors import InputError, TrainingError, UsageError, shown_path
from genomai_cli.formats.kinds import Kind
from genomai_cli.formats.streams import Input
from genomai_cli.formats.tables import LabelTable, labels_of, parse_table
from genomai_cli.inputs.base import InputKind
from genomai_cli.inputs.samples import Rows, Samples
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.observer import Observer
from genomai_cli.sources.records import VariantSettings, in_coordinates, read_records
from genomai_cli.training.label_faults import (
    check_header,
    check_labels,
    check_names,
    unlikely_labels,
    unlikely_samples,
)
from genomai_cli.training.labelled_data import gather, with_validation
from genomai_cli.training.recipe import Recipe
from genomai_cli.training.similarity import KmerTable, shared_between
from genomai_cli.training.targets import Targets


class LabelledInput(NamedTuple):
    """Samples and a table that has their labels."""

    source: Input
    labels: LabelTable


@dataclass(frozen=True, eq=False)
class EvaluationInputs:
    """Inputs read after the samples to train on: a set to choose, stop and calibrate by, and sequences to be tested on
    later."""

    validation: Callable[[], LabelledInput] | None = None
    tests: Iterable[Input] = ()


NO_EVALUATION = EvaluationInputs()


def labels_in_table(source: Input, option: str) -> LabelledInput:
    """A table of sequences, reopened, and the labels in its other columns; UsageError for any other input."""
    if source.kind is not Kind.TABLE:
        source.close()
        message = f"{option} TSV is needed: only a table with a column `sequence` has labels itself"
        raise UsageError(message)
    with source:
        data = source.stream.read()
    reopened = replace(source, stream=io.BytesIO(data))
    return LabelledInput(reopened, labels_of(parse_table(data, source.path)))


@dataclass(frozen=True, eq=False)
class LabelledData:
    """The samples, the rows to validate on if they were given, and leaks: by file the number of sequences that have
    near-duplicates in training, and of all sequences."""

    samples: Samples
    validation: Rows | None
    leaks: dict[str, list[int]]
    keeps_kmers: bool  # whether the bundle keeps k-mers of the sequences

    def files(self) -> dict[str, bytes]:
        """Files of the bundle with k-mers of the sequences, by which `evaluate` finds leaks."""
        if not self.keeps_kmers:
            return {}
        return {TRAINING_KMERS: KmerTable.to_store(self.samples.sequences).to_bytes()}

    def facts(self) -> dict[str, Any]:
        """Leaks, for the model's provenance."""
        return {"leaks": self.leaks} if self.leaks else {}


@dataclass(eq=False)
class LabelledReader:
    """Reads labelled samples of one kind of input, for a recipe."""

    observer: Observer
    kind: InputKind
    recipe: Recipe
    variants: VariantSettings
    names: set[str] = field(default_factory=set)  # of all records so far
    leaks: dict[str, list[int]] = field(default_factory=dict)

    def gather(
        self,
        sources: Iterable[Input],
        targets: Targets,
        evaluation: EvaluationInputs = NO_EVALUATION,
    ) -> LabelledData:
        """The samples of all inputs, also those for validation; InputError for wrong labels, by file and line."""
        table, merge_near_duplicates = targets.table, self.kind.merges_near_duplicates
        check_labels(table, targets.heads, one_kind=merge_near_duplicates, numbers=targets.numbers)
        for sentence in unlikely_labels(table, targets.classes):
            self.observer.console.warn(sentence)
        strata = self._strata(table)
        samples = self._samples(
            sources, table, targets, strata=strata, merge_near_duplicates=merge_near_duplicates
        )
        check_header(table, self.names)
        for sentence in unlikely_samples(samples) if merge_near_duplicates else ():
            self.observer.console.warn(sentence)
        self._report_near_duplicates(samples, split=evaluation.validation is None)
        tests = {source.path: self._sequences(source) for source in evaluation.tests}
        combined, rows = samples, None
        if evaluation.validation is not None:
            source, validation_labels = evaluation.validation()
            dev = self._samples(
                [source], targets.of(validation_labels), targets, classes=samples.classes
            )
            check_header(validation_labels, self.names)
            combined, rows = with_validation(samples, dev)
            self._warn_of_leaks(samples, {source.path: dev.sequences})
        if merge_near_duplicates:
            check_names(table, self.names)
        self._warn_of_leaks(combined, tests)
        if self.leaks:
            self.observer.note(leaks=self.leaks)
        return LabelledData(combined, rows, self.leaks, keeps_kmers=merge_near_duplicates)

    def read(self, sources: Iterable[Input]) -> Iterator[SequenceRecord]:
        """The records of inputs, in the coordinates of a reference if the kind of input has one.

        UsageError for a VCF where sequences are read.
        """
        records = read_records(
            self.observer,
            map(self._readable, sources),
            lambda: self.kind.coordinates,
            variants=self.variants,
            plain=lambda: self.kind.coordinates is None,
        )
        return in_coordinates(self.observer, records, self.kind)

    def _readable(self, source: Input) -> Input:
        """The source; UsageError for a VCF where the kind of input has no coordinates to read it by."""
        if self.kind.coordinates is None and source.has_variants:
            source.close()
            raise UsageError(
                f"{shown_path(source.path)}: the model to be trained reads sequences, not a VCF"
            )
        return source

    def _strata(self, table: LabelTable) -> Mapping[str, str] | None:
        """The column of the recipe's strata; None, and a warning, where the labels have no such column."""
        name = getattr(self.recipe.input, "strata", None)
        if name is None:
            return None
        if name in table.columns:
            return table.column(name)
        self.observer.console.warn(
            f"{table.path} has no column {name!r}: trained without knowing finer groups"
        )
        return None

    def _samples(
        self,
        sources: Iterable[Input],
        table: LabelTable,
        targets: Targets,
        **options: Any,
    ) -> Samples:
        columns = {head: table.column(column) for head, column in targets.heads.items()}
        options |= {"numbers": targets.numbers}
        records = self._named(sources)
        try:
            samples, unlabelled = gather(records, columns, check=self.kind.check_record, **options)
        except TrainingError as error:
            raise InputError(str(error), path=table.path) from None
        if unlabelled:
            self.observer.console.warn(f"{unlabelled} samples have no label and are left out")
        self.observer.count(refused=unlabelled)
        return samples

    def _named(self, sources: Iterable[Input]) -> Iterator[SequenceRecord]:
        for record in self.read(sources):
            self.names.add(record.name)
            yield record

    def _report_near_duplicates(self, samples: Samples, *, split: bool) -> None:
        """Report the number of near-duplicates among the samples, where they were searched for."""
        count = samples.near_duplicates
        if count is None:
            return
        self.observer.note(near_duplicates=count)
        if count:
            suffix = ": none is held out while its near-duplicates are trained on" if split else ""
            self.observer.console.say(
                f"{count} of {len(samples)} sequences have near-duplicates among the others{suffix}"
            )

    def _sequences(self, source: Input) -> list[str]:
        if not self.kind.merges_near_duplicates:
            source.close()
            raise UsageError("--test is for plain sequences, which are compared letter by letter")
        return [record.held for record in self._named([source])]

    def _warn_of_leaks(self, samples: Samples, files: Mapping[str, list[str]]) -> None:
        """Warn of those sequences of the files that have near-duplicates among the samples."""
        if not self.kind.merges_near_duplicates or not files:
            return
        for path, sequences in files.items():
            leaks = len(shared_between(samples.sequences, sequences))
            self.leaks[path] = [leaks, len(sequences)]
            if leaks:
                self.observer.console.warn(
                    f"{path}: {leaks} of {len(sequences)} sequences have near-duplicates among those trained on: what "
                    "is measured on them is partly memory"
                )
