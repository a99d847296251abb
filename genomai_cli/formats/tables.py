"""Tab-separated tables in (labels, predictions, panels) and out."""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from genomai_cli.errors import InputError
from genomai_cli.formats.streams import open_bytes, text_of
from genomai_cli.names import escaped, first_duplicate, is_plain, printable

MISSING_VALUES = ("", ".")
_FAMILIES = {("FID", "IID"), ("FAMILY ID", "INDIVIDUAL ID")}
MAX_TABLE_BYTES = 1 << 28  # bytes of a table, which is held in memory
UNKNOWN_LABEL = "UNKNOWN"  # the call of a sample that gets no label
_SEQUENCE = "sequence"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NAMES = frozenset({"name", "id", "sample"})
_ROW_NAMES = "name"  # of a first column without a title, as pandas and R write their index


@dataclass(frozen=True)
class Table:
    """A table's columns by name, in their order; `lines` holds the line of each row."""

    path: str
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> tuple[str, ...]:
        if name not in self.columns:
            available = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {available})"
            raise InputError(message, path=self.path, line=1)
        return self.columns[name]


@dataclass(frozen=True)
class LabelTable:
    """Labels of samples, None where missing; `lines` holds the line of each sample, `sample_column` the name of their
    column, if a file has one."""

    path: str
    samples: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]
    lines: tuple[int, ...]
    sample_column: str = ""

    def column(self, name: str) -> dict[str, str]:
        """The samples that have a label in this column, with the label; InputError for one that is no plain text."""
        if name not in self.columns:
            available = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {available})"
            raise InputError(message, path=self.path, line=1)
        require_text((name, *self.columns[name]), (1, *self.lines), self.path)
        pairs = zip(self.samples, self.columns[name], strict=True)
        return {sample: label for sample, label in pairs if label is not None}

    def row(self, sample: str) -> dict[str, str | None]:
        """All labels of one sample; KeyError for a sample that is not there."""
        index = self._row_of[sample]
        return {name: labels[index] for name, labels in self.columns.items()}

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {sample: index for index, sample in enumerate(self.samples)}


def read_table(path: str | Path) -> Table:
    """A TSV with a header line, as programs write it.

    Passed over are blank lines, comments (lines with # that have other columns than the table), a # before the header,
    and columns without a name and without a value at its end. A first column without a name is called `name`. Fields
    may be in quotes. Where the header has no tab, fields are between commas, semicolons or blanks. Unicode of 16 bits
    is read by its mark.
    """
    return parse_table(table_bytes(path), str(path))


def table_bytes(path: str | Path) -> bytes:
    """The bytes of a table's file, for `parse_table`: of a larger one than that takes the beginning."""
    with open_bytes(path) as stream:
        return stream.read(MAX_TABLE_BYTES + 1)


