"""The table that `genomai classify` writes, read as the predictions of its heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.errors import InputError
from genomai_cli.formats.tables import MISSING_WORDS, Table
from genomai_cli.metrics.heads import UNKNOWN, Predictions


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table with the column `sample` and, for every head, `HEAD` and `HEAD_p`."""

    table: Table

    def __post_init__(self) -> None:
        self.table.column("sample")
        if not self.heads:
            message = "no head: a column HEAD with its probability in a column HEAD_p"
            raise InputError(message, path=self.path, line=1)
        if not len(self.table):
            raise InputError("a header, but no predictions", path=self.path)

    @property
    def path(self) -> str:
        """Where the table was read from."""
        return self.table.path

    @property
    def heads(self) -> list[str]:
        """The columns that have a column of probabilities, `HEAD_p`, beside them."""
        return [name for name in self.table.columns if f"{name}_p" in self.table.columns]

    @property
    def samples(self) -> tuple[str, ...]:
        """The names, one a row."""
        return self.table.column("sample")

    def predictions(self, head: str, rows: Sequence[int]) -> Predictions:
        """What the head called in these rows; all labels' probabilities if no call lacks one."""
        chosen = list(rows)
        called = [self.table.column(head)[row] for row in chosen]
        confidence = self._numbers(f"{head}_p")[chosen]
        is_call = np.array([label != UNKNOWN for label in called])
        prefix = f"{head}:"
        columns = [name for name in self.table.columns if name.startswith(prefix)]
        probabilities = np.array([self._numbers(name)[chosen] for name in columns]).T
        if not columns or np.isnan(probabilities[is_call]).any():
            return Predictions(called, np.where(is_call, confidence, np.nan))
        labels = [name.removeprefix(prefix) for name in columns]
        return Predictions(called, np.where(is_call, confidence, np.nan), labels, probabilities)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        pairs = zip(self.table.column(name), self.table.lines, strict=True)
        return np.array([self._probability(text, name, line) for text, line in pairs])

    def _probability(self, text: str, column: str, line: int) -> float:
        if text in MISSING_WORDS:
            return float("nan")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            message = f"{column} is '{text}', not a probability"
            raise InputError(message, path=self.path, line=line)
        return value
