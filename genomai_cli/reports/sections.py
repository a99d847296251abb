"""What a report shows: tiles, notes, facts, tables, pictures, a map of samples and bars of their fractions.

Shape suffixes: N samples, J axes, K labels.
"""

from collections.abc import Mapping, Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DIGITS = 4  # significant ones of what is drawn
# Okabe and Ito's colours for all kinds of sight, of which none is lost on white or on near-black paper.
COLOURS = ("#e69f00", "#c1499a", "#009e73", "#2f7fc1", "#d55e00", "#56b4e9", "#8c7ae6", "#9a8f2a")
UNKNOWN_COLOUR = "#888888"
# Marks of about the same area, so that groups differ by shape as well.
MARKS = (
    "M4 0A4 4 0 1 1 -4 0A4 4 0 1 1 4 0Z",
    "M-3.5 -3.5H3.5V3.5H-3.5Z",
    "M0 -5L4.6 3.4H-4.6Z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0Z",
    "M0 5L4.6 -3.4H-4.6Z",
    "M-1.5 -5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z",
    "M-5 0L0 -3L5 0L0 3Z",
    "M0 -5L3 0L0 5L-3 0Z",
)
CROSS = "M-4 -5L0 -1L4 -5L5 -4L1 0L5 4L4 5L0 1L-4 5L-5 4L-1 0L-5 -4Z"


def colours_of(count: int) -> list[str]:
    """So many colours, in the form that pages and matplotlib both read: the chosen ones, and beyond them hues that go
    round in golden steps."""
    extra_colours = (
        _hex_colour(round(number * 137.508) % 360, 55 + 15 * (number % 2), 45 + 8 * (number % 3))
        for number in range(count - len(COLOURS))
    )
    return [*COLOURS[:count], *extra_colours]


def _hex_colour(hue: int, saturation: int, lightness: int) -> str:
    """A colour of a hue in degrees, its saturation and lightness in percent, as #rrggbb."""
    shares = hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(255 * share):02x}" for share in shares)


@dataclass(frozen=True)
class Tile:
    """A number with what it counts; `warn` if somebody should look into it."""

    label: str
    value: str
    warn: bool = False


@dataclass(frozen=True)
class Tiles:
    """The numbers at the top."""

    tiles: Sequence[Tile]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Notes:
    """Paragraphs."""

    title: str
    paragraphs: Sequence[str]
    kind: ClassVar[str] = "notes"


@dataclass(frozen=True)
class Facts:
    """Names with their values, as a list of definitions."""

    title: str
    rows: Mapping[str, str]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Column:
    """A column of a table: of numbers or text; `tip` if the label at a mark repeats it, `filtered` if rows can be
    chosen by its values, `warns` if what stands there needs attention; `description` explains its name."""

    name: str
    number: bool = False
    tip: bool = False
    filtered: bool = False
    warns: bool = False
    description: str = ""


@dataclass(frozen=True)
class ShadedCell:
    """A cell with a shade, 0 to 5."""

    text: str
    shade: int


Cell = str | ShadedCell


@dataclass(frozen=True)
class Table:
    """Rows under columns, the first of which names the row. `linked` is the one table that map and bars belong to, row
    by row; one of `prose` has sentences in it."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    linked: bool = False
    prose: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Tables:
    """Small tables beside one another."""

    title: str
    tables: Sequence[Table]
    kind: ClassVar[str] = "tables"


@dataclass(frozen=True)
class Picture:
    """A drawing as SVG, made by `drawings`: it goes into the page as it is."""

    title: str
    svg: str
    caption: str = ""
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Pictures:
    """Small drawings beside one another."""

    title: str
    pictures: Sequence[Picture]
    caption: str = ""
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Legend:
    """A name with its colour and its mark, the path of an SVG."""

    name: str
    colour: str
    path: str


@dataclass(frozen=True, eq=False)
class ReferenceGroup:
    """Individuals that a model was trained on, as a mean (J,) and a covariance (J, J) alone, None if that is not known;
    `parent` is the larger group that they belong to."""

    name: str
    parent: str
    centre: Array
    spread: Array | None


@dataclass(frozen=True, eq=False)
class SampleMap:
    """Samples at coordinates (N, J) on named axes, NaN for those that have none, among reference groups.

    label_indices: (N,) the index of each sample's label among `labels`, -1 for none;
    flagged: (N,) whether it has flags.
    """

    title: str
    caption: str
    axes: Sequence[str]
    coordinates: Array
    labels: Sequence[str]
    label_indices: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    groups: Sequence[ReferenceGroup] = field(default_factory=list)
    kind: ClassVar[str] = "map"

    @property
    def colours(self) -> list[str]:
        """A colour a label."""
        return colours_of(len(self.labels))

    def parent_index(self, group: ReferenceGroup) -> int:
        """The label that a group is drawn as; the group itself must be one if its parent is none."""
        name = group.parent if group.parent in self.labels else group.name
        return list(self.labels).index(name) if name in self.labels else 0

    @property
    def has_spreads(self) -> bool:
        """Whether there are ellipses."""
        return any(group.spread is not None for group in self.groups)

    @property
    def legend(self) -> list[Legend]:
        """The labels, and what has none."""
        marks = [MARKS[number % len(MARKS)] for number in range(len(self.labels))]
        labelled = [Legend(*of) for of in zip(self.labels, self.colours, marks, strict=True)]
        unknown = (
            [Legend("UNKNOWN", UNKNOWN_COLOUR, CROSS)] if (self.label_indices < 0).any() else []
        )
        return [*labelled, *unknown]

    @property
    def data(self) -> dict[str, Any]:
        """What the page draws from."""
        return {
            "axes": list(self.axes),
            "points": [rounded(column) for column in self.coordinates.T],
            "kinds": self.label_indices.tolist(),
            "flagged": self.flagged.astype(int).tolist(),
            "colours": self.colours,
            "paths": [*(MARKS[n % len(MARKS)] for n in range(len(self.labels))), CROSS],
            "groups": [
                {
                    "name": group.name,
                    "colour": self.parent_index(group),
                    "centre": rounded(group.centre),
                    "spread": None if group.spread is None else [rounded(r) for r in group.spread],
                }
                for group in self.groups
            ],
        }


@dataclass(frozen=True, eq=False)
class FractionBars:
    """Fractions (N, K) of samples by label, which add up to 1; NaN for those that have none."""

    title: str
    caption: str
    names: Sequence[str]
    labels: Sequence[str]
    fractions: Array
    kind: ClassVar[str] = "bars"

    @property
    def colours(self) -> list[str]:
        """A colour a label."""
        return colours_of(len(self.labels))

    @property
    def legend(self) -> list[Legend]:
        """The labels."""
        return [Legend(n, c, MARKS[1]) for n, c in zip(self.labels, self.colours, strict=True)]

    @property
    def data(self) -> dict[str, Any]:
        """What the page draws from."""
        values = [rounded(column) for column in self.fractions.T]
        return {"labels": list(self.labels), "colours": self.colours, "values": values}


Section = Tiles | Notes | Facts | Table | Tables | Picture | Pictures | SampleMap | FractionBars


def rounded(values: Array) -> list[float | None]:
    """The values with the digits that can be seen, None for NaN."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values]
