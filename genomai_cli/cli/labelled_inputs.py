"""What `train` learns from: labelled samples, a validation set, and test sequences that it should not know."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, TrainingError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inputs.base import InputKind
    from genomai_cli.inputs.samples import Rows, Samples
    from genomai_cli.records import SequenceRecord
    from genomai_cli.training.targets import Targets

Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="TSV",
        help="A table with a header: the sample in the first column, labels in others, . if missing.  "
        "[default: the other columns of an input with a column `sequence`]",
        show_default=False,
    ),
]
Dev = Annotated[
    Path | None,
    typer.Option(
        "--dev",
        metavar="FILE",
        help="Labelled samples to choose, stop and calibrate by, never to train on.  [default: a part of the input]",
        show_default=False,
    ),
]
DevLabels = Annotated[
    Path | None,
    typer.Option(
        "--dev-labels",
        metavar="TSV",
        help="The labels of --dev.  [default: those of the table itself, or --labels]",
        show_default=False,
    ),
]
Tests = Annotated[
    list[Path] | None,
    typer.Option(
        "--test",
        metavar="FILE",
        help="Sequences to be tested on later: those with near-duplicates in training are counted. May be repeated.",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class DataOptions:
    """The files besides the inputs."""

    labels: Labels = None
    dev: Dev = None
    dev_labels: DevLabels = None
    test: Tests = None


def open_labels(
    run: Run, labels: Path | None, first: "Input", sources: "Iterator[Input]"
) -> "tuple[LabelTable, Iterator[Input]]":
    """The labels, from their own file or from the only input, and the inputs with nothing lost of them."""
    from genomai_cli.formats.tables import read_labels

    if labels is not None:
        return read_labels(labels), sources
    if len(run.inputs) > 1:
        raise UsageError("the labels of several inputs are in a file of their own: --labels TSV")
    table, again = _labels_within(first, "--labels")
    return table, iter([again])


def _labels_within(source: "Input", option: str) -> "tuple[LabelTable, Input]":
    """The labels of a table of sequences, and the same input once more."""
    from genomai_cli.formats.streams import Kind
    from genomai_cli.formats.tables import labels_of, parse_table

    if source.kind is not Kind.TABLE:
        source.close()
        message = f"{option} TSV is needed: only a table with a column `sequence` has labels itself"
        raise UsageError(message)
    with source:
        data = source.stream.read()
    again = replace(source, stream=io.BytesIO(data))
    return labels_of(parse_table(data, source.path)), again


def _dev(dev: Path, labels: Path | None, table: "LabelTable") -> "tuple[Input, LabelTable]":
    """The validation set and its labels: in their own file, its own columns, or the table of those to train on."""
    from genomai_cli.formats.streams import Kind, open_input
    from genomai_cli.formats.tables import read_labels

    source = open_input(dev)
    if labels is not None:
        return source, read_labels(labels)
    if source.kind is Kind.TABLE:
        table, source = _labels_within(source, "--dev-labels")
    return source, table


@dataclass(frozen=True, eq=False)
class Gathered:
    """The samples, the rows to validate on if they were given, and what a record of the run says of leaks: by file how
    many sequences have near-duplicates in training, of how many."""

    samples: "Samples"
    validation: "Rows | None"
    leaks: dict[str, list[int]]
    kept: bool  # whether the bundle keeps k-mers of the sequences

    def files(self) -> dict[str, bytes]:
        """What the bundle keeps of the sequences, so that `evaluate` can tell leaks."""
        from genomai_cli.bundles.catalog import TRAINING_KMERS
        from genomai_cli.training.similarity import KmerTable

        if not self.kept:
            return {}
        return {TRAINING_KMERS: KmerTable.to_store(self.samples.sequences).to_bytes()}

    def facts(self) -> dict[str, Any]:
        """What the model's provenance says of them."""
        return {"leaks": self.leaks} if self.leaks else {}


