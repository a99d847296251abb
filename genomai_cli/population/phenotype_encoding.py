"""Phenotype records as arrays, as rows of a corpus with barcodes, and by the groups that samples are crossed within.

A record becomes indices of labels, standardised numbers and a point of the sphere (`EncodedPhenotypes`). A row of a
corpus holds a sample's letters at the sites of a panel, then its record (`PhenotypeRows`). New samples are crossed from
the haplotypes of a group (`HaplotypeGroups`). What the samples of a group have in common is a record of its own, one of
those that a model ranks by default (`common_records`).

Shape suffixes: N records, B samples of a batch, C categories, M numbers, X coordinates of a unit vector, K columns
(`Columns.names`), S sites.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import MISSING
from genomai_cli.augmentations import HaplotypePool
from genomai_cli.errors import InputError
from genomai_cli.population.barcode import resolve
from genomai_cli.population.phenotypes import Columns, Location, PhenotypeTable, unit_vectors

MAX_DEVIATION = 6.0  # standard deviations from the mean; numbers beyond are clipped


@dataclass(frozen=True, eq=False)
class EncodedPhenotypes:
    """Records as a model reads them: `categories` (N, C) holds indices of labels and `MISSING`, `numbers` (N, M)
    standard deviations from the mean and NaN, `locations` (N, 3) points of the unit sphere and NaN; (N, 0) for columns
    that the model does not have."""

    categories: NDArray[np.int64]
    numbers: NDArray[np.float32]
    locations: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which columns (N, K) are known of each record, in the order of `Columns.names`."""
        parts = [self.categories >= 0, ~np.isnan(self.numbers), ~np.isnan(self.locations[:, :1])]
        return np.concatenate(parts, axis=1)

    def rows(self, rows: NDArray[np.int64]) -> "EncodedPhenotypes":
        """The records of these indices."""
        return EncodedPhenotypes(self.categories[rows], self.numbers[rows], self.locations[rows])

    def with_columns(self, visible_NK: NDArray[np.bool_]) -> "EncodedPhenotypes":
        """The same records with the other columns unknown."""
        split = self.categories.shape[1], self.categories.shape[1] + self.numbers.shape[1]
        of_categories, of_numbers, of_location = np.split(visible_NK, split, axis=1)
        return replace(
            self,
            categories=np.where(of_categories, self.categories, MISSING),
            numbers=np.where(of_numbers, self.numbers, np.float32(np.nan)),
            locations=np.where(of_location, self.locations, np.float32(np.nan)),
        )


def joined(parts: Sequence[EncodedPhenotypes]) -> EncodedPhenotypes:
    """Records of the same columns, one after the other."""
    return EncodedPhenotypes(
        np.concatenate([part.categories for part in parts]),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.locations for part in parts]),
    )


def encode(table: PhenotypeTable, columns: Columns) -> EncodedPhenotypes:
    """The table's records; columns that the model does not know are skipped (see `ignored`).

    InputError, with the line, for an unknown label, a text where a number is expected, a location that is none or is
    half given, a record of which nothing is known, and a table without a column that the model knows.
    """
    if not set(columns.fields) & set(table.columns):
        known, present = ", ".join(columns.fields), ", ".join(table.columns)
        message = f"no column that the model knows ({known}); there are: {present}"
        raise InputError(message, path=table.path, line=1)
    labels = [_labels(table, c.name, c.labels) for c in columns.categories]
    numbers = [_standardised(table, n.name, n.mean, n.deviation) for n in columns.numbers]
    encoded = EncodedPhenotypes(
        _stacked_columns(labels, len(table), np.int64),
        _stacked_columns(numbers, len(table), np.float32),
        np.zeros((len(table), 0), np.float32)
        if columns.location is None
        else _locations(table, columns.location),
    )
    _require_known_value(encoded, table, columns)
    return encoded


def ignored(table: PhenotypeTable, columns: Columns) -> list[str]:
    """The table's columns that the model does not know."""
    return [name for name in table.columns if name not in columns.fields]


def _labels(table: PhenotypeTable, name: str, labels: tuple[str, ...]) -> NDArray[np.int64]:
    if name not in table.columns:
        return np.full(len(table), MISSING)
    index = {label: number for number, label in enumerate(labels)}
    for value, line in zip(table.column(name), table.lines, strict=True):
        if value is not None and value not in index:
            known = ", ".join(labels[:40]) + (", ..." if len(labels) > 40 else "")
            message = f"{name} {value!r} is unknown to the model (known: {known}); write . for it"
            raise InputError(message, path=table.path, line=line)
    return np.array([MISSING if v is None else index[v] for v in table.column(name)])


def _standardised(
    table: PhenotypeTable, name: str, mean: float, deviation: float
) -> NDArray[np.float32]:
    if name not in table.columns:
        return np.full(len(table), np.nan, np.float32)
    deviations = (np.array(table.numbers(name)) - mean) / deviation
    return np.clip(deviations, -MAX_DEVIATION, MAX_DEVIATION).astype(np.float32)


def _locations(table: PhenotypeTable, location: Location) -> NDArray[np.float32]:
    """Points (N, 3), NaN where nothing is known."""
    if not {location.latitude, location.longitude} & set(table.columns):
        return np.full((len(table), 3), np.nan, np.float32)
    bounds = ((location.latitude, 90), (location.longitude, 180))
    degrees = [_degrees(table, name, bound) for name, bound in bounds]
    half = np.isnan(degrees[0]) != np.isnan(degrees[1])
    if half.any():
        line = table.lines[int(half.argmax())]
        message = (
            f"{location.latitude} and {location.longitude} make a location together: one is missing"
        )
        raise InputError(message, path=table.path, line=line)
    return unit_vectors(*degrees).astype(np.float32)


