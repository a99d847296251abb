"""The picture of a run's losses, in a module of its own since matplotlib is slow to load."""

from matplotlib.figure import Figure

from genomai_cli.names import caption
from genomai_cli.reports.drawings import draw_curves
from genomai_cli.reports.pictures import picture
from genomai_cli.training.loss_curves import Rows, by_objective, by_part


def loss_picture(rows: Rows, title: str) -> bytes:
    """A PNG of training and held-out loss by step, from the rows of metrics.tsv; a panel a loss."""
    panels = by_objective(rows)

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title))
        subplots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, curves) in zip(subplots, panels.items(), strict=True):
            draw_curves(axes, curves, x="step", y=f"{name} (nats)")

    return picture(draw, (4.5 * len(panels), 3.5), ".png")


def steps_picture(rows: Rows, title: str) -> bytes:
    """A PNG of the training loss (thin) and the best held-out loss (thick) by step, a colour a part, from the rows of
    the metrics.tsv of `train`."""

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title))
        draw_curves(figure.subplots(), by_part(rows), x="step", y="loss (thin: training)")

    return picture(draw, (6.5, 4), ".png")
