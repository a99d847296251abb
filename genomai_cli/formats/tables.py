"""Tab-separated tables in (labels, predictions, panels) and out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from genomai_cli.errors import InputError
from genomai_cli.formats.streams import open_bytes, text_of

MISSING_VALUES = ("", ".")
UNKNOWN_LABEL = "UNKNOWN"  # the call of a sample that gets no label


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
            there = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {there})"
            raise InputError(message, path=self.path, line=1)
        return self.columns[name]


@dataclass(frozen=True)
class LabelTable:
    """Labels of samples, None where missing."""

    path: str
    samples: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]

    def column(self, name: str) -> dict[str, str]:
        """The samples that have a label in this column, with the label."""
        if name not in self.columns:
            there = ", ".join(self.columns)
            message = f"no column '{name}' (there are: {there})"
            raise InputError(message, path=self.path, line=1)
        pairs = zip(self.samples, self.columns[name], strict=True)
        return {sample: label for sample, label in pairs if label is not None}

    def row(self, sample: str) -> dict[str, str | None]:
        """All labels of one sample; KeyError for a sample that is not there."""
        at = self._row_of[sample]
        return {name: labels[at] for name, labels in self.columns.items()}

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {sample: at for at, sample in enumerate(self.samples)}


def read_table(path: str | Path) -> Table:
    """A TSV with a header line; blank lines, a leading # of the header, and columns without a name and without a value
    at its end are passed over.
    """
    shown = str(path)
    lines, rows = [], []
    with open_bytes(path) as stream:
        for line, raw in enumerate(stream, start=1):
            if b"\0" in raw:
                raise InputError("not a table but binary data", path=shown)
            if raw.strip(b"\r\n"):
                lines.append(line)
                rows.append(_fields(raw))
    if not rows:
        raise InputError("the table is empty", path=shown)
    named = len(_without_empty_end(rows[0]))
    used = max((len(_without_empty_end(row)) for row in rows[1:]), default=0)
    rows = [_without_empty_end(row, max(named, used)) for row in rows]
    header = _header(rows[0], shown, lines[0])
    _check_widths(header, rows, lines, shown)
    values = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    columns: dict[str, tuple[str, ...]] = dict(zip(header, values, strict=True))
    return Table(shown, columns, tuple(lines[1:]))


def _fields(raw: bytes) -> list[str]:
    return text_of(raw.rstrip(b"\r\n")).split("\t")


def _header(fields: Sequence[str], path: str, line: int) -> list[str]:
    header = [field.strip() for field in fields]
    header[0] = header[0].removeprefix("\ufeff").removeprefix("#")
    if "" in header:
        raise InputError("a column without a name", path=path, line=line)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(f"column {twice} is there twice", path=path, line=line)
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
    """Labels from a TSV whose first column names the samples; `.` or nothing is a missing label."""
    table = read_table(path)
    first, *others = table.columns
    if not others:
        message = "labels need a header line and two or more columns, separated by tabs"
        raise InputError(message, path=table.path, line=1)
    if not len(table):
        raise InputError("a header, but no samples", path=table.path)
    samples = tuple(name.strip() for name in table.columns[first])
    _check_samples(samples, table)
    columns = {name: tuple(map(_label, table.columns[name])) for name in others}
    return LabelTable(table.path, samples, columns)


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

    So a run that fails before its first result leaves no plausible, empty table behind.
    """

    def __init__(self, handle: IO[str], columns: Sequence[str]) -> None:
        self._handle, self._columns = handle, list(columns)
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
        for column in columns:
            if _breaks("".join(column)):
                _line(column)  # names the field
        lines = "\n".join(map("\t".join, zip(*columns, strict=True)))
        if lines:
            self._write(lines + "\n", len(columns[0]))

    def _write(self, text: str, rows: int) -> None:
        if not self.rows:
            self._handle.write(_line(self._columns))
        self._handle.write(text)
        self.rows += rows


def _line(fields: Sequence[str]) -> str:
    for field in fields:
        if _breaks(field):
            message = f"a tab or line end within {field!r} cannot be written to a table"
            raise InputError(message, path="output")
    return "\t".join(fields) + "\n"


def _breaks(text: str) -> bool:
    return "\t" in text or "\n" in text or "\r" in text
