"""The picture of a run's losses: opened only when there is one to draw, since matplotlib is slow to load."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ABSENT = "."


def loss_picture(rows: Sequence[Mapping[str, str]], title: str) -> bytes:
    """A PNG of training and held-out loss by step, from the rows of metrics.tsv; a panel a loss."""
    columns = [name for name in rows[0] if name == "loss" or name.startswith("loss_")]
    shown = columns[:1] if len(columns) == 2 else columns  # one objective is the whole loss
    figure = Figure(figsize=(4.5 * len(shown), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for number, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), number)
        held_out = column.replace("loss", "held_out", 1)
        for name, label in ((column, "training"), (held_out, "held out")):
            points = [(int(r["step"]), float(r[name])) for r in rows if r[name] != ABSENT]
            marker = "." if name == held_out else ""
            axes.plot(*zip(*points, strict=True), label=label, marker=marker) if points else None
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats)")
        axes.set_title(column.removeprefix("loss_") if column != "loss" else title)
        axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
