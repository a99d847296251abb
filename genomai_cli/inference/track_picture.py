"""Tracks along a region as a picture: a panel a track, what is predicted as a line over what was observed.

Shape suffixes: R bins, C tracks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.contact_maps import ContactPairs
from genomai_cli.formats.track_outputs import TrackSegment
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.tracks import AlignedTracks, binned
from genomai_cli.inference.contact_picture import draw_triangle
from genomai_cli.inference.sequence_logo import picture_of
from genomai_cli.inference.track_logo import TrackLogo
from genomai_cli.names import caption

MAX_TRACKS, MAX_BINS = 24, 200_000
WIDTH, PANEL, TRIANGLE, LOGO, LETTER = 9.0, 0.8, 2.5, 1.3, 0.08  # inches
PREDICTED, OBSERVED, MISSING = "#1565c0", "#bdbdbd", "#f5e6e6"


@dataclass(frozen=True, eq=False)
class Contacts:
    """Contact maps of a region, in bins of so many bases."""

    maps: Sequence[Track]
    pairs: Sequence[ContactPairs]
    size: int


def track_picture(
    title: str,
    tracks: Sequence[Track],
    stretches: Sequence[TrackSegment],
    ending: str,
    observed: AlignedTracks | None = None,
    contacts: Contacts | None = None,
    logo: TrackLogo | None = None,
) -> bytes:
    """PNG or SVG, by the ending, of neighbouring stretches of a region, the same bytes for the same values; `observed`
    has the same tracks, binned here by their mean. UsageError for more than can be read."""
    draw = panels_of(title, tracks, stretches, observed, contacts, logo)
    width, height = size_of(tracks)
    height += TRIANGLE * len(contacts.maps if contacts else ())
    if logo is not None:
        width, height = max(width, 1.5 + LETTER * len(logo.letters)), height + LOGO
    return picture_of(draw, width, height, ending)


def size_of(tracks: Sequence[Track]) -> tuple[float, float]:
    """Of the picture of tracks alone, in inches."""
    return WIDTH, 1.2 + PANEL * len(tracks)


def panels_of(
    title: str,
    tracks: Sequence[Track],
    stretches: Sequence[TrackSegment],
    observed: AlignedTracks | None = None,
    contacts: Contacts | None = None,
    logo: TrackLogo | None = None,
) -> Callable[[Figure], None]:
    """What draws a panel a track on a figure, above them the letters that drive one, and below them a triangle a
    contact map, where these are given."""
    bins = sum(len(stretch.values_RT) for stretch in stretches)
    if len(tracks) > MAX_TRACKS:
        raise UsageError(
            f"--plot shows at most {MAX_TRACKS} tracks, not {len(tracks)}: --only chooses some"
        )
    if bins > MAX_BINS:
        raise UsageError(
            f"--plot shows at most {MAX_BINS:,} bins, not {bins:,}: --resolution makes fewer"
        )
    first, last = stretches[0], stretches[-1]
    values_RC = np.concatenate([stretch.values_RT for stretch in stretches])
    edges = first.start + np.arange(bins + 1) * first.resolution
    observed_RC: Values | None = None
    if observed is not None:
        observed_RC = binned(observed.values(first.contig, first.start, last.end), first.resolution)

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title), fontsize=10)
        maps = contacts.maps if contacts else ()
        logo_heights = [LOGO] if logo else []
        heights = [*logo_heights, *[PANEL] * len(tracks), *[TRIANGLE] * len(maps)]
        grid_options = {"height_ratios": heights}
        all_axes = figure.subplots(
            len(heights), 1, squeeze=False, sharex=True, gridspec_kw=grid_options
        )
        panels = all_axes[len(logo_heights) :, 0]
        if logo:
            logo.draw(all_axes[0, 0])
        for column, (axes, track) in enumerate(zip(panels, tracks, strict=False)):
            predicted_R = values_RC[:, column]
            if observed_RC is not None:
                observed_R = observed_RC[:, column]
                axes.stairs(
                    np.nan_to_num(observed_R), edges, fill=True, color=OBSERVED, label="observed"
                )
                _shade(axes, edges, np.isnan(observed_R))
            axes.stairs(predicted_R, edges, color=PREDICTED, baseline=None, label="predicted")
            axes.set_ylim(bottom=0)
            axes.set_ylabel(track.unit or "value", fontsize=7)
            axes.set_title(caption(track.name), fontsize=8, loc="left", pad=2)
            axes.tick_params(labelsize=7)
        for column, track in enumerate(maps):
            axes = panels[len(tracks) + column]
            assert contacts is not None
            draw_triangle(axes, contacts.pairs, column, contacts.size)
            axes.set_title(caption(track.name), fontsize=8, loc="left", pad=2)
            axes.set_ylabel("bases apart", fontsize=7)
            axes.tick_params(labelsize=7)
        if tracks:
            panels[0].legend(fontsize=7, loc="upper right", frameon=False)
        panels[-1].set_xlabel(f"{caption(first.contig)}, position (bases, from 0)", fontsize=8)
        panels[-1].ticklabel_format(axis="x", style="plain", useOffset=False)
        panels[-1].set_xlim(edges[0], last.end)

    return draw


def _shade(axes: Axes, positions: NDArray[np.int64], missing_R: NDArray[np.bool_]) -> None:
    """Colour where nothing was observed, which is not zero."""
    boundaries = np.flatnonzero(
        np.diff(np.concatenate([[False], missing_R, [False]]).astype(np.int8))
    )
    for begin, end in zip(boundaries[::2], boundaries[1::2], strict=True):
        axes.axvspan(positions[begin], positions[end], color=MISSING, linewidth=0)
