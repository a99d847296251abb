"""The protocol by which windows are read by models of tracks, whatever their family; the families' readers are in
`registry.TRACK_READERS`.

Shape suffixes: B windows, R bins, C tracks, P bins of a contact map, M maps, L letters, A bases, S splice sites of a
kind, U tissues.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from genomai_cli import registry
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.track_table import Track, chosen_tracks
from genomai_cli.inference.label_odds import Odds
from genomai_cli.inference.likelihood import Stretch

Window = tuple[str, Values | None]  # its letters, and the values of tracks that are known, if any


class Block(NamedTuple):
    """`values` (B, R, C), each of one base, of some of the requested tracks, in bins of `bases`; `columns` are their
    indices among the requested ones; NaN where there is none."""

    columns: Sequence[int]
    bases: int
    values: Values


Positions = NDArray[np.int64]  # of letters in a window; -1 for none


class Splicing(NamedTuple):
    """Predictions of a window's splicing: the probabilities (L, 4) that a letter is a donor or an acceptor of the
    forward strand, or of the other; values (L, C) of the requested tracks; and a function of sites (4, S), in the same
    order, that gives the reads (S, S, 2, U) that join each donor with each acceptor of either strand in the requested
    tissues.

    A donor is the last base of an exon, an acceptor the first.
    """

    sites: Values
    values: Values
    counts: Callable[[Positions], Values]


class TrackReader(Protocol):
    """A family's network with its tracks, of one organism."""

    tracks: Sequence[Track]
    partners: Sequence[int]  # of each track on the other strand, -1 where there is none
    maps: frozenset[int]  # which of the tracks are of pairs of bins and not along the genome
    splicing_heads: Mapping[int, str]  # the heads of the tracks of splicing
    junctions: frozenset[int]  # which of these are of pairs of splice sites, each a tissue's
    max_length: int  # letters of a window
    step: int  # letters, of which a window has a multiple
    tail: int  # of a window's last letters have no value
    is_bidirectional: bool  # whether what comes behind a base counts as what comes before it does
    reads_tracks: bool  # besides letters
    organism: str  # whose weights are read; empty for a network that knows none

    def read(
        self, windows: Sequence[Window], columns: Sequence[int], bases: int = 1
    ) -> list[Block]:
        """The values of tracks along windows, in bins of at most so many bases where there are such."""

    def to_model_scale(self, values: Values) -> Values:
        """Measured values on the scale of the model's predictions; NaN stays."""

    def contacts(self, text: str, columns: Sequence[int]) -> Values:
        """The contact maps (P, P, M) of a window."""

    def splicing(self, text: str, columns: Sequence[int], tissues: Sequence[int]) -> Splicing:
        """The splicing of a window, with tracks along it, and tracks of junctions as `tissues`."""

    def likely_sites(self, sites: Values) -> Positions:
        """The letters (4, S) of the likeliest splice sites of each kind, ascending, by their probabilities (L, 4)."""

    def gradients(self, stretch: Stretch, column: int) -> tuple[Odds, float]:
        """How much the ln of a track's mean over the letters that count changes (L, A) by every letter of the text, to
        first order, and that mean."""

    @property
    def remarks(self) -> str:
        """Remarks on which bases have values, and which values they are."""


def has_tracks(bundle: Bundle) -> bool:
    """Whether the model's answers are tracks."""
    return bundle.config["network"]["kind"] in registry.TRACK_READERS


def track_reader(
    bundle: Bundle, only: Sequence[str] = (), organism: str | None = None
) -> TrackReader:
    """The reader of the model, with the weights of the organism, by default of that of the tracks with one of the texts
    `only` as name, assay or tissue.

    BundleError for a model without tracks, UsageError where an organism is to be named, or is none of the model's.
    """
    kind = bundle.config["network"]["kind"]
    if not has_tracks(bundle):
        raise BundleError(
            f"the model {bundle.name!r} has no tracks: `genomai pretrain --objective omics`, or tracks, makes one"
        )
    reader: TrackReader = registry.find(registry.TRACK_READERS, kind)(bundle, only, organism)
    return reader


class AllTracks(NamedTuple):
    """All tracks of a model, which of them are along the genome, and whether organisms have weights of their own."""

    tracks: Sequence[Track]
    along: frozenset[int]
    of_organisms: bool


def all_tracks(bundle: Bundle) -> AllTracks:
    """The tracks of a model, of all its organisms; BundleError for a model without tracks, or that names none."""
    organisms: list[str | None] = [None]
    if has_tracks(bundle) and bundle.classifier.networks[0].predicts_tracks:
        organisms = list(dict.fromkeys(track.organism for track in bundle.input.tracks))
        if not organisms:
            raise BundleError(
                f"the model {bundle.name!r} names no tracks: give its folder tracks.tsv"
            )
    readers = [track_reader(bundle, (), organism) for organism in organisms]
    tracks = [track for reader in readers for track in reader.tracks]
    along, offset = set[int](), 0
    for reader in readers:
        along |= {offset + column for column in columns_along(reader, ())[0]}
        offset += len(reader.tracks)
    return AllTracks(tracks, frozenset(along), bool(readers[0].organism))


def window_for(reader: TrackReader, requested: int | None) -> int:
    """The letters of a window: as requested, by default as many as the model reads; UsageError for what it does not."""
    window = reader.max_length if requested is None else requested
    if window > reader.max_length or window % reader.step:
        multiple = f"multiples of {reader.step:,} up to " if reader.step > 1 else ""
        raise UsageError(
            f"--window {window}: the model reads {multiple}{reader.max_length} letters"
        )
    return window


def require_partners(reader: TrackReader, columns: Sequence[int]) -> None:
    """UsageError unless each of the tracks has a partner on the other strand."""
    unpaired = [reader.tracks[column].name for column in columns if reader.partners[column] < 0]
    if unpaired:
        raise UsageError(f"--strand both: track {unpaired[0]} has no partner on the other strand")


def columns_along(reader: TrackReader, only: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tracks that are chosen: those along the genome, and the contact maps."""
    chosen = chosen_tracks(reader.tracks, only)
    along = [column for column in chosen if column not in reader.maps | reader.junctions]
    return along, [column for column in chosen if column in reader.maps]


def base_values(blocks: Sequence[Block], columns: int) -> Values:
    """The values (B, L, C) of the bases of windows."""
    first = blocks[0]
    rows, bins = first.values.shape[:2]
    values_BLC: Values = np.empty((rows, bins * first.bases, columns), np.float32)
    for block in blocks:
        values_BLC[:, :, list(block.columns)] = np.repeat(block.values, block.bases, axis=1)
    return values_BLC


def known_bases(mask_BL: NDArray[np.bool_], values_BLC: Values) -> Values:
    """The values where the mask is True, NaN elsewhere."""
    return np.where(mask_BL[..., None], values_BLC, np.float32(np.nan))
