"""DNA with tracks over it: a reference genome cut into rows, which are held out whole, and the tracks along it."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from genomai_cli.alphabet import IS_BASE, UNKNOWN_LETTER, as_letters
from genomai_cli.backbones.base import Network, max_length, network_class
from genomai_cli.backbones.classifier import Classifier
from genomai_cli.errors import BundleError, InputError, TrainingError, UsageError, shown_names
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.cool_maps import RAW
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.reference_regions import regions_of
from genomai_cli.formats.tables import TableWriter, read_table
from genomai_cli.formats.track_table import (
    DESCRIPTION_COLUMNS,
    Track,
    parse_descriptions,
    read_track_table,
    write_descriptions,
)
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.base import InputKind, Recipe
from genomai_cli.inputs.card_text import BASELINES, CardText
from genomai_cli.inputs.samples import Letters, TrainingRows
from genomai_cli.inputs.sequences import SequenceInput, SequenceViewsSettings
from genomai_cli.inputs.track_baselines import (
    BASELINES_FILE,
    CoverageMeans,
    OmicsBaselines,
    expected_contacts,
)
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.objectives.base import Alphabet, objective_class
from genomai_cli.objectives.omics import Omics
from genomai_cli.objectives.tracks import Tracks
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer

TRACKS_FILE = "tracks.tsv"  # in a bundle
MAX_ROW_LENGTH, MIN_ROWS, MIN_ROW_LENGTH = (
    1 << 20,
    20,
    1 << 12,
)  # letters; rows of a small reference
RESTORES = """\
It restores DNA and tracks over it from each other: `genomai predict --model DIR --reference ref.fa` writes the tracks,
`genomai denoise --model DIR --tracks tracks.tsv --reference ref.fa` fills those that are missing. A value is the
probability that a base is in a peak of the track."""
PREDICTS = """\
It predicts tracks from DNA: `genomai predict --model DIR --reference ref.fa` writes them, `genomai score --model DIR
--reference ref.fa variants.vcf` tells what variants change in them. A value is a base's, in the units of the files."""
PEAKS = """\
Tracks are those of the cells and the laboratory that it was trained on, and peaks what a caller's threshold made of
them. What it says of other genomes, builds or species is not measured by the losses above."""
COVERAGE = """\
Tracks are those of the cells and the laboratory that it was trained on, in the units of its files. What it says of
other genomes, builds or species is not measured by the losses above."""
MAX_SHOWN_CONTIGS = 5  # contigs in a warning
OMICS_BASELINE = "one base of four for a masked token, each track at its rate in the same windows"
COVERAGE_BASELINE = "each track's mean in the training data"
NO_MEANS = "has no value above 0 in the rows to train on: leave it out, or if its values are negative change their sign"


@dataclass(frozen=True)
class TrackSettings:
    """Nothing to say of DNA with tracks."""

    kind: str = "tracks"
    haplotypes: bool = False


