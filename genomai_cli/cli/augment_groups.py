"""The labels in `genomai augment`: groups to cross, phenotypes to draw by, and the rows of views."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.cli.run import Run
from genomai_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from genomai_cli.diffusion.phenotypes import Phenotypes
    from genomai_cli.formats.shards import Shard
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.inference.augment import Alignment, Crosses
    from genomai_cli.records import SequenceRecord


def groups_to_cross(
    run: Run,
    records: Iterable["SequenceRecord"],
    alignment: "Alignment",
    table: "LabelTable",
    group: str | None,
) -> tuple["Crosses", Iterator["SequenceRecord"]]:
    """The groups to cross, and the records that have one; others are left out, with a warning."""
    from genomai_cli.population.augment import BarcodeCrosses, groups_of

    column = group_column(table, group)
    all_records = list(records)
    group_of = groups_of((record.name for record in all_records), table.column(column))
    grouped = [record for record in all_records if record.name in group_of]
    left_out = len(all_records) - len(grouped)
    if not grouped:
        raise InputError(f"none of the {left_out} records has a {column}", path=table.path)
    for record in grouped:
        if not alignment.is_aligned(record, alignment.sites(record)):
            message = f"{record.name} is no barcode of an installed panel: --cross needs barcodes (see --panel)"
            raise InputError(message, path=record.path, line=record.line or None)
    if len({len(record.sequence) for record in grouped}) > 1:
        raise InputError("barcodes of different panels cannot be crossed", path=grouped[0].path)
    if left_out:
        run.console.warn(f"{left_out} records without a {column} are left out")
        run.count(refused=left_out)
    return BarcodeCrosses(grouped, group_of), iter(grouped)


def group_column(table: "LabelTable", group: str | None) -> str:
    """The column that names the groups: the one given, or the only one there is."""
    if group is None and len(table.columns) > 1:
        raise UsageError(f"--cross needs --group COLUMN, one of: {', '.join(table.columns)}")
    return group or next(iter(table.columns))


def phenotype_numbers(
    run: Run, table: "LabelTable", column: str, phenotypes: "Phenotypes"
) -> Callable[[str], int]:
    """The number of the phenotype of a record's name; 0, none, for a label that the model does not know."""
    from genomai_cli.population.augment import known_name

    labels = table.column(column)
    unknown = sorted(set(labels.values()) - set(phenotypes.names))
    if len(unknown) == len(set(labels.values())):
        names = ", ".join(phenotypes.names)
        raise UsageError(f"--group {column}: the model knows none of its labels, only {names}")
    if unknown:
        run.console.warn(
            f"drawn without a phenotype, since the model does not know it: {', '.join(unknown)}"
        )

    def number(name: str) -> int:
        sample = known_name(name, labels)
        label = None if sample is None else labels[sample]
        return phenotypes.number(label) if label in phenotypes.names else 0

    return number


RecordFilter = Callable[[Iterable["SequenceRecord"]], Iterator["SequenceRecord"]]


@contextmanager
def rows_of_views(
    path: Path | None, table: "LabelTable | None", part: "Shard"
) -> Iterator[RecordFilter]:
    """A function that passes views on and writes the labels of each to the file, if there is one."""
    if path is None or table is None:
        yield iter
        return
    from genomai_cli.formats.outputs import atomic_text
    from genomai_cli.formats.tables import TableWriter
    from genomai_cli.population.augment import known_name
    from genomai_cli.training.label_faults import check_header

    samples = frozenset(table.samples)

    def with_label_rows(records: Iterable["SequenceRecord"]) -> Iterator["SequenceRecord"]:
        for record in records:
            name = record.name.rpartition("_view")[0]
            check_header(table, {name})
            sample = known_name(name, samples)
            if sample is not None:
                labels = table.row(sample).values()
                writer.write([record.name, *(label or "." for label in labels)])
            yield record
        if not writer.rows and part.is_whole:
            raise InputError("none of the records is in it", path=table.path)

    with atomic_text(path) as handle:
        writer = TableWriter(handle, ["sample", *table.columns], header=part.is_first)
        yield with_label_rows
