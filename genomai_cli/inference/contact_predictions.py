"""Contact maps of a model along regions of a reference: how often two bins of 2,048 bases meet, on the model's scale.

A window has the pairs of its own bins; a pair is taken from the window whose core the pair's middle is in, so that as
much is read on both sides. Bins begin at multiples of 2,048 of the contig; those that reach over its end are in no
window. A region has the pairs of the bins that it touches, as far apart as windows reach.

Shape suffixes: P bins of a window, M maps, N pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genomai_cli.errors import BundleError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.contact_maps import ContactPairs
from genomai_cli.inference.track_predictions import TrackPredictor


@dataclass(frozen=True, eq=False)
class ContactPredictor:
    """Predicts contacts by a predictor's model; BundleError for one without maps among the tracks chosen."""

    predictor: TrackPredictor

    def __post_init__(self) -> None:
        if not self.predictor.map_columns:
            raise BundleError("the model has no contact maps among the tracks chosen")

    def pairs(self, region: Region) -> Iterator[ContactPairs]:
        """The pairs of the region's bins, window by window."""
        reader, step = self.predictor.reader, self.predictor.reader.step
        length = self.predictor.reference.lengths[region.contig]
        bins = min(self.predictor.window, length // step * step) // step
        first, last = region.start // step, min(-(-region.end // step), length // step)
        if not bins or first >= last:
            return
        core_bins = max(1, bins - 2 * (min(self.predictor.overlap // step, bins // 4)))
        for begin, middle in _windows(first, last, bins, core_bins, length // step):
            start = begin * step
            text = self.predictor.reference.fetch(region.contig, start, start + bins * step)
            maps_PPM = reader.contacts(text, self.predictor.map_columns)
            first_bins, second_bins = np.triu_indices(bins)
            centre = (first_bins + second_bins) / 2 + begin + 0.5
            in_core = (centre >= middle[0]) & (centre < middle[1])
            for bins_N in (first_bins, second_bins):
                in_core &= (bins_N + begin >= first) & (bins_N + begin < last)
            values_NM: Values = maps_PPM[first_bins[in_core], second_bins[in_core]]
            yield ContactPairs(
                region.contig, first_bins[in_core] + begin, second_bins[in_core] + begin, values_NM
            )


def _windows(
    first: int, last: int, bins: int, core_bins: int, total_bins: int
) -> Iterator[tuple[int, tuple[int, int]]]:
    """The first bin of each window, and from where to where its middle is, of bins from `first` to before `last`."""
    core_begin = first
    while core_begin < last:
        core_end = min(last, core_begin + core_bins)
        begin = max(0, min((core_begin + core_end - bins) // 2, total_bins - bins))
        if begin + bins >= last:
            core_end = last
        yield begin, (core_begin, core_end)
        core_begin = core_end
