"""A part of a stream of records: the i-th of n, neighbours in input order, so that the parts end to end are the stream.

How many records there are is known only when all have been read; until then they wait in a temporary file, as JSON.
"""

import base64
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from genomai_cli.errors import UsageError
from genomai_cli.formats.stored_text import StoredText

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The `number`-th, from 1, of `count` parts."""

    number: int = 1
    count: int = 1

    @classmethod
    def parsed(cls, text: str | None) -> "Shard":
        """From `i/n`; the only part for None. UsageError for anything else."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard {text}: I/N, with I from 1 to N")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def is_first(self) -> bool:
        """Whether it is the part that has the header of a table."""
        return self.number == 1

    @property
    def is_last(self) -> bool:
        """Whether it is the part that has what follows the last item."""
        return self.number == self.count

    @property
    def is_whole(self) -> bool:
        """Whether there is no other part."""
        return self.count == 1

    def span(self, total: int) -> range:
        """Which of so many items are this part's; parts differ by at most one, and the first has one if any has."""
        first, last = (
            -(-total * number // self.count) for number in (self.number - 1, self.number)
        )
        return range(first, last)

    def part(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items of this part: dataclasses, tuples and lists of text, bytes, numbers and arrays."""
        if self.is_whole:
            yield from items
            return
        with tempfile.TemporaryFile("w+", encoding="ascii") as spool:
            kinds: dict[str, type] = {}
            total = 0
            for item in items:
                spool.write(json.dumps(_plain(item, kinds)) + "\n")
                total += 1
            spool.seek(0)
            indices = self.span(total)
            for number, line in zip(range(indices.stop), spool, strict=False):
                if number in indices:
                    yield _restored(json.loads(line), kinds)


WHOLE = Shard()


def _plain(value: Any, kinds: dict[str, type]) -> Any:
    """A value for JSON: anything but text and numbers as {name of its type: its parts}."""
    if is_dataclass(value):
        kinds[type(value).__name__] = type(value)
        parts = [_plain(getattr(value, field.name), kinds) for field in fields(value)]
        return {type(value).__name__: parts}
    if isinstance(value, StoredText):
        return value[:]
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, np.ndarray):
        encoded = base64.b64encode(value.tobytes()).decode()
        return {"array": [value.dtype.str, value.shape, encoded]}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_plain(part, kinds) for part in value]}
    return value


def _restored(encoded: Any, kinds: dict[str, type]) -> Any:
    if not isinstance(encoded, dict):
        return encoded
    [(kind, parts)] = encoded.items()
    if kind == "bytes":
        return parts.encode("latin-1")
    if kind == "array":
        dtype, shape, data = parts
        return np.frombuffer(bytearray(base64.b64decode(data)), dtype).reshape(shape)
    values = [_restored(part, kinds) for part in parts]
    if kind in ("tuple", "list"):
        return tuple(values) if kind == "tuple" else values
    return kinds[kind](*values)
