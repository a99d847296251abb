"""The measures of `genomai evaluate --task generation`: generated samples compared with real ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import Groups, Model, PanelFile
from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.streams import Input
    from genomai_cli.population.evaluation.generation import Comparison, Measures, Report
    from genomai_cli.population.evaluation.genotypes import SampleGenotypes
    from genomai_cli.population.panel import Panel
    from genomai_cli.records import SequenceRecord

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


@dataclass(eq=False, repr=False)
class GenerationOptions:
    """Further samples for the comparison of generated with real ones, and its sites."""

    held_out: HeldOut = None
    groups: Groups = None
    predictions: Predictions = None
    model: Model = None
    panel: PanelFile = None


@dataclass(frozen=True, slots=True)
class ComparedFiles:
    """The files of real, generated and held-out samples, of their groups, and of predictions."""

    real: Path
    synthetic: Path
    held_out: Path | None = None
    groups: Path | None = None
    predictions: Path | None = None

    @property
    def genotypes(self) -> list[Path]:
        """The files with genotypes."""
        return [self.real, self.synthetic, *([self.held_out] if self.held_out else [])]


def generation_measures(
    run: Run, options: GenerationOptions, seed: int
) -> "tuple[Report, Comparison, ComparedFiles]":
    """The report on generated samples, what was compared, and the files; UsageError for another number of inputs than
    two."""
    from genomai_cli.sources.installed import panel_of

    if len(run.inputs) != 2:
        raise UsageError("--task generation compares two files: REAL SYNTHETIC")
    real, synthetic = run.inputs
    files = ComparedFiles(real, synthetic, options.held_out, options.groups, options.predictions)
    has_panel = options.panel or options.model
    panel = panel_of(options.panel, options.model) if has_panel else None
    return *_compare(run, files, panel, seed), files


def _compare(
    run: Run, files: ComparedFiles, panel: "Panel | None", seed: int
) -> "tuple[Report, Comparison]":
    """The report at the sites of the panel.

    Without a panel: of the installed one that the barcodes of a FASTA fit, or at the biallelic SNPs of the VCF of real
    samples.
    """
    from genomai_cli.formats.streams import open_inputs
    from genomai_cli.formats.tables import read_labels
    from genomai_cli.population.evaluation import generation
    from genomai_cli.population.evaluation.genotypes import genotypes_of, read_records

    sources = list(open_inputs(files.genotypes))
    records = [read_records(source) for source in sources]
    sites = panel or _panel(
        sources[0], [sequences for sequences in records if sequences is not None]
    )
    genotypes = [genotypes_of(*pair, sites) for pair in zip(sources, records, strict=True)]
    for path, samples in zip(files.genotypes, genotypes, strict=True):
        phase = "phased" if samples.phased else "without phase"
        run.console.say(f"{path}: {len(samples)} samples at {len(sites)} sites, {phase}")
        run.count(read=len(samples), used=len(samples))
    real, synthetic, *held_out = genotypes
    groups = read_labels(files.groups) if files.groups else None
    held_out_samples = held_out[0] if held_out else None
    comparison = generation.Comparison.of(sites, real, synthetic, held_out_samples, groups)
    left_out = len(sites) - len(comparison.panel)
    if left_out:
        run.console.warn(f"{left_out} sites are missing in one of the files: left out")
    report = generation.report(comparison, seed)
    for alarm in generation.alarms(report).values():
        run.console.warn(alarm)
    if files.predictions is not None:
        report["recognised"] = _recognised(files.predictions, synthetic)
    return report, comparison


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
    with open_input(real.path) as reopened:  # once for the sites, once for the samples
        return panel_of_variants(reopened)


def _recognised(path: Path, synthetic: "SampleGenotypes") -> "Measures":
    from genomai_cli.formats.tables import read_table
    from genomai_cli.metrics.evaluation import PredictionTable
    from genomai_cli.population.evaluation.generation import recognition_measures

    predictions = PredictionTable(read_table(path))
    columns = [predictions.table.column(head) for head in predictions.heads]
    labels_of_sample = dict(zip(predictions.samples, zip(*columns, strict=True), strict=True))
    measures = recognition_measures(synthetic.requested, labels_of_sample)
    if not measures:
        message = "names none of the generated samples whose record has a phenotype="
        raise InputError(message, path=path)
    return measures
