"""`genomai evaluate`: how good predictions are, told from the truth, and generated people, told from real ones."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Model,
    Output,
    PanelFile,
    Quiet,
    ReportJson,
    Seed,
    UnusedDevice,
    UnusedThreads,
    Verbose,
    panel_of,
)
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.metrics.evaluation import Overlap


class Task(StrEnum):
    """What was predicted."""

    CLASSIFICATION = "classification"
    GENERATION = "generation"


class Format(StrEnum):
    """How the metrics are written."""

    TSV = "tsv"
    JSON = "json"


Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="The table that `genomai classify` wrote; none or - is standard input. For --task generation two files, "
        "REAL and SYNTHETIC: VCF, or barcodes in FASTA.",
        show_default=False,
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="LABELS",
        help="A table whose first column names the sample and whose others hold the true labels.",
        show_default=False,
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help="Generation: real people who were not learnt from, for the baselines and membership inference.",
        show_default=False,
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Generation: what `genomai classify` calls SYNTHETIC, for the share recognised as requested.",
        show_default=False,
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
    inputs: Files = None,
    truth: Truth = None,
    column: Columns = None,
    task: Annotated[Task, typer.Option("--task", help="What was predicted.")] = Task.CLASSIFICATION,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TSV,
    confusion: Confusion = None,
    held_out: HeldOut = None,
    predictions: Predictions = None,
    model: Model = None,
    panel: PanelFile = None,
    output: Output = STANDARD_OUTPUT,
    seed: Seed = 0,
    device: UnusedDevice = "auto",
    threads: UnusedThreads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    report_json: ReportJson = None,
) -> None:
    """Measure predictions against the truth, or generated people against real ones.

    For every head: accuracy, balanced accuracy, MCC, macro F1, expected calibration error and, from a table with
    --probs, log loss and Brier score; each with a 95 % interval (Wilson for accuracy, else bootstrap) and the value
    that always calling the majority class would have. UNKNOWN counts as wrong.

    With --task generation, REAL being the people learnt from: allele frequencies, linkage (correlation of r^2 over all
    pairs of sites, and by distance), nearest-neighbour adversarial accuracy (0.5 is ideal), exact copies, distance of
    the nearest real person, principal components, and privacy; the baseline is that of the people of --held-out.

    \b
    genomai evaluate populations.tsv --truth labels.tsv
    genomai classify cohort.vcf.gz | genomai evaluate --truth labels.tsv --column pop=population
    genomai evaluate --task generation real.vcf.gz synthetic.vcf.gz --held-out others.vcf.gz
    """
    from genomai_cli.cli import evaluation_report
    from genomai_cli.formats.tables import read_labels, read_table
    from genomai_cli.metrics import evaluation
    from genomai_cli.metrics.evaluation import PredictionTable

    with Run(context) as run:
        if task is Task.GENERATION:
            _refuse(task, {"--truth": truth, "--column": column, "--confusion": confusion})
            if len(run.inputs) != 2:
                raise UsageError("--task generation compares two files: REAL SYNTHETIC")
            real, synthetic = run.inputs
            files = evaluation_report.Files(real, synthetic, held_out, predictions)
            panel_given = panel_of(panel, model) if panel or model else None
            report = evaluation_report.report(run, files, panel_given, seed)
            is_table = format_ is Format.TSV
            tsv, document = evaluation_report.generation_tsv, evaluation_report.generation_document
            _write(output, tsv(report) if is_table else document(report, files))
            return
        others = {"--held-out": held_out, "--predictions": predictions, "--panel": panel}
        _refuse(task, {**others, "--model": model})
        if truth is None or len(run.inputs) > 1:
            raise UsageError("one table of predictions and --truth LABELS are needed")
        table, known = PredictionTable(read_table(run.inputs[0])), read_labels(truth)
        columns = evaluation.columns_for(table, known, _pairs(column or []))
        _tell(run, evaluation.overlap(table, known), len(table.samples))
        scores = evaluation.score_heads(table, known, columns, seed)
        if format_ is Format.TSV:
            text = evaluation_report.tsv(scores)
        else:
            text = evaluation_report.document(
                scores, task=task, predictions=table.path, truth=known.path
            )
        if confusion is not None:
            _write(confusion, evaluation_report.confusion_tsv(scores))
        _write(output, text)


def _refuse(task: Task, given: dict[str, object]) -> None:
    """Wrong usage if an option is given that another task has."""
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is not for --task {task}")


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
