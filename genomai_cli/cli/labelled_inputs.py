"""The data of `train`: labelled samples, a validation set, and test sequences that are checked for leaks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.sources.labelled import EvaluationInputs, LabelledInput

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

    def evaluation_inputs(self, table: "LabelTable") -> "EvaluationInputs":
        """The validation set and the tests, opened when their turn comes; UsageError for labels without a set."""
        from genomai_cli.formats.streams import open_input
        from genomai_cli.sources.labelled import EvaluationInputs

        dev = self.dev
        if dev is None:
            if self.dev_labels is not None:
                raise UsageError("--dev-labels are those of --dev FILE")
            return EvaluationInputs(None, map(open_input, self.test or ()))
        validation = partial(open_validation, dev, self.dev_labels, table)
        return EvaluationInputs(validation, map(open_input, self.test or ()))


def open_labels(
    run: Run, labels: Path | None, first: "Input", sources: "Iterator[Input]"
) -> "tuple[LabelTable, Iterator[Input]]":
    """The labels, from their own file or from the only input, and the inputs with nothing lost of them."""
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.sources.labelled import labels_in_table

    if labels is not None:
        return read_labels(labels), sources
    if len(run.inputs) > 1:
        raise UsageError("the labels of several inputs are in a file of their own: --labels TSV")
    reopened, table = labels_in_table(first, "--labels")
    return table, iter([reopened])


def open_validation(dev: Path, labels: Path | None, table: "LabelTable") -> "LabelledInput":
    """The validation set and its labels: in their own file, its own columns, or the table of those to train on."""
    from genomai_cli.formats.kinds import Kind
    from genomai_cli.formats.streams import open_input
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.sources.labelled import LabelledInput, labels_in_table

    source = open_input(dev)
    if labels is not None:
        return LabelledInput(source, read_labels(labels))
    if source.kind is Kind.TABLE:
        return labels_in_table(source, "--dev-labels")
    return LabelledInput(source, table)
