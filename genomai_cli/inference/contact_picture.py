"""A contact map as a triangle over its region: a pair of bins stands over the middle between them, as high as they lie
apart.

Shape suffixes: N pairs, M maps, P bins.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from genomai_cli.formats.bigwig import Values
from genomai_cli.formats.contact_maps import ContactPairs


def draw_triangle(axes: Axes, pairs: Sequence[ContactPairs], column: int, bin_size: int) -> None:
    """Draw one map's pairs of bins of `bin_size` bases; those that are in no window stay blank."""
    first = min(int(part.first.min()) for part in pairs if len(part.first))
    last = max(int(part.second.max()) for part in pairs if len(part.second)) + 1
    values_pp: Values = np.full((last - first, last - first), np.nan, np.float32)
    for part in pairs:
        values_pp[part.first - first, part.second - first] = part.values[:, column]
    edges = np.arange(first, last + 1) * bin_size
    middles = (edges[:, None] + edges) / 2
    heights = edges - edges[:, None]
    masked = np.ma.masked_invalid(values_pp)
    mesh = axes.pcolormesh(middles, heights, masked, cmap="RdBu_r", rasterized=True)
    axes.set_ylim(0, heights.max())
    inset = axes.inset_axes((1.01, 0.0, 0.012, 1.0))
    bar = axes.figure.colorbar(mesh, cax=inset)
    bar.ax.tick_params(labelsize=6)
