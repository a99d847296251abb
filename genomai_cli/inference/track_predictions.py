"""The tracks of a model along regions of a reference, from DNA alone or from DNA and the tracks that are known.

A window is as many letters as the network was made for. A causal network knows little at a window's beginning, so each
window begins `overlap` bases before the first base that is taken from it, with what stands there in the genome; only a
contig's first bases have less before them. Nothing is filled up: a base whose token holds a letter that is no base, or
that runs over the contig's end, has no value (NaN). With both strands a base has the mean of the strands that give it
one.

Shape suffixes: B windows, T tokens, C tracks, L bases.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomai_cli.alphabet import complement
from genomai_cli.backbones.omicsfusion import KNOWN, VALUES, OmicsFusionNetwork
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import IndexedFasta
from genomai_cli.formats.track_outputs import Stretch
from genomai_cli.formats.track_table import Track, strand_partners
from genomai_cli.formats.tracks import AlignedTracks, binned, other_strand
from genomai_cli.inputs.tracks import TrackInput
from genomai_cli.tokenizers import Tokenizer
from genomai_cli.tokenizers.batch import padded

CHUNK = 1 << 16  # bases whose values are held at once, about
TOKENS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Reading:
    """How regions are read: `overlap` bases of context before what is taken, by default a quarter of the window; along
    both strands; bins of `resolution` bases by their `aggregation`."""

    overlap: int | None = None
    both_strands: bool = False
    resolution: int = 1
    aggregation: str = "mean"


@dataclass(frozen=True)
class _Taken:
    """A window: its letters from `begin` to `end` of a strand, of which those from `first` to `last` are taken."""

    begin: int
    end: int
    first: int
    last: int


class TrackPredictor:
    """What a model says of regions; BundleError for one without tracks, UsageError for settings that do not fit it."""

    def __init__(self, bundle: Bundle, reference: IndexedFasta, reading: Reading) -> None:
        self.network, self.tracks = track_model(bundle)
        self.tokenizer = bundle.tokenizer
        self.partners = strand_partners(self.tracks)
        self.reference, self.reading = reference, reading
        self.window = int(self.network.max_length or 0)
        self.overlap = self.window // 4 if reading.overlap is None else reading.overlap
        if self.overlap > self.window - self.tokenizer.k:
            raise UsageError(f"--overlap {self.overlap}: the model reads windows of {self.window}")
        if reading.both_strands and min(self.partners) < 0:
            alone = self.tracks[self.partners.index(-1)].name
            raise UsageError(f"--strand both: track {alone} has no partner on the other strand")

    def stretches(
        self, region: Region, known: AlignedTracks | None = None, *, fill: bool = False
    ) -> Iterator[Stretch]:
        """The values of the region's bins, some at a time. `known` are values that the network reads besides DNA; with
        `fill` these stay where they are, and only what is missing is predicted."""
        size = max(1, CHUNK // self.reading.resolution) * self.reading.resolution
        for start in range(region.start, region.end, size):
            end = min(region.end, start + size)
            found_LC = self.values(region.contig, start, end, known)
            if fill and known is not None:
                given_LC = known.values(region.contig, start, end)
                found_LC = np.where(np.isnan(given_LC), found_LC, given_LC)
            bins_RC = binned(found_LC, self.reading.resolution, self.reading.aggregation)
            last = end == region.end
            yield Stretch(
                region.contig, start, end, self.reading.resolution, bins_RC, region.name, last
            )

    def values(
        self, contig: str, start: int, end: int, known: AlignedTracks | None = None
    ) -> Values:
        """The values (L, C) of the bases from `start` to before `end`."""
        length = self.reference.lengths[contig]

        def forward(begin: int, stop: int) -> tuple[str, Values | None]:
            given = known.values(contig, begin, stop) if known else None
            return self.reference.fetch(contig, begin, stop), given

        def backward(begin: int, stop: int) -> tuple[str, Values | None]:
            text, given = forward(length - stop, length - begin)
            turned = None if given is None else other_strand(given, self.partners)
            return complement(text)[::-1], turned

        found_LC = self._strand(forward, start, end, length)
        if self.reading.both_strands:
            other_LC = self._strand(backward, length - end, length - start, length)
            both = np.stack([found_LC, other_strand(other_LC, self.partners)])
            count_LC = (~np.isnan(both)).sum(axis=0)
            sums_LC = np.nansum(both, axis=0)
            found_LC = np.where(count_LC > 0, sums_LC / np.maximum(count_LC, 1), np.nan).astype(
                np.float32
            )
        return found_LC

    def _strand(
        self,
        read: Callable[[int, int], tuple[str, Values | None]],
        start: int,
        end: int,
        length: int,
    ) -> Values:
        found_LC: Values = np.full((end - start, len(self.tracks)), np.nan, np.float32)
        windows = list(self._windows(start, end, length))
        most = max(1, TOKENS_AT_ONCE // self.window)
        for at in range(0, len(windows), most):
            some = windows[at : at + most]
            read_some = [read(window.begin, window.end) for window in some]
            rows_BTC, told_BT = chances(self.network, self.tokenizer, read_some)
            for window, row_TC, told_T in zip(some, rows_BTC, told_BT, strict=True):
                own = slice(window.first - window.begin, window.last - window.begin)
                taken_LC = np.where(told_T[own, None], row_TC[own], np.nan)
                found_LC[window.first - start : window.last - start] = taken_LC
        return found_LC

    def _windows(self, start: int, end: int, length: int) -> Iterator[_Taken]:
        """The windows of a stretch of a strand; bases without a whole token are in none."""
        end = min(end, length - self.tokenizer.k + 1)
        first = start
        while first < end:
            begin = max(0, first - self.overlap)
            stop = min(length, begin + self.window)
            last = min(end, stop - self.tokenizer.k + 1)
            yield _Taken(begin, stop, first, last)
            first = last


def has_tracks(bundle: Bundle) -> bool:
    """Whether the model's answers are tracks."""
    return bool(bundle.classifier.networks[0].restores_tracks)


