"""A Manhattan plot: one value a site along the chromosomes, a track for each group, with the top sites named.

Shape suffixes: S sites.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from genomai_cli.names import caption
from genomai_cli.population.panel import Panel

# Genes of sites whose effect on a trait has been shown, by the rsID of dbSNP.
GENES = {
    "rs2814778": "ACKR1",  # Duffy null: Tournamille et al. 1995, Nat Genet 10:224
    "rs3827760": "EDAR",  # hair and sweat glands: Kamberov et al. 2013, Cell 152:691
    "rs16891982": "SLC45A2",  # pigmentation: Norton et al. 2007, Mol Biol Evol 24:710
    "rs1426654": "SLC24A5",  # pigmentation: Lamason et al. 2005, Science 310:1782
    "rs12913832": "HERC2",  # eye colour, by way of OCA2: Sturm et al. 2008, Am J Hum Genet 82:424
    "rs1871534": "SLC39A4",  # zinc: Engelken et al. 2014, PLoS Genet 10:e1004128
    "rs1229984": "ADH1B",  # alcohol: Han et al. 2007, Am J Hum Genet 80:441
    "rs671": "ALDH2",  # alcohol: Yoshida et al. 1984, PNAS 81:258
    "rs17822931": "ABCC11",  # earwax: Yoshiura et al. 2006, Nat Genet 38:324
    "rs1800414": "OCA2",  # pigmentation: Edwards et al. 2010, PLoS Genet 6:e1000867
    "rs1042602": "TYR",  # pigmentation: Norton et al. 2007
}

MAX_NAMED = 8  # sites of a track
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9,
    "svg.fonttype": "none",  # text that can be searched for and copied
    "svg.hashsalt": "genomai",  # the same picture is the same bytes
}
DARK, LIGHT, NEGATIVE_COLOUR, ACCENT, INK = "#2f5d8a", "#7ea6cc", "#c9c9c9", "#c8442e", "#333333"
TOP, OTHERS = "top", "others"
GAP = 1.2e7  # base pairs between two chromosomes
NAME_OFFSETS = (
    *((0, 7), (9, 5), (-9, 5), (0, 17), (14, 14), (-14, 14), (0, 27), (24, 22), (-24, 22)),
    *((9, -3), (-9, -3), (0, 37), (40, 30), (-40, 30), (0, 47)),
)
_AFTER_NUMBERS = 1 << 20


@dataclass(frozen=True, eq=False)
class Track:
    """The value of each site (S,) for a group of samples, and the title of the track."""

    title: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """Where each site lies (S,) when the chromosomes are laid end to end, and the middle of each chromosome."""

    position: NDArray[np.float64]
    odd: NDArray[np.bool_]
    middles: dict[str, float]


def site_names(panel: Panel) -> list[str]:
    """Names of the sites: the rsID, with the gene where that is well known, else chromosome and position."""
    return [
        locus if rsid == "." else f"{rsid} {GENES[rsid]}" if rsid in GENES else rsid
        for rsid, locus in zip(panel.rsid, panel.loci, strict=True)
    ]


def top_sites(values: NDArray[np.float64], count: int = MAX_NAMED) -> list[int]:
    """The sites of the largest values, largest first; those of 0 and less are never among them."""
    order = np.argsort(-values, kind="stable")[:count]
    return [int(site) for site in order if values[site] > 0]


def split(values: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """The top sites, and the others in their order: as they are drawn."""
    top = top_sites(values)
    return top, sorted(set(range(len(values))).difference(top))


def axis_of(panel: Panel) -> Axis:
    """The chromosomes in the order of their numbers, those without one at the end, one after the other."""
    positions = panel.shown_positions.astype(float)
    position, odd = np.zeros(len(panel)), np.zeros(len(panel), bool)
    middles, start = {}, 0.0
    chroms = np.array(panel.chrom)
    for number, chrom in enumerate(sorted(set(panel.chrom), key=_chromosome_order)):
        on_chrom = chroms == chrom
        position[on_chrom] = start + positions[on_chrom]
        odd[on_chrom] = number % 2 == 1
        end = float(position[on_chrom].max())
        middles[chrom] = (start + end) / 2
        start = end + GAP
    return Axis(position, odd, middles)


def _chromosome_order(chrom: str) -> tuple[int, str]:
    return (int(chrom) if chrom.isdigit() else _AFTER_NUMBERS, chrom)


def manhattan(panel: Panel, tracks: Sequence[Track], *, title: str = "", unit: str) -> Figure:
    """The tracks under one another, with the top sites of each named."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 1.1 + 2.1 * len(tracks)), layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(
                caption(title), x=0.008, ha="left", fontsize=11, fontweight="bold", color=INK
            )
        figure.supylabel(unit, fontsize=9, color=INK)
        axis, names = axis_of(panel), site_names(panel)
        all_axes = figure.subplots(len(tracks), sharex=True, squeeze=False)[:, 0]
        for number, (axes, track) in enumerate(zip(all_axes, tracks, strict=True)):
            _draw(axes, axis, track, number)
        _number_chromosomes(all_axes[-1], axis)
        figure.draw_without_rendering()  # now the axes are laid out
        for axes, track in zip(all_axes, tracks, strict=True):
            _name_top_sites(axes, axis, track, names)
    return figure


