"""`genomai classify`: which labels the samples have, with calibrated probabilities."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import (
    STANDARD_OUTPUT,
    BatchSize,
    ComputeWithoutSeed,
    Inputs,
    Model,
    Output,
    ShardOption,
    VariantOptions,
    report_option,
    wants_parquet,
)
from genomai_cli.cli.run import Run, command
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.inference.call_report import CallReport

Probabilities = Annotated[
    bool, typer.Option("--probs", help="Add a column HEAD:LABEL with every label's probability.")
]
Proportions = Annotated[
    str | None,
    typer.Option(
        "--proportions",
        metavar="HEAD",
        help="Add columns fraction:LABEL of ancestry by the labels of a head (superpop, pop), with standard errors.",
        show_default=False,
    ),
]
FractionsFile = Annotated[
    Path | None,
    typer.Option(
        "--q",
        metavar="FILE",
        help="Write the fractions as ADMIXTURE does (.Q), and the samples' names to FILE.samples.",
        show_default=False,
    ),
]
Components = Annotated[
    int | None,
    typer.Option(
        "--pcs",
        metavar="N",
        min=1,
        help="Add columns PC1 to PCN: coordinates on principal axes of the model's training samples.",
        show_default=False,
    ),
]
AxesFile = Annotated[
    Path | None,
    typer.Option(
        "--eigenvec",
        metavar="FILE",
        help="With --pcs, write the coordinates as plink2 --pca does (.eigenvec).",
        show_default=False,
    ),
]
ReportFile = Annotated[
    Path | None, report_option("samples, map, proportions, flags and what to do")
]
PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the map and the proportions: .png, .svg or .pdf.",
        show_default=False,
    ),
]
ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="The genome that a CRAM was made with.",
        show_default=False,
    ),
]


class TableFormat(StrEnum):
    """The format of the table."""

    TSV = "tsv"
    MULTIQC = "multiqc"
    PARQUET = "parquet"


TableFormatOption = Annotated[
    TableFormat | None,
    typer.Option(
        "--to",
        help="multiqc adds the header of MultiQC's custom content: name it *_mqc.tsv.  [default: by the name, parquet "
        "for .parquet; else tsv]",
        show_default=False,
    ),
]


@dataclass(eq=False, repr=False)
class Coordinates:
    """Ancestry fractions and coordinates on principal axes, and their files for other tools."""

    proportions: Proportions = None
    q: FractionsFile = None
    pcs: Components = None
    eigenvec: AxesFile = None

    def requested_measures(self, bundle: "Bundle") -> dict[str, str | int]:
        """The measures of samples besides labels, by option; `--q` alone is about the first head."""
        if self.eigenvec is not None and self.pcs is None:
            raise UsageError("--eigenvec needs --pcs N: how many axes")
        if self.q is not None and self.proportions is None:
            bundle.require_heads()
            self.proportions = next(iter(bundle.heads))
        options = {"proportions": self.proportions, "pcs": self.pcs}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def files(self) -> list[Path]:
        """The files that are asked for: fractions and names, axes."""
        fractions = [] if self.q is None else [self.q, Path(f"{self.q}.samples")]
        return [*fractions, *([] if self.eigenvec is None else [self.eigenvec])]


@dataclass(eq=False, repr=False)
class VisualOptions:
    """The page and the picture for people, besides the table."""

    report: ReportFile = None
    plot: PlotFile = None

    @property
    def files(self) -> list[Path]:
        """The files that are asked for."""
        return [path for path in (self.report, self.plot) if path is not None]

    def check(self) -> None:
        """UsageError for a picture of another kind."""
        if self.plot is not None:
            from genomai_cli.reports.pictures import require_ending

            require_ending("--plot", self.plot)


@command
def classify(
    run: Run,
    inputs: Inputs = None,
    model: Model = None,
    probs: Probabilities = False,
    to: TableFormatOption = None,
    *,
    coordinates: Coordinates,
    visuals: VisualOptions,
    shard: ShardOption = None,
    batch_size: BatchSize = None,
    variants: VariantOptions,
    reference: ReferenceFile = None,
    compute: ComputeWithoutSeed,
    output: Output = STANDARD_OUTPUT,
) -> None:
    """Tell which reference groups samples are most similar to.

    Reads a VCF, or barcodes (one IUPAC letter for each site of the model's panel) in FASTA, or human mitochondrial
    genomes in either, whole or in part, or an indexed BAM at the sites; other models read plain DNA. Without --model
    the first records choose.
    Writes one row a sample: label and calibrated probability of every head, the sites used, and flags.
    The groups are reference samples of the 1000 Genomes Project: similarity to them is not race or ethnicity.

    \b
    genomai classify samples.vcf.gz > populations.tsv
    bcftools view -s NA12878 cohort.bcf | genomai classify
    genomai classify mitochondrial-genomes.fa > lineages.tsv
    genomai classify --model my-model --probs sequences.fa > labels.tsv
    genomai classify --proportions superpop --pcs 4 cohort.vcf.gz > mixtures.tsv
    genomai classify --report report.html cohort.vcf.gz > populations.tsv
    """
    from genomai_cli.cli.inputs import open_run_inputs
    from genomai_cli.formats.shards import Shard
    from genomai_cli.inference.batching import Batching
    from genomai_cli.inference.call_report import CallReport, report_measures
    from genomai_cli.inference.classify import (
        classify_records,
        multiqc_header,
        write_axes,
        write_calls,
        write_fractions,
    )
    from genomai_cli.sources.model_choice import InstalledInputs, open_model

    visuals.check()
    parquet = wants_parquet(to, output)
    part = Shard.parsed(shard)
    _, opened_inputs = open_run_inputs(run)
    sources = (replace(source, reference=reference) for source in opened_inputs)
    _, bundle, records = open_model(run, sources, model, compute, variants=variants, part=part)
    requested = coordinates.requested_measures(bundle)
    measures = bundle.input.measures(requested) if requested else ()
    space = bundle.input.reference_space() if visuals.files else None
    report = CallReport(bundle, space, report_measures(measures, space)) if visuals.files else None
    calls = classify_records(
        bundle,
        records,
        other_inputs=InstalledInputs(),
        measures=measures if report is None else report.measures,
        batching=Batching(windows=batch_size),
    )
    with _outputs(output, coordinates.files, visuals) as (out, coordinate_files, pages):
        if report is not None:
            calls = report.watch(calls)
        if coordinates.q is not None:
            count = len(bundle.heads[str(coordinates.proportions)])
            calls = write_fractions(coordinate_files[0], coordinate_files[1], calls, count)
        if coordinates.eigenvec is not None:
            calls = write_axes(coordinate_files[-1], calls, measures)
        if to is TableFormat.MULTIQC and part.is_first:
            out.write(multiqc_header(bundle))
        counts = write_calls(
            out,
            calls,
            bundle,
            with_probabilities=probs,
            measures=measures,
            header=part.is_first,
            parquet=parquet,
        )
        if report is not None:
            _write_pages(run, report, visuals, pages)
    run.count(used=counts.known, refused=counts.unknown)
    run.note(flags=counts.flags)


@contextmanager
def _outputs(
    table: Path, coordinate_paths: list[Path], visuals: VisualOptions
) -> Iterator[tuple[IO[bytes], list[IO[bytes]], dict[Path, IO[bytes]]]]:
    """The table, the files of coordinates, and the page and the picture: all appear, or none."""
    from genomai_cli.formats.outputs import atomic_output, buffered_output

    with ExitStack() as stack:
        pages = {path: stack.enter_context(atomic_output(path)) for path in visuals.files}
        out, *coordinate_files = [
            stack.enter_context(buffered_output(path)) for path in (table, *coordinate_paths)
        ]
        yield out, coordinate_files, pages


def _write_pages(
    run: Run, report: "CallReport", visuals: VisualOptions, pages: dict[Path, IO[bytes]]
) -> None:
    """The page and the picture, when all samples have passed."""
    if visuals.report is not None:
        from genomai_cli.reports.page import rendered

        pages[visuals.report].write(rendered(report.page(run.facts())))
    if visuals.plot is not None:
        from genomai_cli.reports.pictures import require_ending, samples_picture

        bundle = report.bundle
        title = f"{report.count:,} samples classified by {bundle.name} {bundle.version}"
        ending = require_ending("--plot", visuals.plot)
        image = samples_picture(title, report.sample_map(), report.bars(), ending)
        pages[visuals.plot].write(image)
