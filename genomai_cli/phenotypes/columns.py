"""The columns of phenotypes that a model knows: categories with their labels, numbers, and places on the globe.

Each value is a weighting of a small vocabulary: of a category, its label has the weight 1; of a number or a place, the
weight is spread over the `ANCHORS` near it, so that near values are described alike and far ones apart.

Shape suffixes: V words of the vocabulary, X coordinates of a unit vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import BundleError, InputError
from genomai_cli.phenotypes.table import PhenotypeTable

LATITUDE, LONGITUDE, PLACE = "latitude", "longitude", "place"
NUMBER_ANCHORS = np.linspace(-2.5, 2.5, 11)  # standard deviations from the mean
PLACE_ANCHORS = 64  # about 2,800 km apart
MOST_LABELS = 10_000


@dataclass(frozen=True)
class Category:
    """A column of labels, in alphabetical order."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A column of numbers, which are told in standard deviations from the mean."""

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Place:
    """Two columns in degrees that tell a place on the globe together."""

    latitude: str = LATITUDE
    longitude: str = LONGITUDE


@dataclass(frozen=True)
class Columns:
    """The columns of a model, in the order: categories, numbers, the place if there is one."""

    categories: tuple[Category, ...] = ()
    numbers: tuple[Number, ...] = ()
    place: Place | None = None

    @classmethod
    def of(
        cls,
        table: PhenotypeTable,
        *,
        categories: Sequence[str] = (),
        numbers: Sequence[str] = (),
    ) -> "Columns":
        """The columns of a table: those declared are what they are said to be, the others what their values look like.

        `latitude` and `longitude` together are a place; a column of numbers only is a number, any other with a value
        a category. InputError for a declared column that is not there, and for a number that is none.
        """
        declared = [*categories, *numbers]
        for name in declared:
            table.column(name)
        placed = {LATITUDE, LONGITUDE} <= set(table.columns) - set(declared)
        rest = [n for n in table.columns if not (placed and n in (LATITUDE, LONGITUDE))]
        told = [name for name in rest if any(v is not None for v in table.column(name))]
        numeric = [n for n in told if n in numbers or (n not in categories and table.is_numeric(n))]
        columns = cls(
            tuple(_category(table, name) for name in told if name not in numeric),
            tuple(_number(table, name) for name in numeric),
            Place() if placed else None,
        )
        if not len(columns):
            raise InputError("no column with a value to learn from", path=table.path)
        return columns

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Columns":
        """What `to_config` wrote; BundleError for something else."""
        try:
            categories = tuple(
                Category(c["name"], tuple(c["labels"])) for c in config["categories"]
            )
            numbers = tuple(Number(**number) for number in config["numbers"])
            place = config["place"]
            return cls(categories, numbers, Place(**place) if place is not None else None)
        except (KeyError, TypeError) as error:
            raise BundleError(f"damaged config: phenotype columns: {error!r}") from error

    def to_config(self) -> dict[str, Any]:
        """As a table of JSON."""
        return {
            "categories": [{"name": c.name, "labels": list(c.labels)} for c in self.categories],
            "numbers": [asdict(number) for number in self.numbers],
            "place": asdict(self.place) if self.place is not None else None,
        }

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> list[str]:
        """What is told of a record: the categories, the numbers, `place`."""
        return self._named if self.place is None else [*self._named, PLACE]

    @cached_property
    def fields(self) -> list[str]:
        """The names of the columns in a table."""
        place = [] if self.place is None else [self.place.latitude, self.place.longitude]
        return [*self._named, *place]

    @property
    def _named(self) -> list[str]:
        return [c.name for c in self.categories] + [n.name for n in self.numbers]

    @cached_property
    def sizes(self) -> list[int]:
        """How many words of the vocabulary each of `names` has."""
        of_categories = [len(column.labels) for column in self.categories]
        of_numbers = [len(NUMBER_ANCHORS)] * len(self.numbers)
        return of_categories + of_numbers + [PLACE_ANCHORS] * (self.place is not None)

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """Where the words of each of `names` begin and end in the vocabulary."""
        ends = list(accumulate(self.sizes))
        return [(end - size, end) for size, end in zip(self.sizes, ends, strict=True)]

    @cached_property
    def vocabulary(self) -> list[str]:
        """The names (V) of what DNA can attend to: `pop=GBR`, `height=1.71`, `place=42,12`."""
        words = [f"{column.name}={label}" for column in self.categories for label in column.labels]
        for number in self.numbers:
            values = number.mean + number.deviation * NUMBER_ANCHORS
            words += [f"{number.name}={value:.4g}" for value in values]
        if self.place is not None:
            words += [f"{PLACE}={a:.0f},{b:.0f}" for a, b in degrees(place_anchors())]
        return words


def unit_vectors(latitude: Any, longitude: Any) -> NDArray[np.float64]:
    """Places in degrees as points (..., 3) of the unit sphere."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def degrees(points_VX: NDArray[np.float64]) -> NDArray[np.float64]:
    """The latitude and longitude (V, 2) of points of the sphere."""
    latitude = np.degrees(np.arcsin(np.clip(points_VX[:, 2], -1, 1)))
    return np.stack([latitude, np.degrees(np.arctan2(points_VX[:, 1], points_VX[:, 0]))], axis=1)


def place_anchors(count: int = PLACE_ANCHORS) -> NDArray[np.float64]:
    """Points (V, 3) that cover the sphere evenly: a Fibonacci lattice (Gonzalez 2010, Math. Geosci. 42:49)."""
    number = np.arange(count)
    height = 1 - (2 * number + 1) / count
    longitude = number * 180 * (3 - 5**0.5)
    return unit_vectors(np.degrees(np.arcsin(height)), longitude)


def _category(table: PhenotypeTable, name: str) -> Category:
    labels = sorted({value for value in table.column(name) if value is not None})
    if len(labels) > MOST_LABELS:
        raise InputError(f"column {name}: {len(labels)} labels are too many", path=table.path)
    return Category(name, tuple(labels))


def _number(table: PhenotypeTable, name: str) -> Number:
    values = np.array([v for v in table.numbers(name) if not np.isnan(v)])
    deviation = float(values.std()) if len(values) else 0.0
    return Number(name, float(values.mean()) if len(values) else 0.0, deviation or 1.0)