def parse_table(data: bytes, display_name: str) -> Table:
    """What `read_table` says, from the bytes of a file, named in messages as `display_name`; InputError for more than
    `MAX_TABLE_BYTES`."""
    if len(data) > MAX_TABLE_BYTES:
        raise InputError(f"a table of more than {MAX_TABLE_BYTES >> 20} MiB", path=display_name)
    text = _decoded(data, display_name)
    numbered_lines = [
        (number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()
    ]
    if not numbered_lines:
        raise InputError("the table is empty", path=display_name)
    lines, rows = _without_comments(*_split(numbered_lines))
    width = len(_without_empty_end(rows[0]))
    if any(len(row) != width for row in rows):
        longest = max((len(_without_empty_end(row)) for row in rows[1:]), default=0)
        rows = [_without_empty_end(row, max(width, longest)) for row in rows]
    header = _header(rows[0], display_name, lines[0])
    _check_widths(header, rows, lines, display_name)
    values = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    columns: dict[str, tuple[str, ...]] = dict(zip(header, values, strict=True))
    return Table(display_name, columns, tuple(lines[1:]))


def _decoded(data: bytes, path: str) -> str:
    """The text of a file, with lines that end in \\n."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data:
        raise InputError("not a table but binary data", path=path)
    else:
        text = text_of(data)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _split(numbered: Sequence[tuple[int, str]]) -> tuple[list[int], list[list[str]]]:
    """The numbers of the lines, and their fields."""
    names = next((line for _, line in numbered if not line.startswith("#")), numbered[0][1])
    separator = next((mark for mark in "\t,;" if mark in names), None)
    lines = [number for number, _ in numbered]
    if separator is None:
        return lines, [line.split() for _, line in numbered]
    if separator == "\t":
        rows = [line.split("\t") for _, line in numbered]
        if any('"' in line for _, line in numbered):
            rows = [list(map(_unquoted, row)) for row in rows]
        return lines, rows
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TABLE_BYTES))  # of a whole program
    return lines, [
        next(csv.reader([line], delimiter=separator, skipinitialspace=True)) for _, line in numbered
    ]


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"') if quoted else field


def _without_comments(lines: list[int], rows: list[list[str]]) -> tuple[list[int], list[list[str]]]:
    """The same without comments: of the lines with # before the table the last may be its header."""
    first = next((index for index, row in enumerate(rows) if not row[0].startswith("#")), len(rows))
    if first == len(rows) or (first and _has_width_of(rows[first - 1], rows[first])):
        first = max(first - 1, 0)
    retained = [
        index
        for index in range(first, len(rows))
        if index == first
        or not rows[index][0].startswith("#")
        or _has_width_of(rows[index], rows[first])
    ]
    return [lines[index] for index in retained], [rows[index] for index in retained]


def _has_width_of(row: list[str], other: list[str]) -> bool:
    return len(row) > 1 and len(_without_empty_end(row)) == len(_without_empty_end(other))


def _header(fields: Sequence[str], path: str, line: int) -> list[str]:
    header = [field.strip() for field in fields]
    header[0] = header[0].removeprefix("#").strip()
    if not header[0] and len(header) > 1 and _NAMES.isdisjoint(map(str.lower, header)):
        header[0] = _ROW_NAMES
    if "" in header:
        message = f"a column without a name, number {header.index('') + 1}"
        raise InputError(message, path=path, line=line)
    if duplicate := first_duplicate(header):
        raise InputError(f"column {duplicate} is there twice", path=path, line=line)
    return header


def _without_empty_end(fields: list[str], width: int = 1) -> list[str]:
    """The fields without the empty ones after the first `width`."""
    while len(fields) > width and not fields[-1].strip():
        fields = fields[:-1]
    return fields


def _check_widths(header: list[str], rows: list[list[str]], lines: list[int], path: str) -> None:
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            message = f"{len(row)} columns where the header has {len(header)}"
            raise InputError(message, path=path, line=line)


def read_labels(path: str | Path) -> LabelTable:
    """Labels from a TSV whose first column names the samples; `.` or nothing is a missing label.

    Where plink's family names come first (FID, IID), the second column names them. Of a table of sequences the rows go
    by the names that `sequences_of` gives them.
    """
    return labels_of(read_table(path))


def labels_of(table: Table) -> LabelTable:
    """The labels that a table holds, of samples or of sequences; see `read_labels`."""
    first, *others = table.columns
    if len(others) > 1 and (first.upper(), others[0].upper()) in _FAMILIES:
        first, *others = others
    column = sequence_column(table)
    if column is not None:
        name_column = _name_column(table, column)
        others = [name for name in table.columns if name not in (column, name_column)]
    if not others:
        message = "labels need a header line and two or more columns, separated by tabs"
        raise InputError(message, path=table.path, line=1)
    if not len(table):
        raise InputError("a header, but no samples", path=table.path)
    if column is None:
        samples, sample_column = tuple(name.strip() for name in table.columns[first]), first
    else:
        samples, sample_column = tuple(name for name, *_ in sequences_of(table, column)), ""
        if name_column is not None and name_column.lower() not in _NAMES:
            _check_first_column(name_column, samples, table)
    _check_samples(samples, table)
    columns = {name: tuple(map(_label, table.columns[name])) for name in others}
    return LabelTable(table.path, samples, columns, table.lines, sample_column)


def sequence_column(table: Table) -> str | None:
    """The column of a table of sequences that holds them, called `sequence`; None for another table."""
    return next((name for name in table.columns if name.lower() == _SEQUENCE), None)


def sequences_of(table: Table, column: str) -> Iterator[tuple[str, str, int]]:
    """The rows of a table of sequences: name, sequence and line.

    Names are in a column `name`, `id` or `sample`; else in the first one, if there are two more besides the sequences;
    else rows are numbered from 1.
    """
    name_column = _name_column(table, column)
    numbered = map(str, range(1, len(table) + 1))
    names = (
        numbered if name_column is None else (name.strip() for name in table.columns[name_column])
    )
    return zip(names, table.columns[column], table.lines, strict=True)


def _name_column(table: Table, sequences: str) -> str | None:
    others = [name for name in table.columns if name != sequences]
    found = next((name for name in others if name.lower() in _NAMES), None)
    if found is None and len(others) > 1 and others[0] == next(iter(table.columns)):
        return others[0]
    return found


def _check_first_column(name: str, samples: Sequence[str], table: Table) -> None:
    """InputError for a first column that was taken for names and holds labels: the same twice, or measured numbers."""
    repeated = first_duplicate(filter(None, samples))
    if repeated is None and not _are_measured(samples):
        return
    value = samples[0] if repeated is None else repeated
    wrong = "a number" if repeated is None else "there twice"
    message = (
        f"the first column, {name}, would name the sequences, but {value} is {wrong}: if it holds labels, put the "
        "column `sequence` first; names are best in a column `name`"
    )
    raise InputError(message, path=table.path, line=table.lines[samples.index(value)])


def _are_measured(texts: Sequence[str]) -> bool:
    """Whether all are numbers, and some have a fraction."""
    try:
        return any([not float(text).is_integer() for text in texts])
    except ValueError:
        return False


def is_number(label: str) -> bool:
    """Whether a label is a finite number; `1_2` is none, although Python reads it as 12."""
    return _NUMBER.fullmatch(label) is not None and abs(float(label)) < float("inf")


def spelling(label: str) -> str | float:
    """What equal labels have in common, in whatever case and however a number is written."""
    return float(label) if is_number(label) else label.casefold()


def require_text(values: Iterable[str | None], lines: Iterable[int], path: str) -> None:
    """InputError at the first value that cannot be kept as text in a model, with its line."""
    for value, line in zip(values, lines, strict=False):
        if value is not None and not is_plain(value):
            message = f"'{printable(value)[:80]}' has bytes that are no UTF-8, or control characters (iconv -t UTF-8)"
            raise InputError(message, path=path, line=line)


def _label(text: str) -> str | None:
    value = text.strip()
    return None if value in MISSING_VALUES else value


def _check_samples(samples: Sequence[str], table: Table) -> None:
    seen: dict[str, int] = {}
    for sample, line in zip(samples, table.lines, strict=True):
        if not sample:
            raise InputError("a row without a sample", path=table.path, line=line)
        if sample in seen:
            message = f"sample {sample} again (first in line {seen[sample]})"
            raise InputError(message, path=table.path, line=line)
        seen[sample] = line


class TableWriter:
    """Writes rows under a header that appears together with the first row.

    So a run that fails before its first result leaves no plausible, empty table behind. Without a `header`, the rows go
    on with a table that has one.
    """

    def __init__(self, handle: IO[str], columns: Sequence[str], *, header: bool = True) -> None:
        self._handle, self._columns, self._header = handle, list(columns), header
        self.rows = 0

    def write(self, row: Iterable[object]) -> None:
        fields = [str(value) for value in row]
        if len(fields) != len(self._columns):
            raise ValueError(f"{len(fields)} fields for {len(self._columns)} columns")
        self._write(_line(fields), 1)

    def write_columns(self, *columns: Sequence[str]) -> None:
        """Rows of which many come at once, column by column: ten times as fast as one by one."""
        if len(columns) != len(self._columns):
            raise ValueError(f"{len(columns)} fields for {len(self._columns)} columns")
        safe = [
            column if escaped(t := "".join(column)) == t else list(map(escaped, column))
            for column in columns
        ]
        lines = "\n".join(map("\t".join, zip(*safe, strict=True)))
        if lines:
            self._write(lines + "\n", len(columns[0]))

    def begin(self) -> None:
        """Write the header, if there is to be one and it is not there."""
        if self._header:
            self._handle.write(_line(self._columns))
        self._header = False

    def _write(self, text: str, rows: int) -> None:
        self.begin()
        self._handle.write(text)
        self.rows += rows


def _line(fields: Sequence[str]) -> str:
    return "\t".join(map(escaped, fields)) + "\n"
