"""What a record says of its samples beside the genotype: AF, AD, PS and the like, of VCF and BCF alike.

A record keeps its bytes, and a field is parsed when it is asked for.

Shape suffixes: N samples, W values of a field.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class SampleFields(Protocol):
    """The fields of one record."""

    def numbers(self, key: str) -> Numbers | None:
        """The values (N, W) of a field, NaN where missing; None if the record lacks it. `99.5%` is 99.5."""

    def texts(self, key: str) -> list[bytes] | None:
        """A field as it stands in VCF, a text a sample; None if the record lacks it."""


class TextFields:
    """Those of a line of VCF: its FORMAT and the columns of its samples."""

    def __init__(self, layout: bytes, calls: bytes) -> None:
        self._keys, self._calls = layout.split(b":"), calls

    @cached_property
    def _cells(self) -> list[list[bytes]]:
        return [call.split(b":") for call in self._calls.split(b"\t")]

    def texts(self, key: str) -> list[bytes] | None:
        """See `SampleFields`."""
        name = key.encode()
        if name not in self._keys:
            return None
        at = self._keys.index(name)
        return [cell[at] if at < len(cell) else b"." for cell in self._cells]

    def numbers(self, key: str) -> Numbers | None:
        """See `SampleFields`."""
        texts = self.texts(key)
        return None if texts is None else _table(texts)


class BcfFields:
    """Those of a BCF record, by a function that gives the values (N, W) of a field of a number, as BCF holds them."""

    def __init__(self, keys: dict[str, int], values: Callable[[int], NDArray[Any] | None]) -> None:
        self._keys, self._values = keys, values

    def _found(self, key: str) -> NDArray[Any] | None:
        number = self._keys.get(key)
        return None if number is None else self._values(number)

    def texts(self, key: str) -> list[bytes] | None:
        """See `SampleFields`."""
        values = self._found(key)
        if values is None:
            return None
        if values.dtype.kind == "S":
            return [bytes(text) or b"." for text in values[:, 0]]
        return [_shown(row) for row in _with_nan(values)]

    def numbers(self, key: str) -> Numbers | None:
        """See `SampleFields`."""
        values = self._found(key)
        if values is None:
            return None
        if values.dtype.kind == "S":
            return _table([bytes(text) for text in values[:, 0]])
        return _with_nan(values)


def _with_nan(values: NDArray[Any]) -> Numbers:
    """Numbers with BCF's marks of missing and of an end as NaN."""
    numbers = values.astype(np.float64)
    if values.dtype.kind == "i":
        numbers[numbers <= np.iinfo(values.dtype).min + 1] = np.nan
    return numbers


def _shown(row: Numbers) -> bytes:
    return b",".join(b"%d" % value for value in row[~np.isnan(row)]) or b"."


def _table(texts: list[bytes]) -> Numbers:
    rows = [[_number(value) for value in text.split(b",")] for text in texts]
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for numbers, row in zip(table, rows, strict=True):
        numbers[: len(row)] = row
    return table


def _number(text: bytes) -> float:
    try:
        return float(text.removesuffix(b"%"))
    except ValueError:
        return np.nan