def _degrees(table: PhenotypeTable, name: str, bound: float) -> NDArray[np.float64]:
    """A column of degrees."""
    values = np.array(table.numbers(name))
    out_of_range = np.abs(values) > bound
    if out_of_range.any():
        row = int(out_of_range.argmax())
        message = f"{name} is {values[row]:g}, which is not between -{bound} and {bound}"
        raise InputError(message, path=table.path, line=table.lines[row])
    return values


def _require_known_value(
    encoded: EncodedPhenotypes, table: PhenotypeTable, columns: Columns
) -> None:
    all_unknown = ~encoded.known.any(axis=1)
    if all_unknown.any():
        row = int(all_unknown.argmax())
        known = ", ".join(columns.fields)
        message = f"nothing is known of {table.names[row]} in the columns of the model ({known})"
        raise InputError(message, path=table.path, line=table.lines[row])


def _stacked_columns(parts: list[NDArray[Any]], rows: int, dtype: type) -> NDArray[Any]:
    """Columns as an array (N, their number), also if there are none."""
    return np.stack(parts, axis=1).astype(dtype) if parts else np.zeros((rows, 0), dtype)


Bytes = NDArray[np.uint8]
_BYTES_PER_VALUE = 4


@dataclass(frozen=True, eq=False)
class PhenotypeRows:
    """The layout of a row: the letters of so many sites, then the values of these columns in four bytes each."""

    sites: int
    columns: Columns

    def __len__(self) -> int:
        return self.sites + _BYTES_PER_VALUE * sum(self._sizes)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        columns = self.columns
        coordinates = 0 if columns.location is None else 3
        return len(columns.categories), len(columns.numbers), coordinates

    def rows(self, letters_BS: Bytes, encoded: EncodedPhenotypes) -> Bytes:
        """The samples as rows."""
        parts = [
            np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(len(letters_BS), -1)
            for values, dtype in (
                (encoded.categories, "<i4"),
                (encoded.numbers, "<f4"),
                (encoded.locations, "<f4"),
            )
        ]
        return np.concatenate([letters_BS, *parts], axis=1)

    def letters(self, rows: Bytes) -> Bytes:
        """The letters (B, S)."""
        return rows[:, : self.sites]

    def encoded(self, rows: Bytes) -> EncodedPhenotypes:
        """The records."""
        categories, numbers, _ = self._sizes
        integers = np.ascontiguousarray(rows[:, self.sites :]).view("<i4").reshape(len(rows), -1)
        values = integers.view("<f4").astype(np.float32)
        return EncodedPhenotypes(
            integers[:, :categories].astype(np.int64),
            values[:, categories : categories + numbers],
            values[:, categories + numbers :],
        )


MAX_POOL_SAMPLES = 20_000  # whose haplotypes are drawn from


@dataclass(frozen=True, eq=False)
class HaplotypeGroups:
    """The haplotypes of groups; `numbers` gives each label of the category in `column` its group, or `MISSING`."""

    column: int
    numbers: NDArray[np.int64]
    pool: HaplotypePool
    members: frozenset[int] = field(repr=False)  # hashes of their letters

    @classmethod
    def of(cls, rows: Bytes, layout: PhenotypeRows, groups: str) -> "HaplotypeGroups":
        """The groups of samples with the same label in the category called `groups`."""
        names = [category.name for category in layout.columns.categories]
        rows = rows[
            np.linspace(0, len(rows) - 1, min(MAX_POOL_SAMPLES, len(rows))).astype(np.int64)
        ]
        column = names.index(groups)
        label_N = layout.encoded(rows).categories[:, column]
        known_N = label_N != MISSING
        present, group_N = np.unique(label_N[known_N], return_inverse=True)
        numbers = np.full(len(layout.columns.categories[column].labels), MISSING)
        numbers[present] = np.arange(len(present))
        letters = layout.letters(rows)[known_N]
        return cls(
            column,
            numbers,
            HaplotypePool.of(resolve(letters), group_N),
            frozenset(_hashes(letters)),
        )

    def contain(self, letters_NS: Bytes) -> NDArray[np.bool_]:
        """Which samples (N,) are members of the groups."""
        return np.array([number in self.members for number in _hashes(letters_NS)], np.bool_)

    def groups(self, records: EncodedPhenotypes) -> NDArray[np.int64]:
        """The group (N,) of each record, `MISSING` for one without."""
        label_N = records.categories[:, self.column]
        group_N: NDArray[np.int64] = np.where(label_N == MISSING, MISSING, self.numbers[label_N])
        return group_N


@dataclass(frozen=True, eq=False)
class PhenotypeLayout:
    """The layout of the rows of a corpus, and the groups within which samples are crossed, if they are."""

    rows: PhenotypeRows
    groups: HaplotypeGroups | None = None


def _hashes(letters_NS: Bytes) -> Iterator[int]:
    return (hash(row.tobytes()) for row in letters_NS)


def common_records(table: PhenotypeTable, columns: Columns, groups: str) -> Iterator[list[str]]:
    """A header, then a record for each label of the column `groups`: what all its samples share, `.` for the rest.

    Without a column of groups, a record for each label of each category, with that label only.
    """
    yield ["record", *columns.fields]
    if groups:
        for label in sorted({value for value in table.column(groups) if value is not None}):
            rows = [row for row, value in enumerate(table.column(groups)) if value == label]
            yield [label, *(_shared(table, name, rows) for name in columns.fields)]
        return
    for category in columns.categories:
        for label in category.labels:
            known = [label if name == category.name else "." for name in columns.fields]
            yield [f"{category.name}={label}", *known]


def _shared(table: PhenotypeTable, name: str, rows: Sequence[int]) -> str:
    values = {table.column(name)[row] for row in rows}
    value = values.pop()
    return value if value is not None and not values else "."
