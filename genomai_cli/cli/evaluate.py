"""`genomai evaluate`: predictions measured against the truth, and generated samples against real ones."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.evaluate_tracks import OmicsOptions, measured_tracks
from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    Model,
    Output,
    PanelFile,
    SeedOnly,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import BundleError, InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.metrics.evaluation import Overlap
    from genomai_cli.population.evaluation.generation import Measures, Report
    from genomai_cli.population.evaluation.genotypes import SampleGenotypes
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord
    from genomai_cli.training.similarity import KmerTable


class Task(StrEnum):
    """What was predicted."""

    CLASSIFICATION = "classification"
    GENERATION = "generation"
    OMICS = "omics"


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
        help="Generation: real samples that the generator was not trained on, for baselines and membership inference.",
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


@dataclass(eq=False, repr=False)
class TruthOptions:
    """The true labels, their columns by head, and what the model that predicted was trained on."""

    truth: Truth = None
    column: Columns = None
    trained_on: TrainedOn = None
    sequences: SequencesFile = None


@dataclass(eq=False, repr=False)
class GenerationOptions:
    """What generated samples are compared with besides the real ones, and at which sites."""

    held_out: HeldOut = None
    predictions: Predictions = None
    model: Model = None
    panel: PanelFile = None


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
    output: Output = STANDARD_OUTPUT,
    random: SeedOnly,
) -> None:
    """Measure predictions against truth, or generated samples.

    For every head: accuracy, balanced accuracy, MCC, macro F1, expected calibration error and, from a table with
    --probs, log loss and Brier score; each with a 95 % interval (Wilson for accuracy, else bootstrap) and the value
    that always calling the majority class would have. UNKNOWN counts as wrong. For predicted numbers: Pearson's and
    Spearman's correlation, R^2, root mean squared error, and the share of true numbers inside the interval.

    With --task generation, REAL being the training samples: allele frequencies, linkage (correlation of r^2 over all
    pairs of sites, and by distance), nearest-neighbour adversarial accuracy (0.5 is ideal), exact copies, distance of
    the nearest real sample, principal components, and privacy; the baseline is that of the samples of --held-out.

    With --task omics a model of `pretrain --objective omics` restores masked tokens and tracks of a genome aside:
    accuracy of both, F1, areas under ROC and precision-recall curves, of what is visible, of tracks masked as a whole
    and of masked spans, beside guesses without a network.

    \b
    genomai evaluate --task omics --model tracks-model --reference aside.fa --tracks aside.tsv
    genomai evaluate populations.tsv --truth labels.tsv
    genomai classify cohort.vcf.gz | genomai evaluate --truth labels.tsv --column pop=population
    genomai classify --model ./m test.csv | genomai evaluate --truth test.csv --trained-on ./m
    genomai evaluate --task generation real.vcf.gz synthetic.vcf.gz --held-out others.vcf.gz
    """
    from genomai_cli.cli import evaluation_report as texts

    if task is not Task.OMICS:
        _refuse(task, **vars(omics))
    if task is Task.OMICS:
        others = {name: value for name, value in vars(generation).items() if name != "model"}
        _refuse(task, inputs=inputs, **vars(labels), **others, confusion=confusion)
        rows, threshold = measured_tracks(run, omics, generation.model, random.seed)
        written = texts.omics_tsv(rows) if format_ is Format.TSV else None
        text = written or texts.omics_json(rows, threshold)
    elif task is Task.GENERATION:
        _refuse(task, **vars(labels), confusion=confusion)
        text = _generation(run, format_, generation, random.seed)
    else:
        _refuse(task, **vars(generation))
        text = _classification(run, format_, labels, confusion, random.seed)
    _write(output, text)


def _classification(
    run: Run, format_: Format, labels: TruthOptions, confusion: Path | None, seed: int
) -> str:
    """The report on predicted labels as text; the confusion matrices are written to their own file."""
    from genomai_cli.cli import evaluation_report as texts
    from genomai_cli.formats.tables import read_labels, read_table
    from genomai_cli.metrics import evaluation

    if labels.truth is None or len(run.inputs) > 1:
        raise UsageError("one table of predictions and --truth LABELS are needed")
    table = evaluation.PredictionTable(read_table(run.inputs[0]))
    known = evaluation.with_label_sets(read_labels(labels.truth), table)
    column_of = evaluation.columns_for(table, known, _columns(labels.column or []))
    _count(run, evaluation.overlap(table, known), len(table.samples))
    _tell_leaks(run, labels)
    if novel := table.novel():
        run.console.say(
            f"{novel} of {len(table.samples)} samples are unlike what the model knows (NOVEL)"
        )
    scores = evaluation.score_heads(table, known, column_of, seed)
    if confusion is not None:
        _write(confusion, texts.confusion_tsv(scores))
    if format_ is Format.TSV:
        return texts.classification_tsv(scores)
    facts = {"task": Task.CLASSIFICATION, "predictions": table.path, "truth": known.path}
    return texts.classification_json(scores, **facts)


def _tell_leaks(run: Run, labels: TruthOptions) -> None:
    """Warn of sequences that the model may know from training, if it was said what that was."""
    from genomai_cli.training.similarity import shared_between

    if labels.trained_on is None:
        if labels.sequences is not None:
            raise UsageError("--sequences are compared with what --trained-on names")
        return
    file = labels.sequences or labels.truth
    assert file is not None  # without LABELS there is nothing to evaluate
    tested = _sequences(file)
    found = len(shared_between(_trained_on(labels.trained_on), tested))
    run.note(leaks={str(file): [found, len(tested)]})
    message = (
        f"{file}: {found} of {len(tested)} sequences have near-duplicates among those trained on"
    )
    if found:
        run.console.warn(f"{message}: what is measured on them is partly memory")
    else:
        run.console.say(message)


def _trained_on(name: str) -> "KmerTable | list[str]":
    """The sequences of a file, or what the model of that name keeps of those that it was trained on."""
    from genomai_cli.bundles import catalog
    from genomai_cli.training.similarity import KmerTable

    if Path(name).is_file():
        return _sequences(Path(name))
    kept = catalog.find(name) / catalog.TRAINING_KMERS
    if not kept.is_file():
        message = f"{name} keeps nothing of what it was trained on: --trained-on the file itself"
        raise BundleError(message)
    return KmerTable.from_file(kept)


def _sequences(path: Path) -> list[str]:
    from genomai_cli.formats.fasta import read_sequences
    from genomai_cli.formats.streams import open_input

    with open_input(path) as source:
        return [record.held for record in read_sequences(source)]


@dataclass(frozen=True, slots=True)
class Compared:
    """The files of real and of generated samples, and what they are compared with besides."""

    real: Path
    synthetic: Path
    held_out: Path | None = None
    predictions: Path | None = None

    @property
    def genotypes(self) -> list[Path]:
        """The files with genotypes."""
        return [self.real, self.synthetic, *([self.held_out] if self.held_out else [])]


def _generation(run: Run, format_: Format, options: GenerationOptions, seed: int) -> str:
    """The report on generated samples as text; UsageError for another number of inputs than two."""
    from genomai_cli.cli import evaluation_report as texts
    from genomai_cli.sources.installed import panel_of

    if len(run.inputs) != 2:
        raise UsageError("--task generation compares two files: REAL SYNTHETIC")
    real, synthetic = run.inputs
    files = Compared(real, synthetic, options.held_out, options.predictions)
    given = options.panel or options.model
    panel = panel_of(options.panel, options.model) if given else None
    report = _compare(run, files, panel, seed)
    if format_ is Format.TSV:
        return texts.generation_tsv(report)
    return texts.generation_json(report, asdict(files))


def _compare(run: Run, files: Compared, panel: "Panel | None", seed: int) -> "Report":
    """The report at the sites of the panel.

    Without a panel: of the installed one that the barcodes of a FASTA fit, or at the biallelic SNPs of the VCF of real
    samples.
    """
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.population.evaluation import generation
    from genomai_cli.population.evaluation.genotypes import genotypes_of, read_records

    sources = list(open_inputs(files.genotypes))
    records = [read_records(source) for source in sources]
    sites = panel or _panel(sources[0], [found for found in records if found is not None])
    genotypes = [genotypes_of(*pair, sites) for pair in zip(sources, records, strict=True)]
    for path, samples in zip(files.genotypes, genotypes, strict=True):
        phase = "phased" if samples.phased else "without phase"
        run.console.say(f"{path}: {len(samples)} samples at {len(sites)} sites, {phase}")
        run.count(read=len(samples), used=len(samples))
    comparison = generation.Comparison.of(sites, *genotypes)
    left_out = len(sites) - len(comparison.panel)
    if left_out:
        run.console.warn(f"{left_out} sites are missing in one of the files: left out")
    report = generation.report(comparison, seed)
    if files.predictions is not None:
        report["recognised"] = _recognised(files.predictions, genotypes[1])
    return report


def _panel(real: "Input", sequences: "list[list[SequenceRecord]]") -> "Panel":
    from genomai_cli.alphabet import as_letters
    from genomai_cli.formats.streams import open_input
    from genomai_cli.population.barcode import BarcodeSites
    from genomai_cli.population.panel_files import panel_of_variants
    from genomai_cli.sources.installed import installed_panels

    if sequences:
        record = sequences[0][0]
        for panel in installed_panels().values():
            if BarcodeSites.of(panel).fit(as_letters(record.held)):
                return panel
        message = f"{record.name} is no barcode of an installed panel: name its panel with --panel"
        raise InputError(message, path=record.path, line=record.line or None)
    if real.file is None:
        raise UsageError("real samples from a pipe need --panel or --model")
    with open_input(real.path) as again:  # once for the sites, once for the samples
        return panel_of_variants(again)


def _recognised(path: Path, synthetic: "SampleGenotypes") -> "Measures":
    from genomai_cli.formats.tables import read_table
    from genomai_cli.metrics.evaluation import PredictionTable
    from genomai_cli.population.evaluation.generation import recognition_measures

    predictions = PredictionTable(read_table(path))
    columns = [predictions.table.column(head) for head in predictions.heads]
    called = dict(zip(predictions.samples, zip(*columns, strict=True), strict=True))
    measures = recognition_measures(synthetic.requested, called)
    if not measures:
        message = "names none of the generated samples whose record has a phenotype="
        raise InputError(message, path=path)
    return measures


def _refuse(task: Task, **given: object) -> None:
    """UsageError if an option is given that is for another task."""
    for option, value in given.items():
        if value:
            raise UsageError(f"--{option.replace('_', '-')} is not for --task {task}")


def _columns(given: list[str]) -> dict[str, str]:
    """`HEAD=COLUMN` as a mapping."""
    for text in given:
        if not all(text.partition("=")):
            raise UsageError(f"--column {text}: not HEAD=COLUMN")
    return dict(text.split("=", 1) for text in given)


def _count(run: Run, overlap: "Overlap", rows: int) -> None:
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


def _some(samples: list[str], shown: int = 3) -> str:
    return ", ".join(samples[:shown]) + (" ..." if len(samples) > shown else "")


def _write(path: Path, text: str) -> None:
    from genomai_cli.formats.outputs import atomic_text

    with atomic_text(path) as file:
        file.write(text)
