"""A table of phenotype records: a TSV whose first column names the record, with values that may be missing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import read_table

MISSING = frozenset(("", ".", "NA"))


@dataclass(frozen=True)
class PhenotypeTable:
    """Records by name, with the line that each stands in; values are None where missing."""

    path: str
    names: tuple[str, ...]
    lines: tuple[int, ...]
    columns: Mapping[str, tuple[str | None, ...]]

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> tuple[str | None, ...]:
        """The values of a column; InputError if there is none of that name."""
        if name not in self.columns:
            there = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {there})"
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
    word = text.strip()
    return None if word in MISSING else word


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
