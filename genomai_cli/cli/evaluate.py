"""`genomai evaluate`: predictions measured against the truth, and generated samples against real ones."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.evaluate_generation import GenerationOptions, generation_measures
from genomai_cli.cli.evaluate_tracks import OmicsOptions, coverage_measures, omics_measures
from genomai_cli.cli.options import STANDARD_OUTPUT, Output, SeedOnly, report_option
from genomai_cli.cli.pages import PageFile, page_file
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import BundleError, UsageError, shown_names

if TYPE_CHECKING:
    from genomai_cli.metrics.evaluation import Overlap
    from genomai_cli.training.similarity import KmerTable


class Task(StrEnum):
    """What was predicted."""

    CLASSIFICATION = "classification"
    GENERATION = "generation"
    OMICS = "omics"
    TRACKS = "tracks"


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
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="HEAD=COLUMN",
        help="The column of LABELS for a head, if it is not of the same name; can be repeated.",
        show_default=False,
    ),
]
TrainedOn = Annotated[
    str | None,
    typer.Option(
        "--trained-on",
        metavar="MODEL|FILE",
        help="Count the sequences that have near-duplicates among those that MODEL was trained on, or in FILE.",
        show_default=False,
    ),
]
SequencesFile = Annotated[
    Path | None,
    typer.Option(
        "--sequences",
        metavar="FILE",
        help="The sequences for --trained-on.  [default: those of LABELS, a table with a column `sequence`]",
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


ReportFile = Annotated[
    Path | None,
    report_option("measures with intervals, confusions, every label, calibration and ROC curves"),
]


@dataclass(eq=False, repr=False)
class TruthOptions:
    """The true labels, their columns by head, and what the model that predicted was trained on."""

    truth: Truth = None
    column: Columns = None
    trained_on: TrainedOn = None
    sequences: SequencesFile = None


@command
def evaluate(
    run: Run,
    inputs: Files = None,
    *,
    labels: TruthOptions,
    task: Annotated[Task, typer.Option("--task", help="What was predicted.")] = Task.CLASSIFICATION,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TSV,
    confusion: Confusion = None,
    generation: GenerationOptions,
    omics: OmicsOptions,
    report: ReportFile = None,
    output: Output = STANDARD_OUTPUT,
    random: SeedOnly,
) -> None:
    """Measure predictions against truth, or generated samples.

    For every head: accuracy, balanced accuracy, MCC, macro F1, expected calibration error and, from a table with
    --probs, log loss and Brier score; each with a 95 % interval (Wilson for accuracy, else bootstrap) and the value
    that always calling the majority class would have. UNKNOWN counts as wrong. For predicted numbers: Pearson's and
    Spearman's correlation, R^2, root mean squared error, and the share of true numbers inside the interval (Wilson).

    With --task generation, REAL being the training samples: allele frequencies, linkage (correlation of r^2 over all
    pairs of sites, and by distance), nearest-neighbour adversarial accuracy (0.5 is ideal), exact copies, distance of
    the nearest real sample, principal components, how well classifiers tell samples and haplotypes from real ones, the
    same of independent sites and of mosaics of real haplotypes, and privacy; the baseline is that of --held-out.

    With --task omics a model of `pretrain --objective omics` restores masked tokens and tracks of a genome aside:
    accuracy of both, F1, areas under ROC and precision-recall curves, of what is visible, of tracks masked as a whole
    and of masked spans, beside guesses without a network.

    With --task tracks a model of tracks predicts from DNA alone what was measured: Pearson's r over bins, of values and
    of their logarithms, and Poisson deviance, of every track and of each assay's tracks together, beside the mean of
    the other tracks at the bin and each track's mean. Missing bins count nowhere.

    \b
    genomai evaluate --task tracks --model tracks-model --reference aside.fa --tracks aside.tsv
    genomai evaluate --task omics --model tracks-model --reference aside.fa --tracks aside.tsv
    genomai evaluate populations.tsv --truth labels.tsv --report evaluation.html
    genomai classify cohort.vcf.gz | genomai evaluate --truth labels.tsv --column pop=population
    genomai classify --model ./m test.csv | genomai evaluate --truth test.csv --trained-on ./m
    genomai evaluate --task generation real.vcf.gz synthetic.vcf.gz --held-out others.vcf.gz
    """
    if task not in (Task.OMICS, Task.TRACKS):
        _refuse(task, **vars(omics))
    with page_file(report) as page:
        if task in (Task.OMICS, Task.TRACKS):
            generation_options = {
                name: value for name, value in vars(generation).items() if name != "model"
            }
            _refuse(task, inputs=inputs, **vars(labels), **generation_options, confusion=confusion)
            evaluate_task = _omics if task is Task.OMICS else _tracks
            text = evaluate_task(run, format_, omics, generation.model, page, random.seed)
        elif task is Task.GENERATION:
            _refuse(task, **vars(labels), confusion=confusion)
            text = _generation(run, format_, generation, page, random.seed)
        else:
            _refuse(task, **vars(generation))
            text = _classification(run, format_, labels, confusion, page, random.seed)
        _write(output, text)


def _omics(
    run: Run, format_: Format, omics: OmicsOptions, model: str | None, page: PageFile, seed: int
) -> str:
    """The report on restored tokens and tracks as text."""
    from genomai_cli.cli import evaluation_report as texts

    _refuse(Task.OMICS, resolution=omics.resolution, only=omics.only, organism=omics.organism)
    rows, threshold = omics_measures(run, omics, model, seed)
    if page:
        from genomai_cli.inference.track_report import evaluation_page

        page.write(evaluation_page(rows, threshold, run.facts()))
    return texts.omics_tsv(rows) if format_ is Format.TSV else texts.omics_json(rows, threshold)


def _tracks(
    run: Run, format_: Format, omics: OmicsOptions, model: str | None, page: PageFile, seed: int
) -> str:
    """The report on tracks predicted from DNA as text."""
    from genomai_cli.cli import evaluation_report as texts

    _refuse(Task.TRACKS, threshold=omics.threshold)
    rows = coverage_measures(run, omics, model, seed)
    if page:
        from genomai_cli.inference.track_report import coverage_page

        page.write(coverage_page(rows, run.facts()))
    return texts.coverage_tsv(rows) if format_ is Format.TSV else texts.coverage_json(rows)


def _generation(
    run: Run, format_: Format, options: GenerationOptions, page: PageFile, seed: int
) -> str:
    """The report on generated samples as text."""
    from genomai_cli.cli import evaluation_report as texts
    from genomai_cli.population.evaluation.generation import alarms
    from genomai_cli.population.generation.quality import Quality, notes_of

    report, comparison, files = generation_measures(run, options, seed)
    notes = notes_of(comparison, report)
    for remark in Quality(report, notes).remarks:
        run.console.say(remark)
    if page:
        from genomai_cli.population.evaluation.page import Frequencies, quality_page

        title = f"{len(comparison.synthetic):,} generated samples beside real ones"
        facts = run.facts() | {"seed": str(seed)}
        all_notes = notes | alarms(report)
        page.write(quality_page(title, report, all_notes, Frequencies.of(comparison), facts))
    if format_ is Format.TSV:
        return texts.generation_tsv(report)
    return texts.generation_json(report, asdict(files))


def _classification(
    run: Run,
    format_: Format,
    labels: TruthOptions,
    confusion: Path | None,
    page: PageFile,
    seed: int,
) -> str:
    """The report on predicted labels as text; the confusion matrices are written to their own file."""
    from genomai_cli.cli import evaluation_report as texts
    from genomai_cli.formats.tables import read_labels, read_table
    from genomai_cli.metrics import evaluation

    if labels.truth is None or len(run.inputs) > 1:
        raise UsageError("one table of predictions and --truth LABELS are needed")
    table = evaluation.PredictionTable(read_table(run.inputs[0]))
    truth = evaluation.with_label_sets(read_labels(labels.truth), table)
    column_of = evaluation.columns_for(table, truth, _columns(labels.column or []))
    remarks = _count_overlap(run, evaluation.overlap(table, truth), len(table.samples))
    remarks += _report_leaks(run, labels)
    if novel := table.count_novel():
        remarks.append(
            f"{novel} of {len(table.samples)} samples are unlike what the model knows (NOVEL)"
        )
        run.console.say(remarks[-1])
    cases = evaluation.cases_of(table, truth, column_of)
    for remark in evaluation.unlike_spellings(cases):
        remarks.append(remark)
        run.console.warn(remark)
    scores = evaluation.score_heads(cases, column_of, seed)
    if confusion is not None:
        _write(confusion, texts.confusion_tsv(scores))
    if page:
        from genomai_cli.reports.evaluation import page as page_of

        facts = run.facts() | {"seed": str(seed)}
        page.write(page_of(scores, cases, facts=facts, remarks=remarks, seed=seed))
    if format_ is Format.TSV:
        return texts.classification_tsv(scores)
    facts = {"task": Task.CLASSIFICATION, "predictions": table.path, "truth": truth.path}
    return texts.classification_json(scores, **facts)


def _report_leaks(run: Run, labels: TruthOptions) -> list[str]:
    """Warn of sequences that are like those trained on, if these were named; the messages."""
    from genomai_cli.training.similarity import shared_between

    if labels.trained_on is None:
        if labels.sequences is not None:
            raise UsageError("--sequences are compared with what --trained-on names")
        return []
    file = labels.sequences or labels.truth
    assert file is not None  # without LABELS there is nothing to evaluate
    tested = _sequences(file)
    similar = len(shared_between(_training_sequences(labels.trained_on), tested))
    run.note(leaks={str(file): [similar, len(tested)]})
    message = (
        f"{file}: {similar} of {len(tested)} sequences have near-duplicates among those trained on"
    )
    if similar:
        message += ": what is measured on them is partly memory"
    (run.console.warn if similar else run.console.say)(message)
    return [message]


def _training_sequences(name: str) -> "KmerTable | list[str]":
    """The sequences of a file, or the k-mers that the model of that name keeps of those that it was trained on."""
    from genomai_cli.bundles import catalog
    from genomai_cli.training.similarity import KmerTable

    if Path(name).is_file():
        return _sequences(Path(name))
    kmers_file = catalog.find(name) / catalog.TRAINING_KMERS
    if not kmers_file.is_file():
        message = f"{name} keeps nothing of what it was trained on: --trained-on the file itself"
        raise BundleError(message)
    return KmerTable.from_file(kmers_file)


def _sequences(path: Path) -> list[str]:
    from genomai_cli.formats.fasta import read_sequences
    from genomai_cli.formats.streams import open_input

    with open_input(path) as source:
        return [record.held for record in read_sequences(source)]


def _refuse(task: Task, **options: object) -> None:
    """UsageError if an option is given that is for another task."""
    for option, value in options.items():
        if value:
            raise UsageError(f"--{option.replace('_', '-')} is not for --task {task}")


def _columns(texts: list[str]) -> dict[str, str]:
    """`HEAD=COLUMN` as a mapping."""
    for text in texts:
        if not all(text.partition("=")):
            raise UsageError(f"--column {text}: not HEAD=COLUMN")
    return dict(text.split("=", 1) for text in texts)


def _count_overlap(run: Run, overlap: "Overlap", rows: int) -> list[str]:
    """Count the rows, and warn about samples without a truth or with several predictions; the messages."""
    run.count(read=rows, used=overlap.common, refused=rows - overlap.common)
    messages = []
    for samples, problem in (
        (overlap.only_predicted, "predicted but without a truth, left out"),
        (overlap.repeated, "predicted more than once, every row counts"),
    ):
        if samples:
            messages.append(f"{len(samples)} samples {problem}: {shown_names(samples, limit=3)}")
            run.console.warn(messages[-1])
    if overlap.only_in_truth:
        messages.append(f"{len(overlap.only_in_truth)} samples of the truth are not predicted")
        run.console.say(messages[-1])
    return messages


def _write(path: Path, text: str) -> None:
    from genomai_cli.formats.outputs import atomic_text

    with atomic_text(path) as file:
        file.write(text)
