"""Tables of phenotype records, and the columns of a model: categories, numbers, and a location.

A table is a TSV whose first column names the record, with values that may be missing. To a model each value is a
weighting of a small vocabulary: of a category, its label has the weight 1; of a number or a location, the weight is
spread over the anchors near it, so that near values are much the same to it and far ones are not.

Shape suffixes: V tokens of the vocabulary, X coordinates of a unit vector.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.tables import read_table, require_text

RECORDS = "phenotypes.tsv"  # in a bundle: the records that its model ranks by default
MISSING = frozenset(("", ".", "NA"))


@dataclass(frozen=True)
class PhenotypeTable:
    """Records by name, with the line of each in the file; values are None where missing."""

    path: str
    names: tuple[str, ...]
    lines: tuple[int, ...]
    columns: Mapping[str, tuple[str | None, ...]]

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> tuple[str | None, ...]:
        """The values of a column; InputError if there is none of that name."""
        if name not in self.columns:
            available = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {available})"
            raise InputError(message, path=self.path, line=1)
        return self.columns[name]

    def is_numeric(self, name: str) -> bool:
        """Whether all known values of a column are numbers."""
        return all(v is None or not math.isnan(_number(v)) for v in self.column(name))

    def numbers(self, name: str) -> list[float]:
        """The values of a column as numbers, NaN where missing; InputError for one that is none."""
        found = []
        for value, line in zip(self.column(name), self.lines, strict=True):
            number = math.nan if value is None else _number(value)
            if value is not None and math.isnan(number):
                message = f"{name} is {value!r}, which is not a number (write . if it is unknown)"
                raise InputError(message, path=self.path, line=line)
            found.append(number)
        return found


def read_phenotypes(path: str | Path) -> PhenotypeTable:
    """The records of a TSV with a header; `.`, `NA` or nothing is a missing value.

    InputError, with the line, for a table without records or columns, a ragged row, and a record without a name or
    with the name of another.
    """
    table = read_table(path)
    first, *others = table.columns
    if not others:
        message = "phenotypes need a header line and two or more columns, separated by tabs"
        raise InputError(message, path=table.path, line=1)
    if not len(table):
        raise InputError("a header, but no records", path=table.path, line=1)
    names = tuple(name.strip() for name in table.columns[first])
    _check_names(names, table.lines, table.path)
    columns = {name: tuple(map(_value, table.columns[name])) for name in others}
    return PhenotypeTable(table.path, names, table.lines, columns)


def _value(text: str) -> str | None:
    value = text.strip()
    return None if value in MISSING else value


def _number(text: str) -> float:
    """The number that a text is, NaN if it is none or not finite."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _check_names(names: tuple[str, ...], lines: tuple[int, ...], path: str) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if not name:
            raise InputError("a record without a name", path=path, line=line)
        if name in seen:
            message = f"record {name} again (first in line {seen[name]})"
            raise InputError(message, path=path, line=line)
        seen[name] = line


LATITUDE, LONGITUDE = "latitude", "longitude"
LOCATION = "place"  # its name in the vocabulary
NUMBER_ANCHORS = np.linspace(-2.5, 2.5, 11)  # standard deviations from the mean
LOCATION_ANCHORS = 64  # about 2,800 km apart
MAX_LABELS = 10_000


@dataclass(frozen=True)
class Category:
    """A column of labels, in alphabetical order."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A column of numbers, which are given in standard deviations from the mean."""

    name: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Location:
    """Two columns in degrees that together give a location on the globe."""

    latitude: str = LATITUDE
    longitude: str = LONGITUDE


