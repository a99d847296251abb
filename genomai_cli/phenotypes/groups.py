"""The groups of a table: what the people of a group have in common makes a record of its own."""

from collections.abc import Iterator, Sequence

from genomai_cli.phenotypes.columns import Columns
from genomai_cli.phenotypes.table import PhenotypeTable


def common_records(table: PhenotypeTable, columns: Columns, groups: str) -> Iterator[list[str]]:
    """A header, then a record for each label of the column `groups`: what all its people share, `.` for the rest.

    Without a column of groups, a record for each label of each category, which tells that label only.
    """
    yield ["record", *columns.fields]
    if groups:
        for label in sorted({value for value in table.column(groups) if value is not None}):
            rows = [at for at, value in enumerate(table.column(groups)) if value == label]
            yield [label, *(_shared(table, name, rows) for name in columns.fields)]
        return
    for category in columns.categories:
        for label in category.labels:
            told = [label if name == category.name else "." for name in columns.fields]
            yield [f"{category.name}={label}", *told]


def _shared(table: PhenotypeTable, name: str, rows: Sequence[int]) -> str:
    values = {table.column(name)[row] for row in rows}
    value = values.pop()
    return value if value is not None and not values else "."
