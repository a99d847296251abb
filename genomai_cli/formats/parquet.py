"""Tables as Parquet: the rows of a TSV with types, and vectors; row groups go out as they are full.

A Parquet file ends with its index. What is not finished gets none, so that nobody takes a part for the whole.

Shape suffixes: n rows, E numbers of a vector.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from genomai_cli import __version__
from genomai_cli.formats.libraries import optional_library
from genomai_cli.formats.outputs import Gate, text_over
from genomai_cli.formats.tables import TableWriter
from genomai_cli.names import printable

_GROUP_CELLS = 1 << 19  # of a row group of a table; some 30 MB as Python's objects
_GROUP_VALUES = 1 << 22  # of a row group of vectors: 16 MiB
NOTHING = "."  # in a table, where there is no value
Rows = NDArray[np.float32]
Attributes = Mapping[str, str | int]


class ColumnType(StrEnum):
    """What a column of a table holds; `.` is null in all but TEXT."""

    TEXT = "text"
    OPTIONAL_TEXT = "optional text"
    COUNT = "count"
    NUMBER = "number"


TEXT: ColumnType = ColumnType.TEXT
OPTIONAL_TEXT: ColumnType = ColumnType.OPTIONAL_TEXT
COUNT: ColumnType = ColumnType.COUNT
NUMBER: ColumnType = ColumnType.NUMBER
Columns = Sequence[tuple[str, ColumnType]]


def require_parquet() -> None:
    """UsageError, before anything is computed, if Parquet cannot be written here."""
    _arrow()


def _arrow() -> Any:
    optional_library("pyarrow.parquet", "Parquet", "parquet")
    return optional_library("pyarrow", "Parquet", "parquet")


@contextmanager
def table_over(
    out: IO[bytes], columns: Columns, *, header: bool = True, parquet: Attributes | None = None
) -> Iterator["TableWriter | ParquetTable"]:
    """A writer of the rows of a TSV, or of `parquet` with facts about the whole."""
    if parquet is not None:
        with parquet_table(out, columns, parquet) as table:
            yield table
        return
    text = text_over(out)
    yield TableWriter(text, [name for name, _ in columns], header=header)
    text.detach()


@contextmanager
def parquet_table(
    out: IO[bytes], columns: Columns, attributes: Attributes
) -> Iterator["ParquetTable"]:
    """A writer of rows, which is finished if the block ends without an exception."""
    arrow = _arrow()
    types = {COUNT: arrow.int64(), NUMBER: arrow.float64()}
    schema = arrow.schema([(printable(n), types.get(t, arrow.string())) for n, t in columns])
    with _parquet(out, schema, attributes) as writer:
        table = ParquetTable(writer, schema, [kind for _, kind in columns])
        yield table
        table.flush()


@contextmanager
def _parquet(out: IO[bytes], schema: Any, attributes: Attributes) -> Iterator[Any]:
    """pyarrow's writer. It would end the file whenever it goes away, which nothing of may come out after a failure."""
    metadata = {
        "program": f"genomai {__version__}",
        **{name: str(v) for name, v in attributes.items()},
    }
    gate = Gate(out)
    parquet = optional_library("pyarrow.parquet", "Parquet", "parquet")
    writer = parquet.ParquetWriter(gate, schema.with_metadata(metadata), compression="zstd")
    try:
        yield writer
        writer.close()
    except BaseException:
        gate.blocked = True
        raise


class ParquetTable:
    """Takes rows as `tables.TableWriter` does: fields as they stand in a TSV, which become values by their types."""

    def __init__(self, writer: Any, schema: Any, types: Sequence[ColumnType]) -> None:
        self._writer, self._schema, self._types = writer, schema, types
        self._max_rows = max(1, _GROUP_CELLS // len(types))
        self._rows: list[list[str]] = []

    def write(self, row: Iterable[object]) -> None:
        """The next row."""
        fields = [str(value) for value in row]
        if len(fields) != len(self._types):
            raise ValueError(f"{len(fields)} fields for {len(self._types)} columns")
        self._rows.append(fields)
        if len(self._rows) == self._max_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held, as a row group."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            values = [[_value(x, t) for x in c] for c, t in zip(columns, self._types, strict=True)]
            self._writer.write_table(_arrow().table(values, schema=self._schema))
        self._rows.clear()


def _value(text: str, kind: ColumnType) -> str | int | float | None:
    if kind is TEXT:
        return printable(text)
    if text == NOTHING:
        return None
    return printable(text) if kind is OPTIONAL_TEXT else int(text) if kind is COUNT else float(text)


def write_vectors(
    out: IO[bytes],
    vectors: Iterable[tuple[str, Rows, bool]],
    width: int,
    attributes: Attributes,
    *,
    per_token: bool = False,
) -> None:
    """A row a vector: `id`, with `per_token` the number of the `token`, from 0, and `embedding`, float32[E].

    `vectors` are names with some of the record's rows (n, E), and whether they are its last.
    """
    arrow = _arrow()
    vector = arrow.list_(arrow.float32(), width)
    token = [("token", arrow.int64())] if per_token else []
    schema = arrow.schema([("id", arrow.string()), *token, ("embedding", vector)])
    with _parquet(out, schema, attributes) as writer:
        for names, tokens, rows in _groups(vectors, max(1, _GROUP_VALUES // width)):
            flat = arrow.array(rows.reshape(-1))
            numbers = [tokens] if per_token else []
            arrays = arrow.FixedSizeListArray.from_arrays(flat, width)
            writer.write_table(arrow.table([names, *numbers, arrays], schema=schema))


def _groups(
    vectors: Iterable[tuple[str, Rows, bool]], max_rows: int
) -> Iterator[tuple[list[str], list[int], Rows]]:
    """Names, numbers of tokens, and rows (n, E), at most so many, or those that came at once, together."""
    names: list[str] = []
    tokens: list[int] = []
    blocks: list[Rows] = []
    token = 0
    for name, rows, last in vectors:
        names += [printable(name)] * len(rows)
        tokens += range(token, token + len(rows))
        blocks.append(rows)
        token = 0 if last else token + len(rows)
        if len(names) >= max_rows:
            yield names, tokens, np.concatenate(blocks)
            names, tokens, blocks = [], [], []
    if names:
        yield names, tokens, np.concatenate(blocks)
