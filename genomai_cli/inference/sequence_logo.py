"""Letters of sequence logos (Schneider & Stephens 1990, Nucleic Acids Res 18:6097), and pictures with the same bytes
for the same content."""

import io
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

COLORS = {"A": "#2e7d32", "C": "#1565c0", "G": "#f9a825", "T": "#c62828"}


def draw_letter(axes: Axes, letter: str, left: float, bottom: float, height: float) -> None:
    """Draw a base one unit wide from `left`, so high from `bottom`, upside down if that is negative."""
    path = TextPath(
        (0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold")
    )
    box = path.get_extents()
    scale = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, height / box.height)
    shape = scale.translate(left + 0.05, bottom).transform_path(path)
    axes.add_patch(PathPatch(shape, facecolor=COLORS[letter], edgecolor="none"))


def picture_of(draw: Callable[[Figure], None], width: float, height: float, ending: str) -> bytes:
    """What `draw` makes of a figure of this size in inches, as PNG or SVG by the `ending`."""
    with mpl.rc_context({"svg.hashsalt": "genomai", "svg.fonttype": "path"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        file = io.BytesIO()
        metadata = {"Date": None} if ending == ".svg" else {}
        figure.savefig(file, format=ending.removeprefix("."), dpi=120, metadata=metadata)
    return file.getvalue()
