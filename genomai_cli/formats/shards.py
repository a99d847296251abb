"""A part of a stream of records: the i-th of n, neighbours in input order, so that the parts end to end are the whole.

How many records there are is known only when all have been read; until then they wait in a temporary file.
"""

import pickle
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from genomai_cli.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The `number`-th, from 1, of `count` parts."""

    number: int = 1
    count: int = 1

    @classmethod
    def parsed(cls, text: str | None) -> "Shard":
        """From `i/n`; the whole for None. UsageError for anything else."""
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text}: I/N, with I from 1 to N")
        return cls(int(found[1]), int(found[2]))

    @property
    def is_first(self) -> bool:
        """Whether it is the part that has the header of a table."""
        return self.number == 1

    def part(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items of this part; parts differ by at most one item."""
        if self.count == 1:
            yield from items
            return
        with tempfile.TemporaryFile() as spool:
            total = 0
            for item in items:
                pickle.dump(item, spool)
                total += 1
            spool.seek(0)
            first, last = (total * n // self.count for n in (self.number - 1, self.number))
            for number in range(last):
                item = pickle.load(spool)
                if number >= first:
                    yield item
