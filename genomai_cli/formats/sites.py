"""Positions that a reader is asked for: single ones, or stretches of a contig."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping


class Stretches:
    """The positions of some intervals (first, last) of one contig, without listing them."""

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        self.intervals: list[tuple[int, int]] = []
        for first, last in sorted(intervals):
            if self.intervals and first <= self.intervals[-1][1] + 1:
                before = self.intervals.pop()
                first, last = before[0], max(before[1], last)
            self.intervals.append((first, last))
        self._starts = [first for first, _ in self.intervals]

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position <= self.intervals[at][1]


Sites = Collection[int] | Stretches
Wanted = Mapping[str, Sites]  # by normalised contig
