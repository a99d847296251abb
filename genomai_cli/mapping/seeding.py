"""Where a query lies in a reference: segments of k-mers that the reference holds once, and their best chain.

Collinear chaining (Abouelhoda & Ohlebusch 2005, J. Discrete Algorithms 3:321) with a price for every change of
diagonal, so that a stray k-mer of a repeat is left out and a real insertion or deletion is not. Segments (S, 3) and
chains (C, 3) have the columns: begin in the query, begin in the reference, length.

Shape suffixes: Q letters of the query, R of the reference, K k-mers, H hits, S segments, C segments of a chain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomai_cli.alphabet import UNKNOWN_CODE, Codes

Integers = NDArray[np.int64]


def kmer_keys(codes_Q: Codes, k: int) -> tuple[Integers, Integers]:
    """The k-mers (K,) without an unknown letter, each as one number, and where they begin (K,)."""
    count = len(codes_Q) - k + 1
    if count <= 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    keys = np.zeros(count, np.int64)
    for offset in range(k):
        keys = (keys << 2) | codes_Q[offset : offset + count]
    unknown = np.concatenate([[0], np.cumsum(codes_Q == UNKNOWN_CODE)])
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
        keys, starts = kmer_keys(np.append(codes_R, codes_R[: k - 1]) if circular else codes_R, k)
        unique_keys, first, counts = np.unique(keys, return_index=True, return_counts=True)
        return cls(k, unique_keys[counts == 1], starts[first[counts == 1]])

    def hits(self, codes_Q: Codes) -> tuple[Integers, Integers]:
        """Where the query's k-mers that are in the index begin: in the query (H,), in the reference (H,)."""
        keys, starts = kmer_keys(codes_Q, self.k)
        if not len(keys) or not len(self.keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        indices = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = self.keys[indices] == keys
        return starts[found], self.positions[indices[found]]


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


GAP_COST = (
    12.0  # letters that an insertion or deletion costs, plus the binary logarithm of its length
)


def best_chain(segments: Integers, period: int | None) -> Integers:
    """The segments of the best chain, cut so that they do not overlap, in the query's order.

    With a `period` the reference is a circle of that length and a chain may go around it: the chain's
    reference positions then grow beyond the period. Segments must be in the query's order.
    """
    if not len(segments):
        return segments
    query, length = segments[:, 0], segments[:, 2]
    diagonal, end = segments[:, 1] - query, query + length
    score, predecessor = length.astype(np.float64), np.full(len(segments), -1)
    for current in range(1, len(segments)):
        shift = _signed_shift(diagonal[current] - diagonal[:current], period)
        overlap = np.maximum(0, end[:current] - query[current] - np.minimum(shift, 0))
        gain = score[:current] - overlap - np.where(shift, GAP_COST + np.log2(1 + np.abs(shift)), 0)
        gain[overlap >= length[current]] = -np.inf
        best = int(gain.argmax())
        if gain[best] > 0:
            score[current] += gain[best]
            predecessor[current] = best
    return _unrolled(segments[_traceback(int(score.argmax()), predecessor)], period)


def _signed_shift(shift: Integers, period: int | None) -> Integers:
    """On a circle the shorter way around: from minus half the period to half of it."""
    if period is None:
        return shift
    half = period // 2
    return (shift + half) % period - half


def _traceback(last: int, predecessor: Integers) -> list[int]:
    """The chain that ends with `last`, from its first segment."""
    chain = [last]
    while predecessor[chain[-1]] >= 0:
        chain.append(int(predecessor[chain[-1]]))
    return chain[::-1]


def _unrolled(chain: Integers, period: int | None) -> Integers:
    """Reference positions that only grow, and no overlaps: the earlier segment keeps the letters."""
    diagonal = chain[:, 1] - chain[:, 0]
    shifts = _signed_shift(np.diff(diagonal), period)
    unrolled = chain.copy()
    unrolled[1:, 1] = chain[1:, 0] + diagonal[0] + np.cumsum(shifts)
    ends = unrolled[:-1, :2] + unrolled[:-1, 2:]
    cut = np.maximum(0, (ends - unrolled[1:, :2]).max(axis=1))
    unrolled[1:] += np.stack([cut, cut, -cut], axis=1)
    return unrolled
