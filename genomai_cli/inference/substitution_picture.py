"""Saturation mutagenesis as a picture: the sequence as a logo, over the change that each substitution makes.

The height of a letter is the mean loss over the three substitutions of its base (contribution logos as of Shrikumar et
al. 2017, arXiv:1704.02685, by mutagenesis), below zero where the model prefers others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from genomai_cli.alphabet import BASES
from genomai_cli.errors import UsageError
from genomai_cli.formats.variant_alleles import AlleleRecord
from genomai_cli.inference.sequence_logo import draw_letter, picture_of
from genomai_cli.inference.variant_effects import Comparison, Effect
from genomai_cli.names import caption

BASES_PER_ROW, MAX_BASES = 100, 5000  # bases


@dataclass(frozen=True, eq=False)
class Row:
    """Neighbouring positions of a contig: the `first`, their letters, and the changes (n, 4) for A C G T."""

    contig: str
    first: int
    letters: str
    changes: NDArray[np.float64]

    @property
    def heights(self) -> NDArray[np.float64]:
        """The mean loss (n,) over the substitutions of each base."""
        heights: NDArray[np.float64] = -np.nanmean(self.changes, axis=1)
        return heights


class PictureRows:
    """The rows of a picture, from the effects of substitutions as they pass."""

    def __init__(self) -> None:
        self._letters: list[AlleleRecord] = []
        self._changes: list[NDArray[np.float64]] = []

    def watch(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        """The effects themselves; UsageError for more positions than a picture can show."""
        for effect in effects:
            if effect.comparison is not None:
                self._add(effect.record, effect.comparison)
            yield effect

    def _add(self, record: AlleleRecord, comparison: Comparison) -> None:
        if not self._letters or self._letters[-1] is not record:
            self._letters.append(record)
            self._changes.append(np.full(len(BASES), np.nan))
        if len(self._letters) > MAX_BASES:
            raise UsageError(f"--plot: a picture shows at most {MAX_BASES} bases")
        delta = comparison.delta
        change = float(comparison.odds[0]) if np.isnan(delta) and len(comparison.odds) else delta
        self._changes[-1][BASES.index(comparison.change.alt)] = change

    def rows(self) -> Iterator[Row]:
        """Neighbours together, at most so many that they can be read."""
        begin = 0
        for index, record in enumerate(self._letters):
            next_record = self._letters[index + 1] if index + 1 < len(self._letters) else record
            follows = (next_record.contig, next_record.position) == (
                record.contig,
                record.position + 1,
            )
            if not follows or index + 1 - begin == BASES_PER_ROW:
                chunk = slice(begin, index + 1)
                letters = "".join(base.ref for base in self._letters[chunk])
                first = self._letters[begin].position
                yield Row(record.contig, first, letters, np.array(self._changes[chunk]))
                begin = index + 1

    def picture(self, title: str, ending: str) -> bytes:
        """The picture as PNG or SVG, the same bytes for the same rows; UsageError where there is nothing to show."""
        return draw_rows(list(self.rows()), title, ending)


def draw_rows(rows: Sequence[Row], title: str, ending: str) -> bytes:
    """See `PictureRows.picture`."""
    if not rows:
        raise UsageError("--plot: there is no base that could be scored")
    widest = max(len(row.letters) for row in rows)
    limit = max(1e-9, *(float(np.nanmax(np.abs(row.changes))) for row in rows))

    def draw(figure: Figure) -> None:
        figure.suptitle(caption(title))
        panels = figure.subplots(
            2 * len(rows), 1, squeeze=False, height_ratios=[1.4, 1] * len(rows)
        )[:, 0]
        for number, row in enumerate(rows):
            _logo(panels[2 * number], row, widest)
            heatmap = _heatmap(panels[2 * number + 1], row, widest, limit)
        figure.colorbar(heatmap, ax=list(panels), label="change", shrink=0.6)

    return picture_of(draw, max(4.0, 1.5 + 0.16 * widest), 2.6 * len(rows), ending)


def rows_of(name: str, letters: str, changes: NDArray[np.float64]) -> Iterator[Row]:
    """The rows of a whole sequence with the changes (L, 4) of its bases, as long as each other; other letters are left
    out."""
    known = [bool(row.any()) for row in np.isfinite(changes)]
    for is_base, run in groupby(range(len(letters)), known.__getitem__):
        positions = list(run)
        size = -(-len(positions) // -(-len(positions) // BASES_PER_ROW))
        for begin in positions[::size] if is_base else ():
            row = slice(begin, min(begin + size, positions[-1] + 1))
            yield Row(name, begin + 1, letters[row], changes[row])


def _logo(axes: Axes, row: Row, widest: int) -> None:
    heights = row.heights
    for position, (letter, height) in enumerate(zip(row.letters, heights.tolist(), strict=True)):
        draw_letter(axes, letter, position, 0.0, height)
    low, high = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(0, widest)
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xticks([])
    axes.set_ylabel("mean loss")
    axes.set_title(
        f"{caption(row.contig)}:{row.first:,}-{row.first + len(row.letters) - 1:,}", fontsize=9
    )


def _heatmap(axes: Axes, row: Row, widest: int, limit: float) -> mpl.cm.ScalarMappable:
    extent = (0, len(row.letters), len(BASES), 0)
    heatmap = axes.imshow(
        row.changes.T,
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        extent=extent,
        interpolation="nearest",
    )
    axes.set_facecolor("#dddddd")
    axes.set_xlim(0, widest)
    axes.set_yticks([0.5 + number for number in range(len(BASES))], list(BASES))
    ticks = range(0, len(row.letters), 10)
    axes.set_xticks(
        [tick + 0.5 for tick in ticks], [str(row.first + tick) for tick in ticks], fontsize=7
    )
    return heatmap