@dataclass(eq=False)
class LabelledReader:
    """Reads labelled samples of one kind of input; `read` gives the records of inputs."""

    run: Run
    kind: "InputKind"
    read: "Callable[[Iterable[Input]], Iterator[SequenceRecord]]"
    names: set[str] = field(default_factory=set)  # of all records so far
    leaks: dict[str, list[int]] = field(default_factory=dict)

    def gather(
        self,
        sources: "Iterable[Input]",
        targets: "Targets",
        strata: "Mapping[str, str] | None",
        files: DataOptions,
    ) -> Gathered:
        """The samples of the inputs and of the files; InputError for labels that are wrong, told by file and line."""
        from genomai_cli.training.label_faults import check_labels, check_names
        from genomai_cli.training.labelled_data import with_validation

        table, alike = targets.table, self.kind.similar_are_one
        check_labels(table, targets.heads, words_or_numbers=alike, numbers=targets.numbers)
        samples = self._samples(sources, table, targets, strata=strata, similar_are_one=alike)
        self._tell(samples, split=files.dev is None)
        tests = {path: self._sequences(path) for path in files.test or ()}
        both, rows = samples, None
        if files.dev is not None:
            source, given = _dev(files.dev, files.dev_labels, table)
            given = targets.of(given)
            dev = self._samples([source], given, targets, classes=samples.classes)
            both, rows = with_validation(samples, dev)
            self._compare(samples, {files.dev: dev.sequences})
        elif files.dev_labels is not None:
            raise UsageError("--dev-labels are those of --dev FILE")
        if alike:
            check_names(table, self.names)
        self._compare(both, tests)
        if self.leaks:
            self.run.note(leaks=self.leaks)
        return Gathered(both, rows, self.leaks, kept=alike)

    def _samples(
        self,
        sources: "Iterable[Input]",
        table: "LabelTable",
        targets: "Targets",
        **options: Any,
    ) -> "Samples":
        from genomai_cli.training.labelled_data import gather

        columns = {head: table.column(column) for head, column in targets.heads.items()}
        options |= {"numbers": targets.numbers}
        records = self._named(sources)
        try:
            samples, unlabelled = gather(records, columns, check=self.kind.check_record, **options)
        except TrainingError as error:
            raise InputError(str(error), path=table.path) from None
        if unlabelled:
            self.run.console.warn(f"{unlabelled} samples have no label and are left out")
        self.run.count(refused=unlabelled)
        return samples

    def _named(self, sources: "Iterable[Input]") -> "Iterator[SequenceRecord]":
        for record in self.read(sources):
            self.names.add(record.name)
            yield record

    def _tell(self, samples: "Samples", *, split: bool) -> None:
        """How many near-duplicates there are among the samples, where it was looked for."""
        count = samples.near_duplicates
        if count is None:
            return
        self.run.note(near_duplicates=count)
        if count:
            what = ": none is held out while its near-duplicates are trained on" if split else ""
            self.run.console.say(
                f"{count} of {len(samples)} sequences have near-duplicates among the others{what}"
            )

    def _sequences(self, path: Path) -> list[str]:
        from genomai_cli.formats.streams import open_input

        if not self.kind.similar_are_one:
            raise UsageError("--test is for plain sequences, which are compared letter by letter")
        return [record.held for record in self._named([open_input(path)])]

    def _compare(self, samples: "Samples", files: Mapping[Path, list[str]]) -> None:
        """Warn of those sequences of the files that have near-duplicates among the samples."""
        from genomai_cli.training.similarity import KmerTable, shared_between

        if not self.kind.similar_are_one or not files:
            return
        known = KmerTable.of(samples.sequences)
        for path, sequences in files.items():
            found = len(shared_between(known, sequences))
            self.leaks[str(path)] = [found, len(sequences)]
            if found:
                self.run.console.warn(
                    f"{path}: {found} of {len(sequences)} sequences have near-duplicates among those trained on: what "
                    "is measured on them is partly memory"
                )
