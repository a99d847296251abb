"""The samples' fields of a record other than the genotype: AF, AD, PS and the like, of VCF and BCF alike.

A record keeps its bytes, and a field is parsed when it is asked for.

Shape suffixes: N samples, W values of a field.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
_TAB, _COLON, _COMMA, _DOT, _ZERO = b"\t:,.0"
_ZEROS = frozenset({b"0,0", b"0,0,0", b"0,0,0,0,0,0"})
_PASSED = frozenset({b"PASS", b".", b""})


class SampleFields(Protocol):
    """The fields of one record."""

    def numbers(self, key: str) -> Numbers | None:
        """The values (N, W) of a field, NaN where missing; None if the record lacks it. `99.5%` is 99.5."""

    def texts(self, key: str) -> list[bytes] | None:
        """A field as it stands in VCF, a text a sample; None if the record lacks it."""

    def rows(self, key: str, samples: NDArray[np.int64]) -> Numbers:
        """The values (K, W) of some samples, of a field that the record has."""

    # Tests of a field that the record has, for all samples (N,) at once; `samples` (N,) are those to be tested.

    def has(self, key: str) -> bool:
        """Whether the record has the field."""

    def given(self, key: str) -> Flags:
        """Which samples have a first value."""

    def zeros(self, key: str, samples: Flags) -> Flags:
        """Which samples have nothing but zeros."""

    def flat(self, key: str, samples: Flags) -> Flags:
        """Which samples have several values that are all the same, as far as they are given."""

    def below(self, key: str, minimum: int) -> Flags:
        """Which samples' first value is below the minimum."""

    def not_passed(self, key: str) -> Flags:
        """Which samples' filter is another text than PASS."""


