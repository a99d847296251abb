"""Draws docs/images/result.svg: what `genomai classify --probs` says of the example samples.

    python docs/images/make_result.py

The samples of examples/samples.vcf.gz are synthetic (see examples/README.md), so no real person's data are drawn.
One bar a sample and head, stacked by the probabilities of the labels; labels of at least 10 % are named.
The same model and matplotlib give the same bytes.
"""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "examples" / "samples.vcf.gz"
TARGET = HERE / "result.svg"
COMMAND = [sys.executable, "-m", "genomai_cli", "classify", "--quiet", "--probs", str(SAMPLES)]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {
    "AFR": "#E69F00",
    "AMR": "#CC79A7",
    "EAS": "#009E73",
    "EUR": "#56B4E9",
    "SAS": "#D55E00",
}
POPULATIONS = {
    "AFR": ("ACB", "ASW", "ESN", "GWD", "LWK", "MSL", "YRI"),
    "AMR": ("CLM", "MXL", "PEL", "PUR"),
    "EAS": ("CDX", "CHB", "CHS", "JPT", "KHV"),
    "EUR": ("CEU", "FIN", "GBR", "IBS", "TSI"),
    "SAS": ("BEB", "GIH", "ITU", "PJL", "STU"),
}
NAMED_FROM = 0.1  # the smallest probability whose label is written in its bar
INK = "#333333"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text that can be searched for and copied
    "svg.hashsalt": "genomai",  # the same picture is the same bytes
}

Row = dict[str, str]


def shade(superpopulation: str, number: int, of: int) -> tuple[float, float, float]:
    """The colour of a population: its super-population's, drawn towards white by its place in the list."""
    red, green, blue = to_rgb(COLOURS[superpopulation])
    white = 0.55 * number / max(1, of - 1)
    return (red + (1 - red) * white, green + (1 - green) * white, blue + (1 - blue) * white)


def stack(axes: Axes, rows: list[Row], head: str, labels: dict[str, Any]) -> None:
    """A bar a sample; each label's part has its colour, and its name where there is room."""
    for place, row in enumerate(rows):
        left = 0.0
        for label, colour in labels.items():
            p = float(row[f"{head}:{label}"])
            if p > 0:
                axes.barh(place, p, 0.74, left, color=colour, edgecolor="white", linewidth=0.6)
            if p >= NAMED_FROM:
                axes.text(
                    left + p / 2, place, label, ha="center", va="center", fontsize=8, color="black"
                )
            left += p
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "", "0.5", "", "1"))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.set_xlabel(f"probability ({head})")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def draw(rows: list[Row]) -> bytes:
    """The picture, as SVG."""
    figure = Figure(figsize=(9, 4.6))
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2.2))
    stack(left, rows, "superpop", COLOURS)
    shades = {
        population: shade(group, number, len(members))
        for group, members in POPULATIONS.items()
        for number, population in enumerate(members)
    }
    stack(right, rows, "pop", shades)
    left.set_yticks(range(len(rows)), [row["sample"] for row in rows])
    for place, row in enumerate(rows):
        if row["flags"] != ".":
            right.text(1.015, place, row["flags"], va="center", fontsize=7.5)
    keys = [Patch(color=colour, label=group) for group, colour in COLOURS.items()]
    figure.legend(handles=keys, ncols=len(keys), loc="upper right", frameon=False, fontsize=8)
    title = f"genomai classify --probs examples/samples.vcf.gz  ({rows[0]['model']})"
    figure.text(0.012, 0.962, title, fontsize=8.5, family="monospace", va="center")
    figure.subplots_adjust(left=0.185, right=0.88, top=0.91, bottom=0.105, wspace=0.05)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def main() -> None:
    """Classify the samples and draw the answer."""
    table = subprocess.run(COMMAND, check=True, capture_output=True, text=True).stdout
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t"))
    with rc_context(STYLE):
        TARGET.write_bytes(draw(rows))


if __name__ == "__main__":
    main()
