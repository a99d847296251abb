"""Drawings of a page by matplotlib: curves, points and counts, as SVG that takes the page's colours, light and dark.

A page's policy lets nothing be styled in place, so the styles that matplotlib writes become attributes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from genomai_cli.names import caption, printable
from genomai_cli.reports.pictures import picture
from genomai_cli.reports.sections import COLOURS

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
INK = "var(--plot-ink)"
# Colours that a page has in light and in dark; what is black without saying so takes the ink of the element.
PAGE_COLOURS = {
    "#000000": INK,
    "#333333": INK,
    "#ffffff": "var(--paper)",
    "#2f5d8a": "var(--plot-dark)",
    "#7ea6cc": "var(--plot-light)",
    "#c9c9c9": "var(--plot-against)",
    "#c8442e": "var(--plot-top)",
    "#1565c0": "var(--plot-dark)",
    "#bdbdbd": "var(--plot-against)",
    "#f5e6e6": "var(--plot-missing)",
}
MAX_POINTS = 2000  # of a drawing; of more, as many evenly chosen ones
MAX_BINS = 60
SIZE = (5.6, 3.4)  # inches
Array = NDArray[np.float64]
Tooltips = Mapping[str, Sequence[str]]


def drawing(draw: Callable[[Figure], None], size: tuple[float, float] = SIZE) -> str:
    """What `draw` makes of a figure of this size in inches, as an element of a page."""
    return inlined(picture(draw, size, ".svg"))


def inlined(svg: bytes, tooltips: Tooltips | None = None) -> str:
    """A file of matplotlib's as an element of a page; `tooltips` are texts under the mouse at the marks of a group, in
    their order, by the group's id."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for name, texts in (tooltips or {}).items():
        _add_tooltips(root, name, texts)
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
        _restyle(parent)
        if parent.tag == f"{{{SVG}}}g":
            parent.attrib.pop("id", None)  # two drawings of a page have the same
    root.set("fill", INK)
    return ElementTree.tostring(root, encoding="unicode")


def _add_tooltips(root: ElementTree.Element, name: str, texts: Sequence[str]) -> None:
    marks = root.findall(f".//{{{SVG}}}g[@id='{name}']//{{{SVG}}}use")
    for mark, text in zip(marks, texts, strict=True):
        ElementTree.SubElement(mark, f"{{{SVG}}}title").text = printable(text)


def _restyle(element: ElementTree.Element) -> None:
    """The element's style as attributes, with the page's colours."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = declaration.partition(":")
        if value:
            element.set(name.strip(), PAGE_COLOURS.get(value.strip(), value.strip()))


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a line; `thin` lines stand behind the others, `dots` mark the points."""

    name: str
    x: Sequence[float] | Array
    y: Sequence[float] | Array
    thin: bool = False
    dots: bool = False
    colour: int = 0


def curves(
    lines: Sequence[Curve], *, x: str, y: str, unit_square: bool = False, ticks: Sequence[str] = ()
) -> str:
    """Lines; in a `unit_square` both axes go from 0 to 1, with the diagonal. `ticks` name the points 0, 1, 2..."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if unit_square:
            _square(axes)
        draw_curves(axes, lines, x=x, y=y)
        if ticks:
            axes.set_xticks(range(len(ticks)), [caption(tick) for tick in ticks])

    return drawing(draw, (3.6, 3.4) if unit_square else SIZE)


def draw_curves(axes: Axes, lines: Sequence[Curve], *, x: str, y: str) -> None:
    """Lines with a legend of those that have a name."""
    for curve in lines:
        axes.plot(
            curve.x,
            curve.y,
            color=COLOURS[curve.colour % len(COLOURS)],
            linewidth=0.7 if curve.thin else 1.6,
            alpha=0.7 if curve.thin else 1,
            marker="." if curve.dots else "",
            label=caption(curve.name) if curve.name else None,
        )
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    _finish(axes, x, y)
    if any(curve.name for curve in lines):
        axes.legend(frameon=False, fontsize=8)


def points(
    x_values: Array,
    y_values: Array,
    *,
    x: str,
    y: str,
    names: Sequence[str] = (),
    diagonal: bool = True,
) -> str:
    """A mark a pair, with the diagonal where both are the same; `names` are shown under the mouse."""
    known = np.flatnonzero(np.isfinite(x_values) & np.isfinite(y_values))
    if len(known) > MAX_POINTS:
        known = known[np.linspace(0, len(known) - 1, MAX_POINTS).astype(np.int64)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        opacity = 0.9 if len(known) < 400 else 0.5
        marks = axes.scatter(x_values[known], y_values[known], 9, COLOURS[3], alpha=opacity, lw=0)
        marks.set_gid("points")
        if diagonal and len(known):
            ends = [
                float(pick(of[known])) for pick in (np.min, np.max) for of in (x_values, y_values)
            ]
            axes.axline((min(ends), min(ends)), slope=1, color="#333333", linewidth=0.6, alpha=0.6)
        _finish(axes, x, y)

    tips = [
        f"{names[at] if len(names) else ''} {x_values[at]:.4g}, {y_values[at]:.4g}".strip()
        for at in known.tolist()
    ]
    return inlined(picture(draw, (4.2, 3.8), ".svg"), {"points": tips})


def histogram(values: Array, *, x: str, y: str) -> str:
    """How many values lie where; on a logarithmic scale if some bins are a hundred times as full as others."""
    known = values[np.isfinite(values)]
    bins = int(min(MAX_BINS, max(5, np.sqrt(len(known)))))
    counts, edges = np.histogram(known, bins)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=COLOURS[3], alpha=0.8)
        if counts.max() > 100 * counts[counts > 0].min():
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.5)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if edges[0] < 0 < edges[-1]:
            axes.axvline(0, color="#333333", linewidth=0.6)
        _finish(axes, x, y)

    return drawing(draw)


def reliability(
    predicted: Array, observed: Array, low: Array, high: Array, *, x: str, y: str
) -> str:
    """Observed shares with their intervals over predicted ones, and the diagonal where both are the same."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _square(axes)
        spans = np.maximum(0, np.stack([observed - low, high - observed]))
        axes.errorbar(
            predicted, observed, spans, fmt="o-", color=COLOURS[3], markersize=3.5, lw=1.2
        )
        _finish(axes, x, y)

    return drawing(draw, (3.6, 3.4))


def _square(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#333333", linewidth=0.6, linestyle="--", alpha=0.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=caption(x), ylabel=caption(y))
    axes.spines[["top", "right"]].set_visible(False)