def _draw(axes: Axes, axis: Axis, track: Track, number: int) -> None:
    values = track.values
    colours = np.where(axis.odd, LIGHT, DARK).astype(object)
    colours[~(values > 0)] = NEGATIVE_COLOUR
    top, others = split(values)
    for sites, size, colour, kind in ((others, 9, colours[others], OTHERS), (top, 22, ACCENT, TOP)):
        points = axes.scatter(axis.position[sites], values[sites], size, colour, linewidths=0)
        points.set_gid(f"{kind}-{number}")  # by which a page finds the points again
    axes.axhline(0, color=INK, linewidth=0.6)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    span = max(high - low, 1e-9)
    axes.set_ylim(low - 0.06 * span, high + 0.42 * span)
    axes.set_title(caption(track.title), loc="left", fontsize=9, color=INK, pad=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8, length=2)
    axes.margins(x=0.012)


def _number_chromosomes(axes: Axes, axis: Axis) -> None:
    axes.set_xticks(list(axis.middles.values()), list(axis.middles))
    axes.set_xlabel("chromosome", color=INK)


def _name_top_sites(axes: Axes, axis: Axis, track: Track, names: Sequence[str]) -> None:
    """Write the names beside the points, where they cover neither one another nor leave the axes."""
    occupied: list[Bbox] = []
    for site in top_sites(track.values):
        point = (axis.position[site], track.values[site])
        for dx, dy in NAME_OFFSETS:
            note = axes.annotate(
                names[site],
                point,
                (dx, dy),
                textcoords="offset points",
                ha="center" if dx == 0 else "left" if dx > 0 else "right",
                fontsize=7.5,
                color=INK,
                arrowprops={"arrowstyle": "-", "color": ACCENT, "linewidth": 0.5, "shrinkB": 2},
            )
            note.set_in_layout(False)  # the axes stay where they are
            box = note.get_window_extent().padded(1.5)
            if _is_free(box, occupied, axes.bbox):
                occupied.append(box)
                break
            note.remove()


def _is_free(box: Bbox, occupied: Sequence[Bbox], bounds: Bbox) -> bool:
    inside = box.x0 >= bounds.x0 and box.x1 <= bounds.x1 and box.y1 <= bounds.y1 + 2
    return inside and not any(box.overlaps(other) for other in occupied)


def picture(figure: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`, without a date, so that it is the same bytes again."""
    file = io.BytesIO()
    with rc_context(STYLE):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)
    return file.getvalue()
