"""Columns that hold several labels a sample, as `A;B`: each label becomes a column of `yes` and `no`."""

import re
from collections.abc import Iterable
from dataclasses import replace

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import LabelTable
from genomai_cli.names import first_duplicate

SEPARATOR = ";"
NONE = "-"  # a sample that has none of the labels
YES, NO = "yes", "no"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def has_label_sets(values: Iterable[str | None]) -> bool:
    """Whether some value is several labels."""
    return any(value is not None and SEPARATOR in value for value in values)


def split_labels(value: str) -> list[str]:
    """The labels of a value, each once; none for `-`."""
    parts = dict.fromkeys(part.strip() for part in value.split(SEPARATOR))
    return [part for part in parts if part not in ("", NONE)]


def label_column(column: str, label: str) -> str:
    """The name of the column that tells who has the label: letters, digits, - and _."""
    return f"{column}_{_NOT_IN_NAMES.sub('_', label)}"


def with_label_columns(
    table: LabelTable, column: str, names: Iterable[str] | None = None
) -> LabelTable:
    """The table with a column of `yes` and `no` for every label of this one, in alphabetical order, in its place.

    With `names`, columns of these names instead. Raises InputError where two labels would have one name.
    """
    values = table.columns[column]
    label_sets = [None if value is None else split_labels(value) for value in values]
    if names is None:
        labels = sorted({label for label_set in label_sets if label_set for label in label_set})
        names = [label_column(column, label) for label in labels]
        if duplicate := first_duplicate([*names, *table.columns]):
            raise InputError(
                f"column {column}: two labels would be called {duplicate}", path=table.path
            )
    column_sets = [
        None if f is None else {label_column(column, label) for label in f} for f in label_sets
    ]
    added = {
        name: tuple(
            None if label_set is None else (YES if name in label_set else NO)
            for label_set in column_sets
        )
        for name in names
    }
    others = {name: of for name, of in table.columns.items() if name != column}
    return replace(table, columns=others | added)