@dataclass(frozen=True)
class Columns:
    """The columns of a model, in the order: categories, numbers, the location if there is one."""

    categories: tuple[Category, ...] = ()
    numbers: tuple[Number, ...] = ()
    location: Location | None = None

    @classmethod
    def of(
        cls,
        table: PhenotypeTable,
        *,
        categories: Sequence[str] = (),
        numbers: Sequence[str] = (),
    ) -> "Columns":
        """The columns of a table: declared ones as declared, the others by their values.

        `latitude` and `longitude` together are a location; a column of numbers only is a number, any other with a value
        a category. InputError for a declared column that is not there, and for a number that is none.
        """
        declared = [*categories, *numbers]
        for name in declared:
            table.column(name)
        located = {LATITUDE, LONGITUDE} <= set(table.columns) - set(declared)
        rest = [n for n in table.columns if not (located and n in (LATITUDE, LONGITUDE))]
        known = [name for name in rest if any(v is not None for v in table.column(name))]
        numeric = [
            n for n in known if n in numbers or (n not in categories and table.is_numeric(n))
        ]
        columns = cls(
            tuple(_category(table, name) for name in known if name not in numeric),
            tuple(_number_column(table, name) for name in numeric),
            Location() if located else None,
        )
        if not len(columns):
            raise InputError("no column with a value to train on", path=table.path)
        return columns

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Columns":
        """The inverse of `to_config`; BundleError for something else."""
        try:
            categories = tuple(
                Category(c["name"], tuple(c["labels"])) for c in config["categories"]
            )
            numbers = tuple(Number(**number) for number in config["numbers"])
            location = config["place"]
            return cls(categories, numbers, Location(**location) if location is not None else None)
        except (KeyError, TypeError) as error:
            raise BundleError(f"damaged config: phenotype columns: {error!r}") from error

    def to_config(self) -> dict[str, Any]:
        """As a table of JSON."""
        return {
            "categories": [{"name": c.name, "labels": list(c.labels)} for c in self.categories],
            "numbers": [asdict(number) for number in self.numbers],
            "place": asdict(self.location) if self.location is not None else None,
        }

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns (K): the categories, the numbers, `place`."""
        return self._value_columns if self.location is None else [*self._value_columns, LOCATION]

    @cached_property
    def fields(self) -> list[str]:
        """The names of the columns in a table."""
        located = self.location
        degrees = [] if located is None else [located.latitude, located.longitude]
        return [*self._value_columns, *degrees]

    @property
    def _value_columns(self) -> list[str]:
        return [c.name for c in self.categories] + [n.name for n in self.numbers]

    @cached_property
    def sizes(self) -> list[int]:
        """How many tokens of the vocabulary each of `names` has."""
        of_categories = [len(column.labels) for column in self.categories]
        of_numbers = [len(NUMBER_ANCHORS)] * len(self.numbers)
        return of_categories + of_numbers + [LOCATION_ANCHORS] * (self.location is not None)

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """Where the tokens of each of `names` begin and end in the vocabulary."""
        ends = list(accumulate(self.sizes))
        return [(end - size, end) for size, end in zip(self.sizes, ends, strict=True)]

    @cached_property
    def vocabulary(self) -> list[str]:
        """The tokens (V) that DNA can attend to: `pop=GBR`, `height=1.71`, `place=42,12`."""
        tokens = [f"{column.name}={label}" for column in self.categories for label in column.labels]
        for number in self.numbers:
            values = number.mean + number.deviation * NUMBER_ANCHORS
            tokens += [f"{number.name}={value:.4g}" for value in values]
        if self.location is not None:
            tokens += [f"{LOCATION}={a:.0f},{b:.0f}" for a, b in degrees(location_anchors())]
        return tokens


def unit_vectors(latitude: Any, longitude: Any) -> NDArray[np.float64]:
    """Locations in degrees as points (..., 3) of the unit sphere."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def degrees(points_VX: NDArray[np.float64]) -> NDArray[np.float64]:
    """The latitude and longitude (V, 2) of points of the sphere."""
    latitude = np.degrees(np.arcsin(np.clip(points_VX[:, 2], -1, 1)))
    return np.stack([latitude, np.degrees(np.arctan2(points_VX[:, 1], points_VX[:, 0]))], axis=1)


def location_anchors(count: int = LOCATION_ANCHORS) -> NDArray[np.float64]:
    """Points (V, 3) that cover the sphere evenly: a Fibonacci lattice (Gonzalez 2010, Math. Geosci. 42:49)."""
    number = np.arange(count)
    height = 1 - (2 * number + 1) / count
    longitude = number * 180 * (3 - 5**0.5)
    return unit_vectors(np.degrees(np.arcsin(height)), longitude)


def _category(table: PhenotypeTable, name: str) -> Category:
    require_text((name, *table.column(name)), (1, *table.lines), table.path)
    labels = sorted({value for value in table.column(name) if value is not None})
    if len(labels) > MAX_LABELS:
        raise InputError(f"column {name}: {len(labels)} labels are too many", path=table.path)
    return Category(name, tuple(labels))


def _number_column(table: PhenotypeTable, name: str) -> Number:
    values = np.array([v for v in table.numbers(name) if not np.isnan(v)])
    deviation = float(values.std()) if len(values) else 0.0
    return Number(name, float(values.mean()) if len(values) else 0.0, deviation or 1.0)
