"""The measures of `genomai evaluate --task omics` and `tracks`: how well a model restores tokens and tracks of a genome
aside, and how well it predicts tracks from DNA."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomai_cli.cli.options import Compute
from genomai_cli.cli.run import Run
from genomai_cli.cli.track_outputs import Only, Organism
from genomai_cli.errors import BundleError, InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.inference.coverage_evaluation import CoverageRow
    from genomai_cli.inference.track_evaluation import Row

TracksFile = Annotated[
    Path | None,
    typer.Option(
        "--tracks",
        metavar="TSV|BED",
        help="Omics, tracks: the tracks over --reference, of which the model's are taken by name.",
        show_default=False,
    ),
]
ReferenceFile = Annotated[
    Path | None,
    typer.Option(
        "--reference", metavar="FASTA", help="Omics, tracks: a genome aside.", show_default=False
    ),
]
RegionsFile = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        metavar="BED",
        help="Omics, tracks: where.  [default: whole contigs]",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        min=1e-6,
        max=1 - 1e-6,
        help="Omics: call probabilities from P on, as fitted elsewhere.  [default: fitted here]",
        show_default=False,
    ),
]
Resolution = Annotated[
    int | None,
    typer.Option(
        "--resolution",
        metavar="N",
        min=1,
        help="Tracks: bases of a bin.  [default: 128]",
        show_default=False,
    ),
]
DEFAULT_RESOLUTION = 128  # bases of a bin


@dataclass(eq=False, repr=False)
class OmicsOptions:
    """The tracks and the genome on which a model of tracks is measured."""

    tracks: TracksFile = None
    reference: ReferenceFile = None
    regions: RegionsFile = None
    threshold: Threshold = None
    resolution: Resolution = None
    only: Only = None
    organism: Organism = None

    def require_files(self, task: str, model: str | None) -> tuple[str, Path, Path]:
        """The model, the tracks and the reference; UsageError without one of them."""
        if model is None or self.tracks is None or self.reference is None:
            raise UsageError(f"--task {task} needs --model, --tracks and a --reference")
        return model, self.tracks, self.reference


def omics_measures(
    run: Run, options: OmicsOptions, model: str | None, seed: int
) -> "tuple[list[Row], float]":
    """The table of restored tokens and tracks, and the threshold of F1."""
    from genomai_cli.bundles import catalog
    from genomai_cli.device import to_single_precision
    from genomai_cli.formats.indexed_fasta import open_reference
    from genomai_cli.formats.reference_regions import regions_of
    from genomai_cli.formats.track_table import read_track_table
    from genomai_cli.formats.tracks import AlignedTracks
    from genomai_cli.inference.track_evaluation import evaluate_tracks
    from genomai_cli.inputs.track_baselines import BASELINES_FILE, OmicsBaselines
    from genomai_cli.inputs.tracks import TrackInput
    from genomai_cli.sources.model_choice import load_model

    model, tracks, fasta = options.require_files("omics", model)
    bundle = load_model(run, model, Compute(device="cpu"))
    to_single_precision([bundle.classifier, *bundle.auxiliary.values()])
    guesses_file = catalog.find(model) / BASELINES_FILE
    if not isinstance(bundle.input, TrackInput) or not guesses_file.is_file():
        raise BundleError(f"the model {bundle.name!r} restores no tracks")
    table = read_track_table(tracks).selected(bundle.input.tracks)
    with open_reference(fasta) as reference:
        aligned = AlignedTracks.open(table, reference.lengths, reference.path, run.console.warn)
        regions = list(regions_of(reference, options.regions))
        rows, threshold = evaluate_tracks(
            bundle,
            reference,
            regions,
            aligned,
            OmicsBaselines.from_bytes(guesses_file.read_bytes(), str(guesses_file)),
            seed=seed,
            threshold=options.threshold,
        )
    threshold_source = (
        "given" if options.threshold else "fitted to these masked values, which flatters F1"
    )
    run.console.say(f"values from {threshold:.4f} on are called ({threshold_source})")
    run.note(threshold=threshold)
    return rows, threshold


def coverage_measures(
    run: Run, options: OmicsOptions, model: str | None, seed: int
) -> "list[CoverageRow]":
    """How well tracks are predicted from DNA, organism by organism of those that the table has tracks of."""
    from genomai_cli.bundles import catalog
    from genomai_cli.device import to_single_precision
    from genomai_cli.formats.indexed_fasta import open_reference
    from genomai_cli.formats.reference_regions import regions_of
    from genomai_cli.formats.track_table import read_track_table
    from genomai_cli.formats.tracks import AlignedTracks
    from genomai_cli.inference.coverage_evaluation import (
        compare_coverage,
        means_of,
        measured_tracks,
    )
    from genomai_cli.inference.track_predictions import PredictionOptions, TrackPredictor
    from genomai_cli.inputs.track_baselines import BASELINES_FILE
    from genomai_cli.sources.model_choice import load_model

    model, tracks, fasta = options.require_files("tracks", model)
    bundle = load_model(run, model, Compute(device="cpu"))
    to_single_precision([bundle.classifier])
    table = read_track_table(tracks)
    guesses_file = catalog.find(model) / BASELINES_FILE
    guesses = guesses_file.read_bytes() if guesses_file.is_file() else None
    rows: list[CoverageRow] = []
    with open_reference(fasta) as reference:
        regions = list(regions_of(reference, options.regions))
        tracks_by_organism = measured_tracks(bundle, table, options.only or (), options.organism)
        for organism, names in tracks_by_organism.items():
            reading = PredictionOptions(
                resolution=options.resolution or DEFAULT_RESOLUTION, only=names, organism=organism
            )
            predictor = TrackPredictor(bundle, reference, reading)
            organism_table = table.selected(predictor.reader.tracks)
            aligned = AlignedTracks.open(
                organism_table, reference.lengths, reference.path, run.console.warn
            )
            means = (
                None
                if guesses is None
                else means_of(guesses, str(guesses_file), bundle, predictor.tracks)
            )
            rows += compare_coverage(predictor, aligned, regions, means).rows(seed)
            run.console.say(f"{len(predictor.tracks)} tracks {organism or ''}; {predictor.rules}")
    if not rows:
        raise InputError("nothing of the model's tracks was measured in the regions", path=tracks)
    if guesses is None:
        run.console.say("each track's mean is that of what is measured here, which flatters it")
    return rows
