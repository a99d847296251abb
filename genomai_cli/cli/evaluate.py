"""`genomai evaluate`: how good predictions are, told from the truth."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Output,
    Quiet,
    ReportJson,
    Seed,
    UnusedDevice,
    UnusedThreads,
    Verbose,
)
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.metrics.evaluation import Overlap


class Task(StrEnum):
    """What was predicted."""

    CLASSIFICATION = "classification"


class Format(StrEnum):
    """How the metrics are written."""

    TSV = "tsv"
    JSON = "json"


Predictions = Annotated[
    Path | None,
    typer.Argument(
        metavar="PREDICTIONS",
        help="The table that `genomai classify` wrote; none or - is standard input.",
        show_default=False,
    ),
]

Truth = Annotated[
    Path,
    typer.Option(
        "--truth",
        metavar="LABELS",
        help="A table whose first column names the sample and whose others hold the true labels.",
    ),
]

Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="HEAD=COLUMN",
        help="The column of LABELS for a head, if it is not of the same name; can be repeated.",
        show_default=False,
    ),
]

Confusion = Annotated[
    Path | None,
    typer.Option(
        "--confusion",
        metavar="FILE",
        help="Write the confusion matrices as a table: head, truth, predicted, n.",
        show_default=False,
    ),
]


def evaluate(
    context: typer.Context,
    inputs: Predictions = None,
    *,
    truth: Truth,
    column: Columns = None,
    task: Annotated[Task, typer.Option("--task", help="What was predicted.")] = Task.CLASSIFICATION,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TSV,
    confusion: Confusion = None,
    output: Output = STANDARD_OUTPUT,
    seed: Seed = 0,
    device: UnusedDevice = "auto",
    threads: UnusedThreads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Measure predictions against the truth.

    For every head: accuracy, balanced accuracy, MCC, macro F1, expected calibration error and, from a table with
    --probs, log loss and Brier score; each with a 95 % interval (Wilson for accuracy, else bootstrap) and the value
    that always calling the majority class would have. UNKNOWN counts as wrong.

    \b
    genomai evaluate populations.tsv --truth labels.tsv
    genomai classify cohort.vcf.gz | genomai evaluate --truth labels.tsv --column pop=population
    """
    from genomai_cli.cli import score_table
    from genomai_cli.formats.tables import read_labels, read_table
    from genomai_cli.metrics import evaluation
    from genomai_cli.metrics.prediction_table import PredictionTable

    with Run(context) as run:
        table, known = PredictionTable(read_table(run.inputs[0])), read_labels(truth)
        columns = evaluation.columns_for(table, known, _pairs(column or []))
        _tell(run, evaluation.overlap(table, known), len(table.samples))
        scores = evaluation.score_heads(table, known, columns, seed)
        if format_ is Format.TSV:
            text = score_table.tsv(scores)
        else:
            text = score_table.document(scores, task=task, predictions=table.path, truth=known.path)
        if confusion is not None:
            _write(confusion, score_table.confusion_tsv(scores))
        _write(output, text)


def _pairs(given: list[str]) -> dict[str, str]:
    """`HEAD=COLUMN` as a mapping."""
    for text in given:
        if not all(text.partition("=")):
            raise UsageError(f"--column {text}: not HEAD=COLUMN")
    return dict(text.split("=", 1) for text in given)


def _tell(run: Run, overlap: "Overlap", rows: int) -> None:
    """Count the rows, and warn about samples that have no partner or several."""
    run.count(read=rows, used=overlap.common, refused=rows - overlap.common)
    for samples, what in (
        (overlap.only_predicted, "predicted but without a truth, left out"),
        (overlap.repeated, "predicted more than once, every row counts"),
    ):
        if samples:
            run.console.warn(f"{len(samples)} samples {what}: {_some(samples)}")
    if overlap.only_known:
        run.console.say(f"{len(overlap.only_known)} samples of the truth are not predicted")


def _some(samples: list[str], most: int = 3) -> str:
    return ", ".join(samples[:most]) + (" ..." if len(samples) > most else "")


def _write(path: Path, text: str) -> None:
    from genomai_cli.formats.outputs import atomic_text

    with atomic_text(path) as file:
        file.write(text)
