"""Where the letters of a query stand in a reference, by k-mers that the reference holds once.

Shapes: Q letters of a query, R letters of the reference, K k-mers, H hits, S segments.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Integers = NDArray[np.int64]

UNKNOWN = 4  # the code of every letter that is not A C G T (0 1 2 3)


def _code_table() -> Codes:
    table = np.full(256, UNKNOWN, np.uint8)
    for code, pair in enumerate(("Aa", "Cc", "Gg", "TtUu")):
        table[[ord(letter) for letter in pair]] = code
    return table


_CODES = _code_table()


def codes_of(letters: NDArray[np.uint8]) -> Codes:
    """0 1 2 3 for A C G T, 4 for every other letter, from ASCII codes."""
    return _CODES[letters]


def reverse_complement(codes_Q: Codes) -> Codes:
    """The other strand, in its own direction."""
    reverse = codes_Q[::-1]
    return np.where(reverse == UNKNOWN, reverse, 3 - reverse).astype(np.uint8)


def keys_of(codes_Q: Codes, k: int) -> tuple[Integers, Integers]:
    """The k-mers (K,) without an unknown letter, each as one number, and where they begin (K,)."""
    count = len(codes_Q) - k + 1
    if count <= 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    keys = np.zeros(count, np.int64)
    for offset in range(k):
        keys = (keys << 2) | codes_Q[offset : offset + count]
    unknown = np.concatenate([[0], np.cumsum(codes_Q == UNKNOWN)])
    starts = np.flatnonzero(unknown[k:] == unknown[:-k])
    return keys[starts], starts


@dataclass(frozen=True, eq=False)
class KmerIndex:
    """The k-mers (K,) that stand once in a reference, in order, and where (K,)."""

    k: int
    keys: Integers
    positions: Integers

    @classmethod
    def of(cls, codes_R: Codes, k: int, *, circular: bool) -> "KmerIndex":
        """The index of a reference; in a circular one k-mers run over the end. k is at most 31."""
        keys, starts = keys_of(np.append(codes_R, codes_R[: k - 1]) if circular else codes_R, k)
        found, first, counts = np.unique(keys, return_index=True, return_counts=True)
        return cls(k, found[counts == 1], starts[first[counts == 1]])

    def hits(self, codes_Q: Codes) -> tuple[Integers, Integers]:
        """Where the query's k-mers that are in the index begin: in the query (H,), in the reference (H,)."""
        keys, starts = keys_of(codes_Q, self.k)
        if not len(keys) or not len(self.keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = self.keys[places] == keys
        return starts[found], self.positions[places[found]]


def segments_of(
    query_H: Integers,
    reference_H: Integers,
    k: int,
    period: int | None,
) -> Integers:
    """Stretches in which query and reference are equal (S, 3): begin in the query, in the reference, length.

    Hits are in the query's order. `period` is the length of a circular reference, over whose end a
    stretch may run.
    """
    if not len(query_H):
        return np.empty((0, 3), np.int64)
    diagonal = reference_H - query_H
    if period is not None:
        diagonal %= period
    breaks = np.flatnonzero((np.diff(diagonal) != 0) | (np.diff(query_H) > k)) + 1
    first = np.concatenate([[0], breaks])
    last = np.append(breaks, len(query_H)) - 1
    lengths = query_H[last] - query_H[first] + k
    return np.stack([query_H[first], reference_H[first], lengths], axis=1)
