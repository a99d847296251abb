"""metrics.tsv: a row at every point of a run that is worth one, each once, whatever interrupts the run."""

from collections.abc import Iterable, Mapping
from pathlib import Path

STEP = "step"


class MetricsLog:
    """A table that grows.

    The first row that a process adds to a part of the run replaces those of the same and later steps: they are from
    before an interruption, and come again.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._going_on: set[str] = set()

    def add(self, row: Mapping[str, str], part: str = "") -> None:
        """Append a row with these columns, `step` among them; `part` is the column that names the part."""
        which = row.get(part, "")
        if which not in self._going_on:
            kept = [old for old in self.rows() if not _comes_again(old, row, part)]
            self._rewrite([list(row), *(list(old.values()) for old in kept)])
            self._going_on.add(which)
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(_line(row.values()))

    def rows(self) -> list[dict[str, str]]:
        """The rows by column; a line that was cut short is left out."""
        header, *lines = self.text().split("\n")
        columns = header.split("\t")
        fields = [
            line.split("\t") for line in lines[:-1]
        ]  # what follows the last line end is no line
        return [dict(zip(columns, row, strict=True)) for row in fields if len(row) == len(columns)]

    def text(self) -> str:
        """The whole table, empty before the first row."""
        return self.file.read_text(encoding="utf-8") if self.file.exists() else ""

    def _rewrite(self, lines: list[list[str]]) -> None:
        beside = self.file.with_name(f"{self.file.name}.writing")
        beside.write_text("".join(map(_line, lines)), encoding="utf-8")
        beside.replace(self.file)


def _comes_again(old: Mapping[str, str], row: Mapping[str, str], part: str) -> bool:
    if part and old[part] != row[part]:
        return False
    return int(old[STEP]) >= int(row[STEP])


def _line(fields: Iterable[str]) -> str:
    return "\t".join(fields) + "\n"
