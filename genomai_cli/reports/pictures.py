"""Pictures by matplotlib: how they look, files of them with the same bytes for the same content, and the map and bars
of a report without a browser.

Shape suffixes: N samples, K labels, J axes.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from genomai_cli.errors import UsageError
from genomai_cli.names import caption
from genomai_cli.reports.sections import UNKNOWN_COLOUR, FractionBars, SampleMap

ENDINGS = (".png", ".svg", ".pdf")
INK = "#333333"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9,
    "svg.fonttype": "none",  # text that can be searched for and copied
    "svg.hashsalt": "genomai",  # the same picture is the same bytes
}
MARKERS = "os^DvPhd"  # in the order of the marks on a page
ELLIPSE_CHI_SQUARED = (1.386, 4.605)  # 50 % and 90 % of chi-squared with two degrees of freedom
MAX_NAMED_SAMPLES = 40  # samples whose names stand below their bars
PANELS = 2  # of two axes each


def require_ending(option: str, file: Path) -> str:
    """The ending of a picture's file name; UsageError for a kind that is not drawn."""
    if file.suffix not in ENDINGS:
        raise UsageError(f"{option} {file}: the name tells the kind, {', '.join(ENDINGS)}")
    return file.suffix


def picture(draw: Callable[[Figure], None], size: tuple[float, float], ending: str) -> bytes:
    """What `draw` makes of a figure of this size in inches, without a date, so that it is the same bytes again."""
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        file = io.BytesIO()
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(ending)
        figure.savefig(file, format=ending.removeprefix("."), dpi=150, metadata=metadata)
    return file.getvalue()


def samples_picture(
    title: str, samples: SampleMap | None, bars: FractionBars | None, ending: str
) -> bytes:
    """The map, on the first four axes, above the bars; UsageError if there is neither."""
    if samples is None and bars is None:
        raise UsageError(
            "--plot: the model has no axes, and too many labels to draw their probabilities"
        )
    heights = ([5.0] if samples is not None else []) + ([2.6] if bars is not None else [])

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title), x=0.01, ha="left", fontsize=11, fontweight="bold")
        rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        if samples is not None:
            draw_map(rows[0], samples)
        if bars is not None:
            draw_bars(rows[-1].subplots(), bars)

    return picture(draw, (11, sum(heights) + 0.4), ending)


def draw_map(figure: Any, samples: SampleMap) -> None:
    """Panels of axes 1 and 2, and 3 and 4, with one legend."""
    pairs = [(j, j + 1) for j in range(0, min(2 * PANELS, len(samples.axes) - 1), 2)]
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (x, y) in zip(panels, pairs, strict=True):
        for group in samples.groups:
            colour = samples.colours[samples.parent_index(group)]
            if group.spread is not None:
                _ellipses(axes, group.centre[[x, y]], _block(group.spread, x, y), colour)
        _marks(axes, samples, x, y)
        axes.set(xlabel=samples.axes[x], ylabel=samples.axes[y])
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
    figure.figure.draw_without_rendering()  # now the axes are laid out
    for axes, (x, y) in zip(panels, pairs, strict=True):
        _name_groups(axes, samples, [x, y])


def _name_groups(axes: Axes, samples: SampleMap, pair: list[int]) -> None:
    """Write the groups' names at their centres, where none covers another."""
    label_boxes: list[Bbox] = []
    for group in samples.groups:
        note = axes.annotate(
            caption(group.name),
            (group.centre[pair[0]], group.centre[pair[1]]),
            ha="center",
            va="center",
            fontsize=6.5,
            color=INK,
            zorder=4,
            bbox={"facecolor": "white", "alpha": 0.6, "pad": 0.6, "linewidth": 0},
        )
        note.set_in_layout(False)  # the axes stay where they are
        box = note.get_window_extent()
        if any(box.overlaps(other) for other in label_boxes):
            note.remove()
        else:
            label_boxes.append(box)


def _block(spread: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
    return spread[np.ix_([x, y], [x, y])]


def _ellipses(
    axes: Axes, centre: NDArray[np.float64], spread: NDArray[np.float64], colour: str
) -> None:
    values, vectors = np.linalg.eigh(spread)
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    for chi_squared in ELLIPSE_CHI_SQUARED:
        small, large = 2 * np.sqrt(np.maximum(values, 0) * chi_squared)
        shape = Ellipse((centre[0], centre[1]), large, small, angle=angle)
        shape.set(facecolor=(colour, 0.08), edgecolor=(colour, 0.5), linewidth=0.7)
        axes.add_patch(shape)


def _marks(axes: Axes, samples: SampleMap, x: int, y: int) -> None:
    x_N, y_N = samples.coordinates[:, x], samples.coordinates[:, y]
    size = 26 if len(x_N) < 200 else 9
    kinds = [*zip(samples.labels, samples.colours, MARKERS * len(samples.labels), strict=False)]
    for number, (label, colour, marker) in [
        *enumerate(kinds),
        (-1, ("UNKNOWN", UNKNOWN_COLOUR, "X")),
    ]:
        in_group = samples.label_indices == number
        if in_group.any() or number >= 0:
            edge_colours = np.where(samples.flagged[in_group], INK, colour)
            axes.scatter(
                x_N[in_group],
                y_N[in_group],
                size,
                colour,
                marker=marker,
                linewidths=0.7,
                edgecolors=list(edge_colours),
                zorder=3,
            )
            axes.scatter([], [], size, colour, marker=marker, label=caption(label))
    axes.autoscale_view()


def draw_bars(axes: Axes, bars: FractionBars) -> None:
    """A stacked bar a sample, those of a label side by side; names where they can be read."""
    known = np.flatnonzero(~np.isnan(bars.fractions).any(axis=1))
    fractions_NK = bars.fractions[known]
    if len(known):
        order = np.lexsort([-fractions_NK.max(axis=1), fractions_NK.argmax(axis=1)])
        known, fractions_NK = known[order], fractions_NK[order]
    edges = np.arange(len(known) + 1)
    low_N = np.zeros(len(known))
    for label, colour, fraction_N in zip(bars.labels, bars.colours, fractions_NK.T, strict=True):
        if len(known) <= MAX_NAMED_SAMPLES:
            axes.bar(edges[:-1] + 0.5, fraction_N, 0.9, low_N, color=colour, label=caption(label))
        else:
            axes.stairs(
                low_N + fraction_N,
                edges,
                baseline=low_N,
                fill=True,
                color=colour,
                label=caption(label),
            )
        low_N = low_N + fraction_N
    axes.set(xlim=(0, max(1, len(known))), ylim=(0, 1), xticks=[], ylabel=caption(bars.title))
    if len(known) <= MAX_NAMED_SAMPLES:
        names = [caption(bars.names[row][:24]) for row in known.tolist()]
        axes.set_xticks(edges[:-1] + 0.5, names, rotation=35, ha="right", fontsize=7)
    else:
        axes.set_xlabel(f"{len(known):,} samples")
    columns = 1 + (len(bars.labels) - 1) // 12
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, ncols=columns
    )