def track_model(bundle: Bundle) -> tuple[OmicsFusionNetwork, tuple[Track, ...]]:
    """The network and the tracks of a model; BundleError for one without tracks."""
    network = bundle.classifier.networks[0]
    if not isinstance(bundle.input, TrackInput) or not isinstance(network, OmicsFusionNetwork):
        raise BundleError(
            f"the model {bundle.name!r} has no tracks: `genomai pretrain --objective omics` makes one that has"
        )
    return network, bundle.input.tracks


def chances(
    network: OmicsFusionNetwork,
    tokenizer: Tokenizer,
    read: Sequence[tuple[str, Values | None]],
) -> tuple[Values, NDArray[np.bool_]]:
    """The probabilities (B, T, C) of tracks in windows, and which tokens (B, T) spell DNA; each window is its letters
    and, in all or in none, the values (L, C) that are known."""
    ids_BT = padded([tokenizer.encode(text) for text, _ in read], tokenizer.pad_id)
    device = network.norm.weight.device
    features: dict[str, Tensor] = {}
    if read[0][1] is not None:
        values_BTC = np.full((*ids_BT.shape, network.config.tracks), np.nan, np.float32)
        for row, (_, given) in zip(values_BTC, read, strict=True):
            assert given is not None
            room = min(len(given), len(row))
            row[:room] = given[:room]
        values = torch.from_numpy(values_BTC).to(device)
        features = {VALUES: values.nan_to_num(0.0), KNOWN: ~values.isnan()}
    with torch.inference_mode():
        hidden_BTD = network(torch.from_numpy(ids_BT).to(device), features=features)
        chances_BTC = network.track_logits(hidden_BTD).float().sigmoid().cpu().numpy()
    return chances_BTC, tokenizer.is_dna(ids_BT)
