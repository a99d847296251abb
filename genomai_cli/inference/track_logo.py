"""Which letters of a region a track is driven by, for a picture of both: to first order, as `explain` by gradient has
it (`letter_effects`).

Shape suffixes: L letters.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES
from genomai_cli.errors import UsageError, shown_names
from genomai_cli.formats.consensus import Region
from genomai_cli.inference.letter_effects import mean_loss
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.sequence_logo import draw_letter
from genomai_cli.inference.track_effects import changes_by_gradient
from genomai_cli.inference.track_predictions import TrackPredictor
from genomai_cli.names import caption

MAX_LETTERS = 400


@dataclass(frozen=True, eq=False)
class TrackLogo:
    """What each of the letters from `start` (from 0) on adds (L,) to the ln of a track's mean over all of them; NaN
    where it is no base."""

    track: str
    start: int
    letters: str
    heights: NDArray[np.float64]
    both_strands: bool

    @classmethod
    def of(cls, predictor: TrackPredictor, region: Region, name: str) -> "TrackLogo":
        """A region's, in one window of the model with the region in its middle, moved inward at a contig's ends: the
        mean of both strands, or the forward one for a track that has no partner on the other.

        UsageError for a track that is not among those predicted, and for a region that is too long or has no value.
        """
        reader, track_numbers = (
            predictor.reader,
            {track.name: n for n, track in enumerate(predictor.tracks)},
        )
        if name not in track_numbers:
            problem = (
                f"no track that is drawn ({shown_names(list(track_numbers))})"
                if track_numbers
                else "no track is drawn, maps alone"
            )
            raise UsageError(f"--plot-logo {name}: {problem}")
        window_start, window_end = _window(predictor, region)
        column = predictor.columns[track_numbers[name]]
        text = predictor.reference.fetch(region.contig, window_start, window_end)
        stretch = Stretch(text, region.start - window_start, region.end - window_start)
        both_strands = reader.partners[column] >= 0
        change_LA = changes_by_gradient(reader, stretch, column, both_strands=both_strands)
        heights = mean_loss(change_LA)[stretch.scored]
        if np.isnan(heights).all():
            raise UsageError(f"--plot-logo {name}: the model has no value in the region")
        return cls(name, region.start, text[stretch.scored], heights, both_strands)

    def draw(self, axes: Axes) -> None:
        """The letters as high as what they add, below zero where they lower the track."""
        for position, (letter, height) in enumerate(zip(self.letters, self.heights, strict=True)):
            if letter in BASES and height:
                draw_letter(axes, letter, self.start + position, 0.0, float(height))
        low, high = min(0.0, np.nanmin(self.heights)), max(0.0, np.nanmax(self.heights))
        margin = 0.05 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.axhline(0, color="black", linewidth=0.5)
        strands = "both strands" if self.both_strands else "the forward strand"
        quantity = f"what letters add to the ln of its mean (gradient, {strands})"
        axes.set_title(f"{caption(self.track)}: {quantity}", fontsize=8, loc="left", pad=2)
        axes.set_ylabel("ln fold change", fontsize=7)
        axes.tick_params(labelsize=7)


def _window(predictor: TrackPredictor, region: Region) -> tuple[int, int]:
    """The window around a region; UsageError for one that is too long."""
    reader, length = predictor.reader, predictor.reference.lengths[region.contig]
    size = min(predictor.window, length // reader.step * reader.step)
    letters = region.end - region.start
    if letters > MAX_LETTERS:
        raise UsageError(
            f"--plot-logo: {letters:,} letters of the region cannot be read in a picture: at most {MAX_LETTERS}"
        )
    if letters + reader.tail > size:
        raise UsageError(f"--plot-logo: the region does not fit into a window of {size:,} bases")
    begin = max(0, min((region.start + region.end - size) // 2, length - size))
    return begin, begin + size