class TrackInput(SequenceInput):
    """DNA of a reference with tracks."""

    name = "tracks"
    settings = TrackSettings
    views_settings = SequenceViewsSettings
    merges_near_duplicates = False
    files_used = frozenset({"tracks", "reference", "regions"})
    holds_out_records = True

    def __init__(
        self,
        tracks: Sequence[Track],
        aligned: AlignedTracks | None = None,
        files: Mapping[str, Path] | None = None,
        warnings: Sequence[str] = (),
        objective: Omics | Tracks | None = None,
        means: CoverageMeans | None = None,
        expected: Values | None = None,
    ) -> None:
        self.tracks: tuple[Track, ...] = tuple(tracks)
        self.aligned, self.files = aligned, files or {}
        self.warnings = warnings  # of their alignment
        self.objective = objective  # that a run trains by
        self.means = means  # of coverage in the rows to train on
        self.expected = expected  # contacts there, by map and distance

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The tracks of a bundle, without their files."""
        if not (folder / TRACKS_FILE).is_file():
            name = config.get("name")
            raise BundleError(
                f"{name}: a model of tracks needs a list of them, {folder / TRACKS_FILE}"
            )
        return cls(parse_descriptions(read_table(folder / TRACKS_FILE)))

    def write(self, folder: Path) -> None:
        """The tracks, without their files."""
        text = io.StringIO()
        write_descriptions(TableWriter(text, ["name", *DESCRIPTION_COLUMNS]), self.tracks)
        (folder / TRACKS_FILE).write_text(text.getvalue(), encoding="utf-8")

    @classmethod
    def from_files(
        cls, recipe: Recipe, files: Mapping[str, Path | None], initial_input: InputKind | None
    ) -> InputKind:
        """The tracks of the files, those of the model to begin from if there is one, over the reference."""
        table, fasta = files.get("tracks"), files.get("reference")
        if table is None or fasta is None:
            raise UsageError(f"the recipe {recipe.name} needs --tracks and a --reference")
        track_table = read_track_table(table)
        if isinstance(initial_input, TrackInput):
            track_table = track_table.selected(initial_input.tracks)
        messages: list[str] = []
        with open_reference(fasta) as reference:
            aligned = AlignedTracks.open(track_table, reference.lengths, fasta, messages.append)
            messages += _trackless_contig_warnings(
                aligned, list(regions_of(reference, files.get("regions")))
            )
        cls._check_maps(aligned, recipe)
        input_files = {name: file for name, file in files.items() if file is not None}
        return cls(
            tuple(_with_units(aligned)),
            aligned,
            input_files,
            [*messages, *_raw_count_warnings(aligned)],
        )

    @classmethod
    def _check_maps(cls, aligned: AlignedTracks, recipe: Recipe) -> None:
        """InputError for contact maps that the recipe does not learn."""
        step = network_class(recipe.network["kind"]).length_multiple
        for source in aligned.maps:
            if Tracks.name not in recipe.objectives:
                message = f"a contact map: --objective {Tracks.name} learns such"
                raise InputError(message, path=source.file.path)
            if source.file.bin_size != step:
                message = (
                    f"bins of {source.file.bin_size:,} bases, and the network has bins of {step:,}: make the map anew "
                    f"from its pairs (`cooler cload pairs ... chrom.sizes:{step} ...`)"
                )
                raise InputError(message, path=source.file.path)

    def records(self) -> Iterator[SequenceRecord]:
        """The rows of the reference, or of its regions where they are given, in their order; without overlaps."""
        with open_reference(self.files["reference"]) as reference:
            regions = list(regions_of(reference, self.files.get("regions")))
            total = sum(region.end - region.start for region in regions)
            size = min(MAX_ROW_LENGTH, max(MIN_ROW_LENGTH, -(-total // MIN_ROWS)))
            for region in regions:
                count = -(-(region.end - region.start) // size)
                bounds = np.linspace(region.start, region.end, count + 1).astype(np.int64)
                for first, last in pairwise(bounds.tolist()):
                    name = f"{region.contig}:{first}-{last}"
                    text = reference.fetch(region.contig, first, last)
                    yield SequenceRecord(name, text, "", str(reference.path))

    def corpus_rows(
        self, records: Iterable[SequenceRecord], warn: Callable[[str], None]
    ) -> Iterator[tuple[str, Letters]]:
        """The rows, in which every letter that is no base is N, as in gaps of an assembly."""
        for warning in self.warnings:
            warn(warning)
        for record in records:
            letters = as_letters(record.held)
            yield record.name, np.where(IS_BASE[letters], letters, np.uint8(UNKNOWN_LETTER))

    def require_same(self, other: InputKind, name: str) -> None:
        """TrainingError unless the model to begin from has the same tracks."""
        super().require_same(other, name)
        if not isinstance(other, TrackInput) or other.tracks != self.tracks:
            raise TrainingError(f"the model to begin from, {name}, has other tracks")

    def sizes(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
        """The sizes that follow from the vocabulary and the tracks, as the network names them."""
        kind = network_class(recipe.network["kind"])
        try:
            return kind.track_sizes(self.tracks, super().sizes(rows, recipe, tokenizer))
        except NotImplementedError:
            message = f"the network {recipe.network['kind']} has no heads for tracks"
            raise TrainingError(f"recipe {recipe.name}: {message}") from None
        except ValueError as error:
            raise TrainingError(f"recipe {recipe.name}: {error}") from None

    def prepared(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> "TrackInput":
        """The same with the objective of the run, and the means of the tracks in the rows to train on."""
        assert self.aligned is not None
        (name,) = {"omics", "tracks"} & recipe.objectives.keys() or {"omics"}
        means = expected = None
        if name == Tracks.name:
            windows = TrackWindows.of(self.aligned, rows.names)
            means = CoverageMeans.of(rows, windows)
            kind, max_letters = (
                network_class(recipe.network["kind"]),
                max_length(recipe.network) or 0,
            )
            bins = min(recipe.corpus.window or max_letters, max_letters) // kind.length_multiple
            expected = expected_contacts(rows, windows, bins)
        found = TrackInput(
            self.tracks, self.aligned, self.files, self.warnings, means=means, expected=expected
        )
        alphabet = found.alphabet(rows, recipe, tokenizer)
        found.objective = objective_class(name)(recipe.settings[name], alphabet)
        return found

    def initialize(
        self, classifier: Classifier, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer
    ) -> None:
        """Give a network of coverage the tracks' means; TrainingError for one that is nowhere above 0, contact maps
        included."""
        del tokenizer, rows
        if self.means is None:
            return
        positive_means, positive_shares = (
            self.means.positive_means.tolist(),
            self.means.positive_shares.tolist(),
        )
        assert self.aligned is not None
        assert self.expected is not None
        maps = {
            source.column: row for source, row in zip(self.aligned.maps, self.expected, strict=True)
        }
        for column, (track, mean) in enumerate(zip(self.tracks, positive_means, strict=True)):
            if not (maps[column].max() if column in maps else mean) > 0:
                raise TrainingError(f"recipe {recipe.name}: track {track.name} {NO_MEANS}")
        for network in classifier.networks:
            if network.predicts_tracks:
                network.set_track_means(self.tracks, positive_means, positive_shares)

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """The tokens, and the values of the tracks over the rows."""
        assert self.aligned is not None
        positive_shares = () if self.means is None else self.means.positive_shares.tolist()
        windows = TrackWindows.of(self.aligned, rows.names, positive_shares, self.expected)
        return replace(super().alphabet(rows, recipe, tokenizer), tracks=windows)

    def extra_files(self, rows: TrainingRows, recipe: Recipe) -> dict[str, bytes]:
        """The baselines, fitted to the training data, for the evaluation of tracks."""
        if self.means is not None:
            return {BASELINES_FILE: self.means.to_bytes()}
        if "omics" not in recipe.objectives:
            return {}
        assert self.aligned is not None
        windows = TrackWindows.of(self.aligned, rows.names)
        return {BASELINES_FILE: OmicsBaselines.of(rows, windows).to_bytes()}

    def baseline(
        self, network: Network, objective: str, views: Mapping[str, Tensor]
    ) -> float | None:
        """See the objectives' `baseline_loss`; `genomai evaluate --task omics` has the baselines of what counts."""
        if self.objective is None or objective != self.objective.name:
            return None
        return self.objective.baseline_loss(network, views)

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """See `InputKind`: a model that restores, or one that predicts."""
        del config, network
        baselines = BASELINES | {"omics": OMICS_BASELINE, "tracks": COVERAGE_BASELINE}
        if "tracks" in objectives:
            return CardText(PREDICTS, COVERAGE, baselines)
        return CardText(RESTORES, PEAKS, baselines)


