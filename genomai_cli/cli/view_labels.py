"""The labels of views: each has its record's row, under its own name."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from genomai_cli.errors import InputError

if TYPE_CHECKING:
    from genomai_cli.formats.tables import LabelTable
    from genomai_cli.records import SequenceRecord

Passage = Callable[[Iterable["SequenceRecord"]], Iterator["SequenceRecord"]]


@contextmanager
def rows_of_views(path: Path | None, table: "LabelTable | None") -> Iterator[Passage]:
    """Passes views on; each leaves a row of labels in the file, if one is asked for."""
    if path is None or table is None:
        yield iter
        return
    from genomai_cli.formats.outputs import atomic_text
    from genomai_cli.formats.tables import TableWriter
    from genomai_cli.inference.augment import known_name

    rows = frozenset(table.samples)

    def passed(made: Iterable["SequenceRecord"]) -> Iterator["SequenceRecord"]:
        for record in made:
            known = known_name(record.name.rpartition("_view")[0], rows)
            if known is not None:
                labels = table.row(known).values()
                writer.write([record.name, *(label or "." for label in labels)])
            yield record
        if not writer.rows:
            raise InputError("none of the records is in it", path=table.path)

    with atomic_text(path) as handle:
        writer = TableWriter(handle, ["sample", *table.columns])
        yield passed
