"""Columns that hold several labels a sample, as `A;B`: each label becomes a column of `yes` and `no`."""

import re
from collections.abc import Iterable
from dataclasses import replace

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import LabelTable
from genomai_cli.names import first_duplicate

BETWEEN = ";"
NONE = "-"  # a sample that has none of the labels
YES, NO = "yes", "no"
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")


def has_sets(values: Iterable[str | None]) -> bool:
    """Whether some value is several labels."""
    return any(value is not None and BETWEEN in value for value in values)


def members(value: str) -> list[str]:
    """The labels of a value, each once; none for `-`."""
    parts = dict.fromkeys(part.strip() for part in value.split(BETWEEN))
    return [part for part in parts if part not in ("", NONE)]


def member_column(column: str, label: str) -> str:
    """The name of the column that tells who has the label: letters, digits, - and _."""
    return f"{column}_{_NO_NAME.sub('_', label)}"


def with_members(table: LabelTable, column: str, names: Iterable[str] | None = None) -> LabelTable:
    """The table with a column of `yes` and `no` for every label of this one, in alphabetical order, in its place.

    With `names`, columns of these names instead. Raises InputError where two labels would have one name.
    """
    values = table.columns[column]
    sets = [None if value is None else members(value) for value in values]
    if names is None:
        labels = sorted({label for found in sets if found for label in found})
        names = [member_column(column, label) for label in labels]
        if twice := first_duplicate([*names, *table.columns]):
            raise InputError(
                f"column {column}: two labels would be called {twice}", path=table.path
            )
    known = [None if f is None else {member_column(column, label) for label in f} for f in sets]
    added = {
        name: tuple(None if found is None else (YES if name in found else NO) for found in known)
        for name in names
    }
    others = {name: of for name, of in table.columns.items() if name != column}
    return replace(table, columns=others | added)