def _trackless_contig_warnings(aligned: AlignedTracks, regions: Sequence[Region]) -> list[str]:
    """Warnings about contigs that no track is on."""
    letters = dict.fromkeys((region.contig for region in regions), 0)
    for region in regions:
        letters[region.contig] += region.end - region.start
    trackless = [contig for contig in letters if not aligned.tracks_on(contig)]
    if not trackless:
        return []
    trackless_letters, total = sum(letters[contig] for contig in trackless), sum(letters.values())
    remark = f"{trackless_letters:,} of {total:,} letters teach nothing of tracks (--regions leaves them out)"
    return [f"no track has a value on {shown_names(trackless, MAX_SHOWN_CONTIGS)}: {remark}"]


def _with_units(aligned: AlignedTracks) -> list[Track]:
    """The tracks; a contact map without a unit gets that of the training target."""
    units = {
        source.column: f"ln(observed / expected), {source.file.counts} counts"
        for source in aligned.maps
    }
    return [
        replace(track, unit=track.unit or units.get(column, ""))
        for column, track in enumerate(aligned.tracks)
    ]


def _raw_count_warnings(aligned: AlignedTracks) -> list[str]:
    """Warnings about maps whose counts are raw though the table does not ask for raw ones."""
    return [
        f"{source.file.path}: no weights of bins: its counts are read as they are (`cooler balance` adds weights)"
        for source in aligned.maps
        if source.file.counts == RAW and not aligned.tracks[source.column].counts
    ]
