"""`genomai augment`: the groups of a table of labels, and who is crossed with whom."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inference.augment import Alignment, Crosses
    from genomai_cli.records import SequenceRecord


def crosses(
    run: Run,
    records: Iterable["SequenceRecord"],
    alignment: "Alignment",
    table: "LabelTable",
    group: str | None,
) -> tuple["Crosses", Iterator["SequenceRecord"]]:
    """The groups to cross, and the records that have one; others are left out, with a warning."""
    from genomai_cli.inference.augment import Crosses, groups_of

    named = column(table, group)
    everyone = list(records)
    group_of = groups_of((record.name for record in everyone), table.column(named))
    grouped = [record for record in everyone if record.name in group_of]
    left_out = len(everyone) - len(grouped)
    if not grouped:
        raise InputError(f"none of the {left_out} records has a {named}", path=table.path)
    for record in grouped:
        if not alignment.holds(record, alignment.sites(record)):
            message = f"{record.name} is no barcode of an installed panel: --cross needs barcodes (see --panel)"
            raise InputError(message, path=record.path, line=record.line or None)
    if len({len(record.sequence) for record in grouped}) > 1:
        raise InputError("barcodes of different panels cannot be crossed", path=grouped[0].path)
    if left_out:
        run.console.warn(f"{left_out} records without a {named} are left out")
        run.count(refused=left_out)
    return Crosses(grouped, group_of), iter(grouped)


def column(table: "LabelTable", group: str | None) -> str:
    """The column that names the groups: the one given, or the only one there is."""
    if group is None and len(table.columns) > 1:
        raise UsageError(f"--cross needs --group COLUMN, one of: {', '.join(table.columns)}")
    return group or next(iter(table.columns))