class TextFields:
    """The fields of a VCF line, from its FORMAT and the columns of its samples."""

    def __init__(self, layout: bytes, calls: bytes) -> None:
        self._keys, self._calls = layout.split(b":"), calls

    def has(self, key: str) -> bool:
        """See `SampleFields`."""
        return key.encode() in self._keys

    @cached_property
    def _text(self) -> Bytes:
        return np.frombuffer(self._calls + b"\t" * 8, np.uint8)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Where each field (N, fields of FORMAT) begins; at a tab where a sample lacks it."""
        text = self._text[: len(self._calls) + 1]
        ends = np.flatnonzero((text == _TAB) | (text == _COLON))
        last = np.flatnonzero(text[ends] == _TAB)  # the last field of each sample
        starts = np.concatenate([[0], ends[:-1] + 1])
        if len(ends) == len(last) * len(self._keys):
            return starts.reshape(len(last), -1)
        table = np.full((len(last), len(self._keys)), len(self._calls), np.int64)
        sizes = np.diff(last, prepend=-1)
        row = np.repeat(np.arange(len(last)), sizes)
        column = np.arange(len(starts)) - np.repeat(last + 1 - sizes, sizes)
        in_format = column < len(self._keys)
        table[row[in_format], column[in_format]] = starts[in_format]
        return table

    def _begin(self, key: str) -> NDArray[np.int64]:
        return self._starts[:, self._keys.index(key.encode())]

    def _field(self, start: int) -> bytes:
        end = self._calls.find(b"\t", start)
        return self._calls[start : len(self._calls) if end < 0 else end].split(b":", 1)[0]

    def given(self, key: str) -> Flags:
        """See `SampleFields`."""
        first = self._text[self._begin(key)]
        given: Flags = (first != _DOT) & (first != _TAB) & (first != _COLON)
        return given

    def zeros(self, key: str, samples: Flags) -> Flags:
        """See `SampleFields`."""
        starts = self._begin(key)
        c0, c1 = self._text[starts], self._text[starts + 1]
        zeros: Flags = (c0 == _ZERO) & ((c1 == _TAB) | (c1 == _COLON))
        c2 = self._text[starts + 2]
        has_more = (c1 == _COMMA) & ((c2 == _ZERO) | (c2 == _DOT))
        unclear = ((c0 == _ZERO) & (has_more | (c1 == _DOT))) | ((c0 == _DOT) & (c1 == _COMMA))
        for sample in np.flatnonzero(samples & unclear):
            zeros[sample] = _is_zero(self._field(starts[sample]))
        return zeros

    def flat(self, key: str, samples: Flags) -> Flags:
        """See `SampleFields`."""
        starts, flat = self._begin(key), np.zeros(len(samples), np.bool_)
        if key == "PL":
            samples = samples & self._may_repeat(starts)
        for sample in np.flatnonzero(samples):
            flat[sample] = _is_flat(self._field(starts[sample]))
        return flat

    def _may_repeat(self, starts: NDArray[np.int64]) -> Flags:
        """Which fields may be an integer several times: the second as long as the first, or one of them missing. Of
        more than three digits each, any."""
        first, *others = (self._text[starts + at] for at in range(8))
        may_repeat: Flags = (first == _DOT) & (others[0] == _COMMA)
        is_longer = np.ones_like(may_repeat)
        for digits in range(1, 4):
            separator, second, after = (others[at] for at in (digits - 1, digits, 2 * digits))
            repeats = (second == _DOT) | ((second == first) & _ends_value(after))
            may_repeat |= is_longer & (separator == _COMMA) & repeats
            is_longer &= ~_ends_value(separator)
        return may_repeat | is_longer

    def below(self, key: str, minimum: int) -> Flags:
        """See `SampleFields`."""
        position = self._begin(key).copy()
        digit = self._text[position] - np.uint8(_ZERO)
        has_digits = in_number = digit < 10
        value = np.zeros(len(position), np.int64)
        while in_number.any():
            value = np.where(in_number, value * 10 + digit, value)
            position += in_number
            digit = self._text[position] - np.uint8(_ZERO)
            in_number = in_number & (digit < 10)
        below: Flags = has_digits & (value < minimum)
        return below

    def not_passed(self, key: str) -> Flags:
        """See `SampleFields`."""
        starts = self._begin(key)
        as_text = np.stack([self._text[starts + at] for at in range(4)], axis=1)
        end = self._text[starts + 4]
        passed = (as_text == np.frombuffer(b"PASS", np.uint8)).all(axis=1)
        passed &= (end == _TAB) | (end == _COLON)
        for sample in np.flatnonzero(~passed):
            passed[sample] = self._field(starts[sample]).upper() in _PASSED
        failed: Flags = ~passed
        return failed

    @cached_property
    def _cells(self) -> list[list[bytes]]:
        return [call.split(b":") for call in self._calls.split(b"\t")]

    def texts(self, key: str) -> list[bytes] | None:
        """See `SampleFields`."""
        name = key.encode()
        if name not in self._keys:
            return None
        index = self._keys.index(name)
        return [cell[index] if index < len(cell) else b"." for cell in self._cells]

    def numbers(self, key: str) -> Numbers | None:
        """See `SampleFields`."""
        texts = self.texts(key)
        return None if texts is None else _table(texts)

    def rows(self, key: str, samples: NDArray[np.int64]) -> Numbers:
        """See `SampleFields`."""
        return _table([self._field(start) for start in self._begin(key)[samples].tolist()])


class BcfFields:
    """The fields of a BCF record, from a function that gives the stored values (N, W) of a field by its number."""

    def __init__(
        self, keys: dict[str, int], values: Callable[[int], NDArray[np.generic] | None]
    ) -> None:
        self._keys, self._values = keys, values

    def _stored_values(self, key: str) -> NDArray[np.generic] | None:
        number = self._keys.get(key)
        return None if number is None else self._values(number)

    def has(self, key: str) -> bool:
        """See `SampleFields`."""
        return self._stored_values(key) is not None

    def _required(self, key: str) -> Numbers:
        numbers = self.numbers(key)
        assert numbers is not None
        return numbers

    def rows(self, key: str, samples: NDArray[np.int64]) -> Numbers:
        """See `SampleFields`."""
        return self._required(key)[samples]

    def given(self, key: str) -> Flags:
        """See `SampleFields`."""
        given: Flags = ~np.isnan(self._required(key)[:, 0])
        return given

    def zeros(self, key: str, samples: Flags) -> Flags:
        """See `SampleFields`."""
        values = self._required(key)
        absent = np.isnan(values)
        zeros: Flags = (absent | (values == 0)).all(axis=1) & ~absent.all(axis=1) & samples
        return zeros

    def flat(self, key: str, samples: Flags) -> Flags:
        """See `SampleFields`."""
        values = self._required(key)
        known = ~np.isnan(values)
        smallest = np.where(known, values, np.inf).min(axis=1)
        largest = np.where(known, values, -np.inf).max(axis=1)
        flat: Flags = (smallest == largest) & (known.sum(axis=1) > 1) & samples
        return flat

    def below(self, key: str, minimum: int) -> Flags:
        """See `SampleFields`."""
        below: Flags = self._required(key)[:, 0] < minimum
        return below

    def not_passed(self, key: str) -> Flags:
        """See `SampleFields`."""
        return np.array([text.upper() not in _PASSED for text in self.texts(key) or ()], np.bool_)

    def texts(self, key: str) -> list[bytes] | None:
        """See `SampleFields`."""
        values = self._stored_values(key)
        if values is None:
            return None
        if values.dtype.kind == "S":
            return [bytes(text) or b"." for text in values[:, 0]]
        return [_as_text(row) for row in _with_missing_as_nan(values)]

    def numbers(self, key: str) -> Numbers | None:
        """See `SampleFields`."""
        values = self._stored_values(key)
        if values is None:
            return None
        if values.dtype.kind == "S":
            return _table([bytes(text) for text in values[:, 0]])
        return _with_missing_as_nan(values)


def _ends_value(text: Bytes) -> Flags:
    ends: Flags = (text == _COMMA) | (text == _COLON) | (text == _TAB)
    return ends


def _is_zero(text: bytes) -> bool:
    """Whether values between commas are zeros, as far as they are given."""
    if text in _ZEROS:
        return True
    values = [value for value in text.split(b",") if value != b"."]
    return bool(values) and not b"".join(values).strip(b"0.")


def _is_flat(text: bytes) -> bool:
    """Whether the values between commas, as far as they are given, are several of the same."""
    first, *others = [value for value in text.split(b",") if value != b"."] or [b""]
    return bool(others) and all(
        other == first or number_of(other) == number_of(first) for other in others
    )


def _with_missing_as_nan(values: NDArray[np.generic]) -> Numbers:
    """Numbers with BCF's marks of missing and of an end as NaN."""
    with np.errstate(invalid="ignore"):  # the marks among floats are signalling NaN
        numbers = values.astype(np.float64)
    if values.dtype.kind == "i":
        numbers[numbers <= 1 - (1 << (8 * values.dtype.itemsize - 1))] = np.nan
    return numbers


def _as_text(row: Numbers) -> bytes:
    return b",".join(b"%d" % value for value in row[~np.isnan(row)]) or b"."


def _table(texts: list[bytes]) -> Numbers:
    if len({text.count(b",") for text in texts}) == 1:
        with suppress(ValueError):  # a dot, a percent sign
            numbers = np.array(b",".join(texts).split(b",")).astype(np.float64)
            return numbers.reshape(len(texts), -1)
    rows = [[number_of(value) for value in text.split(b",")] for text in texts]
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return table


def number_of(text: bytes) -> float:
    """The number that a text is, a percent sign aside; NaN for another text."""
    try:
        return float(text.removesuffix(b"%"))
    except ValueError:
        return np.nan
