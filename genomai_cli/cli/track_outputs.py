"""Shared by `predict` and `denoise` of tracks: options, and the writing of tracks along a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import STANDARD_OUTPUT, Strand, StrandOption, report_option
from genomai_cli.cli.pages import PageFile
from genomai_cli.cli.run import Run
from genomai_cli.errors import UsageError

if TYPE_CHECKING:
    from genomai_cli.bundles.bundle import Bundle
    from genomai_cli.formats.consensus import Region
    from genomai_cli.formats.track_outputs import TrackSegment
    from genomai_cli.formats.track_table import Track
    from genomai_cli.formats.tracks import AlignedTracks
    from genomai_cli.inference.track_logo import TrackLogo
    from genomai_cli.inference.track_picture import Contacts
    from genomai_cli.inference.track_predictions import PredictionOptions, TrackPredictor
    from genomai_cli.inference.track_report import TrackReport


class Form(StrEnum):
    """How tracks are written."""

    BIGWIG = "bigwig"
    BEDGRAPH = "bedgraph"
    HDF5 = "hdf5"
    TSV = "tsv"


class Aggregation(StrEnum):
    """How the bases of a bin become its value."""

    MEAN = "mean"
    MAX = "max"
    SUM = "sum"


ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FASTA",
        help="The genome, plain or compressed; an index beside it (.fai) saves time.",
        show_default=False,
    ),
]
RegionsFile = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        metavar="BED",
        help="Where; regions may not overlap.  [default: whole contigs]",
        show_default=False,
    ),
]
ToForm = Annotated[
    Form,
    typer.Option("--to", help="A folder of bigWig or bedGraph, HDF5, or the means of regions."),
]
Resolution = Annotated[
    int, typer.Option("--resolution", metavar="N", min=1, help="Bases of a bin.")
]
AggregationOption = Annotated[
    Aggregation, typer.Option("--aggregation", help="Of the bases of a bin.")
]
Overlap = Annotated[
    int | None,
    typer.Option(
        "--overlap",
        metavar="N",
        min=0,
        help="Bases of the genome that are read before what is taken from a window, and behind it too where the model "
        "looks both ways.  [default: a quarter of it]",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="TEXT",
        help="Of a model of tracks: those of this name, assay or tissue; may be repeated.  [default: all]",
        show_default=False,
    ),
]
Organism = Annotated[
    str | None,
    typer.Option(
        "--organism",
        metavar="NAME",
        help="Of a model of tracks with weights for several organisms: whose.  [default: by the tracks chosen]",
        show_default=False,
    ),
]
WindowBases = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        min=1,
        help="Bases that are read at once.  [default: as many as the model can]",
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Also draw the region, a panel a track, as PNG or SVG by the name.",
        show_default=False,
    ),
]
Observed = Annotated[
    Path | None,
    typer.Option(
        "--observed",
        metavar="TSV|BED",
        help="With --plot or --report: the tracks as they were measured, drawn behind.",
        show_default=False,
    ),
]


PlotLogo = Annotated[
    str | None,
    typer.Option(
        "--plot-logo",
        metavar="TRACK",
        help="With --plot, above the tracks: the region's letters, at most 400, as high as what they add to this one.",
        show_default=False,
    ),
]
ContactsFile = Annotated[
    Path | None,
    typer.Option(
        "--contacts",
        metavar="FILE",
        help="Also write the contact maps chosen, of the bins in each region, as .cool or HDF5 by the name.",
        show_default=False,
    ),
]
ReportFile = Annotated[
    Path | None, report_option("the first regions as a picture, and the means of all")
]


@dataclass(eq=False, repr=False)
class DrawingOptions:
    """The pictures, contact maps and pages to write."""

    plot: Plot = None
    plot_logo: PlotLogo = None
    observed: Observed = None
    contacts: ContactsFile = None
    report: ReportFile = None

    def check(self, regions: int | None = None) -> None:
        """UsageError for options that do not go together, and for other than one region to draw."""
        if self.observed and not (self.plot or self.report):
            raise UsageError("--observed is for --plot and --report")
        if self.plot_logo and not self.plot:
            raise UsageError("--plot-logo is for --plot")
        if self.contacts and self.contacts.suffix.lower() not in (".cool", ".h5", ".hdf5"):
            raise UsageError(f"--contacts {self.contacts}: name it .cool or .h5")
        if self.plot and self.plot.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--plot {self.plot}: name it .png or .svg")
        if self.plot and regions not in (None, 1):
            raise UsageError(f"--plot draws one region, not {regions}: name it with --regions")


@dataclass(eq=False, repr=False)
class GenomeOptions:
    """The reference, and the regions of it, along which tracks are predicted."""

    reference: ReferenceFile = None
    regions: RegionsFile = None


@dataclass(eq=False, repr=False)
class TrackForm:
    """How the tracks are read and written."""

    to: ToForm = Form.TSV
    resolution: Resolution = 1
    aggregation: AggregationOption = Aggregation.MEAN
    window: WindowBases = None
    overlap: Overlap = None
    strand: StrandOption = Strand.FORWARD
    only: Only = None
    organism: Organism = None

    def reading(self) -> "PredictionOptions":
        """These options as predictors read them."""
        from genomai_cli.inference.track_predictions import PredictionOptions

        return PredictionOptions(
            self.overlap,
            self.strand is Strand.BOTH,
            self.resolution,
            self.aggregation.value,
            self.window,
            self.only or (),
            self.organism,
        )


def write_tracks(
    run: Run,
    bundle: "Bundle",
    genome: GenomeOptions,
    form: TrackForm,
    output: Path,
    known_tracks_file: Path | None = None,
    drawing: DrawingOptions | None = None,
    page: PageFile | None = None,
) -> None:
    """Write the model's tracks along the reference, and draw them and their page; with a table of known
    tracks, their values where they are known."""
    from genomai_cli.device import to_single_precision
    from genomai_cli.formats.indexed_fasta import open_reference
    from genomai_cli.formats.reference_regions import regions_of
    from genomai_cli.formats.track_outputs import track_output
    from genomai_cli.inference.track_predictions import TrackPredictor

    assert genome.reference is not None
    to_single_precision([bundle.classifier])
    if output == STANDARD_OUTPUT and form.to in (Form.BIGWIG, Form.BEDGRAPH):
        raise UsageError(f"--to {form.to} writes a folder: name it with -o")
    with open_reference(genome.reference) as reference:
        predictor = TrackPredictor(bundle, reference, form.reading())
        regions = list(regions_of(reference, genome.regions))
        drawing = drawing or DrawingOptions()
        drawing.check(len(regions))
        if not predictor.columns and (drawing.contacts is None or form.to is not Form.TSV):
            raise UsageError(
                "the tracks chosen are contact maps: --contacts FILE writes them, without --to"
            )
        logo = _logo(predictor, regions, drawing)
        known_tracks = _known_tracks(run, predictor, known_tracks_file)
        _report_windows(run, predictor, regions=len(regions))
        tracks = predictor.tracks
        model_facts = {"model_name": bundle.name, "model_sha256": bundle.weights_sha256}
        plotted: list[TrackSegment] = []
        report = _make_report(tracks, form) if page else None
        with track_output(output, form.to.value, tracks, reference.lengths, model_facts) as out:
            for region in run.console.progress(regions, "predicting"):
                stretches = predictor.stretches(region, known_tracks, fill=known_tracks is not None)
                for stretch in report.watch_region(region, stretches) if report else stretches:
                    out.add(stretch)
                    plotted += [stretch] if drawing.plot else []
                run.count(read=1, used=1)
            observed = _observed(run, predictor, drawing, tracks)
            contacts = _contacts(predictor, regions, drawing, model_facts)
            if drawing.plot:
                _draw(drawing.plot, tracks, plotted, bundle.name, observed, contacts, logo)
            if report and page:
                page.write(report.page(bundle.name, observed, _page_facts(run, bundle, predictor)))


def _make_report(tracks: "Sequence[Track]", form: TrackForm) -> "TrackReport":
    from genomai_cli.inference.track_report import TrackReport  # slow to load

    return TrackReport(tracks, form.resolution)


def _page_facts(run: Run, bundle: "Bundle", predictor: "TrackPredictor") -> dict[str, str]:
    """Facts of the model, its windows and the run for a page."""
    reading = predictor.options
    return {
        "model": f"{bundle.name} {bundle.version}",
        "SHA-256 of its weights": bundle.weights_sha256,
        "windows": predictor.rules,
        "strands": "both" if reading.both_strands else "forward",
        "bins": f"{reading.resolution} bases, {reading.aggregation}",
        **run.facts(),
    }


def _observed(
    run: Run, predictor: "TrackPredictor", drawing: DrawingOptions, tracks: "Sequence[Track]"
) -> "AlignedTracks | None":
    """The tracks as they were measured, if they are given."""
    from genomai_cli.formats.track_table import read_track_table
    from genomai_cli.formats.tracks import AlignedTracks

    if drawing.observed is None:
        return None
    table = read_track_table(drawing.observed).selected(tracks)
    reference = predictor.reference
    return AlignedTracks.open(table, reference.lengths, reference.path, run.console.warn)


def _contacts(
    predictor: "TrackPredictor",
    regions: "Sequence[Region]",
    drawing: DrawingOptions,
    model_facts: dict[str, str],
) -> "Contacts | None":
    """The contact maps that are drawn, and written if they are asked for; None without any."""
    from genomai_cli.formats.contact_maps import ContactMaps
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.inference.contact_predictions import ContactPredictor
    from genomai_cli.inference.track_picture import Contacts

    if not drawing.contacts and not (drawing.plot and predictor.map_columns):
        return None
    contacts, size = ContactPredictor(predictor), predictor.reader.step
    maps = [predictor.reader.tracks[column] for column in predictor.map_columns]
    pairs = [part for region in regions for part in contacts.pairs(region)]
    if drawing.contacts:
        contact_maps = ContactMaps(maps, predictor.reference.lengths, size)
        contact_maps.add(pairs)
        with atomic_output(drawing.contacts) as out:
            contact_maps.write(out, drawing.contacts.suffix.lower(), model_facts)
    return Contacts(maps, pairs, size) if any(len(part.first) for part in pairs) else None


def _logo(
    predictor: "TrackPredictor", regions: "Sequence[Region]", drawing: DrawingOptions
) -> "TrackLogo | None":
    """The letters that drive a track, if they are to be drawn."""
    if drawing.plot_logo is None:
        return None
    from genomai_cli.inference.track_logo import TrackLogo  # slow to load

    return TrackLogo.of(predictor, regions[0], drawing.plot_logo)


def _draw(
    plot: Path,
    tracks: "Sequence[Track]",
    stretches: "list[TrackSegment]",
    name: str,
    observed: "AlignedTracks | None",
    contacts: "Contacts | None",
    logo: "TrackLogo | None",
) -> None:
    from genomai_cli.formats.outputs import atomic_output
    from genomai_cli.inference.track_picture import track_picture  # slow to load

    title = f"{name}: {stretches[0].contig}:{stretches[0].start + 1:,}-{stretches[-1].end:,}"
    image = track_picture(title, tracks, stretches, plot.suffix.lower(), observed, contacts, logo)
    with atomic_output(plot) as out:
        out.write(image)


def _known_tracks(
    run: Run, predictor: "TrackPredictor", table: Path | None
) -> "AlignedTracks | None":
    from genomai_cli.formats.track_table import read_track_table
    from genomai_cli.formats.tracks import AlignedTracks

    if table is None:
        return None
    selected = read_track_table(table).selected(predictor.reader.tracks)
    reference = predictor.reference
    absent = sum(track.file is None for track in selected.tracks)
    run.console.say(f"{absent} of the model's {len(selected.tracks)} tracks are not in {table}")
    aligned = AlignedTracks.open(selected, reference.lengths, reference.path, run.console.warn)
    return predictor.known(aligned)


def _report_windows(run: Run, predictor: "TrackPredictor", regions: int) -> None:
    """Say and record how regions are cut into windows."""
    strands = "both strands" if predictor.options.both_strands else "the forward strand"
    run.console.say(
        f"{len(predictor.tracks)} tracks along {regions} regions, {strands}; {predictor.rules}"
    )
    run.note(
        window=predictor.window,
        overlap=predictor.overlap,
        resolution=predictor.options.resolution,
    )
