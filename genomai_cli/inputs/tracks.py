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
from genomai_cli.backbones.base import Network
from genomai_cli.errors import BundleError, TrainingError, UsageError
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.reference_regions import regions_of
from genomai_cli.formats.tables import TableWriter, read_table
from genomai_cli.formats.track_table import (
    DESCRIBED,
    Track,
    parse_described,
    read_track_table,
    write_described,
)
from genomai_cli.formats.tracks import AlignedTracks
from genomai_cli.inputs.base import BASELINES, CardText, InputKind, Recipe
from genomai_cli.inputs.samples import Letters, TrainingRows
from genomai_cli.inputs.sequences import SequenceInput, SequenceViewsSettings
from genomai_cli.inputs.track_guesses import GUESSES, Guesses
from genomai_cli.inputs.track_windows import TrackWindows
from genomai_cli.objectives.base import Alphabet
from genomai_cli.objectives.omics import Omics
from genomai_cli.records import SequenceRecord
from genomai_cli.tokenizers import Tokenizer

FILE = "tracks.tsv"  # in a bundle
ROW, FEWEST_ROWS, SHORTEST_ROW = 1 << 20, 20, 1 << 12  # letters; rows of a small reference
PURPOSE = """\
It restores DNA and tracks over it from each other: `genomai predict --model DIR --reference ref.fa` writes the tracks,
`genomai denoise --model DIR --tracks tracks.tsv --reference ref.fa` fills those that are missing. A value is the
probability that a base is in a peak of the track."""
GUESSED = "one base of four for a masked token, each track at its rate in the same windows"
LIMITS = """\
Tracks are those of the cells and the laboratory that it was trained on, and peaks what a caller's threshold made of
them. What it says of other genomes, builds or species is not measured by the losses above."""


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
    similar_are_one = False
    files_used = frozenset({"tracks", "reference", "regions"})
    holds_out_records = True

    def __init__(
        self,
        tracks: Sequence[Track],
        aligned: AlignedTracks | None = None,
        files: Mapping[str, Path] | None = None,
        warnings: Sequence[str] = (),
        objective: Omics | None = None,
    ) -> None:
        self.tracks: tuple[Track, ...] = tuple(tracks)
        self.aligned, self.files = aligned, files or {}
        self.warnings = warnings  # of their alignment
        self.objective = objective  # that a run trains by

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The tracks of a bundle, without their files."""
        if not (folder / FILE).is_file():
            name = config.get("name")
            raise BundleError(f"{name}: a model of tracks needs a list of them, {folder / FILE}")
        return cls(parse_described(read_table(folder / FILE)))

    def write(self, folder: Path) -> None:
        """The tracks, without their files."""
        text = io.StringIO()
        write_described(TableWriter(text, ["name", *DESCRIBED]), self.tracks)
        (folder / FILE).write_text(text.getvalue(), encoding="utf-8")

    @classmethod
    def given(
        cls, recipe: Recipe, files: Mapping[str, Path | None], start: InputKind | None
    ) -> InputKind:
        """The tracks of the files, those of the model to begin from if there is one, over the reference."""
        table, fasta = files.get("tracks"), files.get("reference")
        if table is None or fasta is None:
            raise UsageError(f"the recipe {recipe.name} needs --tracks and a --reference")
        found = read_track_table(table)
        if isinstance(start, TrackInput):
            found = found.selected(start.tracks)
        said: list[str] = []
        with open_reference(fasta) as reference:
            aligned = AlignedTracks.open(found, reference.lengths, fasta, said.append)
        given = {name: file for name, file in files.items() if file is not None}
        return cls(found.tracks, aligned, given, said)

    def records(self) -> Iterator[SequenceRecord]:
        """The rows of the reference, or of its regions where they are given, in their order; without overlaps."""
        with open_reference(self.files["reference"]) as reference:
            regions = list(regions_of(reference, self.files.get("regions")))
            total = sum(region.end - region.start for region in regions)
            size = min(ROW, max(SHORTEST_ROW, -(-total // FEWEST_ROWS)))
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
        """Those of the vocabulary, and how many tracks there are."""
        return super().sizes(rows, recipe, tokenizer) | {"tracks": len(self.tracks)}

    def prepared(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> "TrackInput":
        """The same, which knows what it is trained by."""
        alphabet = self.alphabet(rows, recipe, tokenizer)
        objective = Omics(recipe.settings["omics"], alphabet)
        return TrackInput(self.tracks, self.aligned, self.files, self.warnings, objective)

    def alphabet(self, rows: TrainingRows, recipe: Recipe, tokenizer: Tokenizer) -> Alphabet:
        """The tokens, and the values of the tracks over the rows."""
        assert self.aligned is not None
        windows = TrackWindows.of(self.aligned, rows.names)
        return replace(super().alphabet(rows, recipe, tokenizer), tracks=windows)

    def extra_files(self, rows: TrainingRows, recipe: Recipe) -> dict[str, bytes]:
        """What the baselines of an evaluation know of the training data."""
        del recipe
        assert self.aligned is not None
        windows = TrackWindows.of(self.aligned, rows.names)
        return {GUESSES: Guesses.of(rows, windows).to_bytes()}

    def baseline(
        self, network: Network, objective: str, views: Mapping[str, Tensor]
    ) -> float | None:
        """See `Omics.guessed`; `genomai evaluate --task omics` has the baselines of what counts."""
        del network
        return self.objective.guessed(views) if self.objective and objective == "omics" else None

    def card(
        self, config: Mapping[str, Any], objectives: Sequence[str], network: Network
    ) -> CardText:
        """What it restores."""
        del config, objectives, network
        return CardText(PURPOSE, LIMITS, BASELINES | {"omics": GUESSED})
