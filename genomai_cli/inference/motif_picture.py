"""Logos of motifs, one under another: letters as high as their share of the column's information, in bits."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genomai_cli.alphabet import BASES
from genomai_cli.inference.motifs import Array, Motif, bits
from genomai_cli.inference.sequence_logo import draw_letter, picture_of
from genomai_cli.names import caption

UNIFORM = np.full(len(BASES), 1 / len(BASES))
MAX_BITS = 2.0


def motif_picture(motifs: Sequence[tuple[str, Motif]], title: str, ending: str) -> bytes:
    """The motifs under their captions as PNG or SVG."""
    widest = max((len(motif.counts) for _, motif in motifs), default=1)

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title))
        panels = figure.subplots(max(1, len(motifs)), 1, squeeze=False)[:, 0]
        for axes in panels[len(motifs) :]:
            axes.set_axis_off()
        for axes, (title_line, motif) in zip(panels, motifs, strict=False):
            axes.set_title(caption(title_line), fontsize=9)
            _logo(axes, motif, widest)

    return picture_of(draw, max(6.0, 1.5 + 0.35 * widest), 0.6 + 1.8 * max(1, len(motifs)), ending)


def _logo(axes: Axes, motif: Motif, widest: int) -> None:
    heights: Array = motif.frequencies * np.clip(bits(motif, UNIFORM), 0, None)[:, None]
    for position, column in enumerate(heights):
        low = 0.0
        for base in np.argsort(column, kind="stable"):
            if column[base] > 0:
                draw_letter(axes, BASES[base], position, low, float(column[base]))
            low += float(column[base])
    axes.set_xlim(0, widest)
    axes.set_ylim(0, MAX_BITS)
    axes.set_xticks([position + 0.5 for position in range(len(motif.counts))])
    axes.set_xticklabels([str(position + 1) for position in range(len(motif.counts))], fontsize=7)
    axes.set_ylabel("bits")
